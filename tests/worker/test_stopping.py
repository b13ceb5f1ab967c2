"""What Celery itself does to tasks: revokes, time limits, processes that are replaced."""

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded
from workers import wait_until

MORE = sum(range(40))


def ended(site, job, status):
    return wait_until(
        lambda: (r := site.jobs.get(job)).status == status and r, f"{job} is {status}"
    )


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_revoke_with_terminate(make_site, how):
    """As from Flower: the record says cancelled, and nobody brings the job back."""
    site = make_site("redis", short_lease=True)
    site.start_worker()
    job = site.send("count", 4000, 0.02)
    site.wait_for_item(job.id, 3)
    job.revoke(terminate=True, signal=how)
    with pytest.raises(TaskRevokedError):
        job.get(timeout=30)
    assert ended(site, job.id, "cancelled").worker is None
    probe = site.send("be_slow", 3)  # longer than a lease
    probe.get(timeout=30)
    assert len(site.effects(job.id, "body")) == 1
    assert site.jobs.get(job.id).status == "cancelled"


@pytest.mark.parametrize("pool", ["threads", "solo"])
def test_revoke_with_terminate_where_nothing_can_be_killed(make_site, pool):
    """The job stops at its next checkpoint instead."""
    site = make_site("redis")
    site.start_worker(pool, concurrency=2 if pool == "threads" else 1)
    job = site.send("count", 300 if pool == "solo" else 4000, 0.02)
    site.wait_for_item(job.id, 3)
    job.revoke(terminate=True)
    if pool == "solo":  # it hears of the revoke when the task is over, and says so
        record = site.wait_for_end(job.id)
        assert record.status == "succeeded"
        return
    assert ended(site, job.id, "cancelled")
    with pytest.raises(TaskRevokedError):
        job.get(timeout=30)


def test_revoke_before_the_start(make_site):
    site = make_site("redis", short_lease=True)
    site.start_worker(concurrency=1)
    slow = site.send("be_slow", 2)
    site.wait_for(slow.id, "body")
    job = site.send("count", 5)
    job.revoke()
    with pytest.raises(TaskRevokedError):
        job.get(timeout=30)
    record = ended(site, job.id, "cancelled")
    assert record.attempts == 0
    wait_until(lambda: job.id not in site.milepost.store.due(100), "nobody looks after it")
    assert site.effects(job.id) == []


def test_a_hard_time_limit_is_put_on_record_by_the_parent(make_site):
    site = make_site("redis")
    site.start_worker()
    job = site.send("be_slow", 60, time_limit=1)
    with pytest.raises(TimeLimitExceeded):
        job.get(timeout=30)
    record = ended(site, job.id, "failed")
    assert "TimeLimitExceeded" in record.error


@pytest.mark.parametrize("policy", ["fail", "continue"])
def test_a_soft_time_limit(make_site, policy):
    """By the task's policy: the job fails, or frees its slot and goes on."""
    site = make_site("redis")
    site.start_worker(concurrency=1)
    job = site.send(f"count_until_{policy}", 40, 0.06, soft_time_limit=1)
    if policy == "fail":
        with pytest.raises(SoftTimeLimitExceeded):
            job.get(timeout=30)
        assert ended(site, job.id, "failed").delivery == 0
        return
    assert job.get(timeout=60) == MORE
    record = site.wait_for_end(job.id)
    assert record.attempts >= 3
    assert (record.crashes, record.interruptions, record.delivery) == (0, 0, 0)
    assert "soft time limit" in {entry.note for entry in record.history}
    assert site.redone(job.id) <= record.attempts - 1


@pytest.mark.parametrize(
    "conf",
    [{"worker_max_tasks_per_child": 1}, {"worker_max_memory_per_child": 1}],
    ids=["tasks", "memory"],
)
def test_processes_that_are_replaced_leave_jobs_alone(make_site, conf):
    """A process ends between tasks only: no crash, no interruption."""
    site = make_site("redis", conf=conf)
    site.start_worker(concurrency=2)
    jobs = [site.send("count", 10, 0.01) for _ in range(6)]
    assert [job.get(timeout=60) for job in jobs] == [45] * 6
    for job in jobs:
        record = site.wait_for_end(job.id)
        assert (record.attempts, record.crashes, record.interruptions) == (1, 0, 0)
    assert len({e.pid for e in site.effects(word="body")}) >= 3
