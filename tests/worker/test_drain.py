"""Deploys: a worker that is told to stop lets its jobs step aside, and others carry them on."""

import os
import signal

import pytest
from workers import wait_until

MORE = sum(range(60))
SOFT = {"worker_soft_shutdown_timeout": 3.0}


def term(worker):
    os.kill(worker.pid, signal.SIGTERM)


def quit_(worker):
    os.kill(worker.pid, signal.SIGQUIT)


def status(site, job, wanted):
    return wait_until(
        lambda: (r := site.jobs.get(job)).status == wanted and r, f"{job} is {wanted}"
    )


def wait_for_exit(worker):
    worker.process.wait(90)


@pytest.mark.parametrize(
    ("pool", "stop", "conf", "env"),
    [
        pytest.param("prefork", term, {}, {}, id="prefork-TERM"),
        pytest.param("prefork", term, {"worker_pool_start_method": "spawn"}, {}, id="spawn-TERM"),
        pytest.param("threads", term, {}, {}, id="threads-TERM"),
        pytest.param("solo", term, {}, {}, id="solo-TERM"),
        pytest.param("gevent", term, {}, {}, id="gevent-TERM"),
        pytest.param("prefork", quit_, SOFT, {}, id="prefork-soft-QUIT"),
        pytest.param("threads", quit_, SOFT, {}, id="threads-soft-QUIT"),
        pytest.param("prefork", term, SOFT, {"REMAP_SIGTERM": "SIGQUIT"}, id="prefork-remapped"),
    ],
)
def test_a_running_job_steps_aside_and_goes_on_elsewhere(make_site, pool, stop, conf, env):
    """Not a crash, not a retry, nothing redone; the worker that stops sends nothing itself."""
    site = make_site("redis", conf=conf)
    site.env.update(env)
    first = site.start_worker(pool, concurrency=1)
    job = site.send("count", 60, 0.03)
    site.wait_for_item(job.id, 10)
    stop(first)
    record = status(site, job.id, "interrupted")
    assert (record.reason, record.worker) == ("drained", None)
    wait_for_exit(first)
    assert site.jobs.get(job.id).status == "interrupted"
    site.start_worker(pool, concurrency=1)
    assert job.get(timeout=30) == MORE
    assert site.redone(job.id) == 0
    record = site.wait_for_end(job.id)
    assert (record.attempts, record.interruptions, record.crashes, record.strikes) == (2, 1, 0, 0)
    assert record.delivery == 0
    assert [entry.act for entry in record.history] == ["interrupted"]
    assert "sent again" not in first.text()


def test_a_fleet_is_replaced_without_losing_or_repeating_anything(make_site):
    """Twenty jobs, one worker after the other told to stop; all end as if nothing had been."""
    site = make_site("redis", conf={"worker_prefetch_multiplier": 2})
    workers = [site.start_worker(concurrency=2)]
    jobs = [site.send("count", 60, 0.01) for _ in range(20)]
    for item in (20, 30, 40):
        site.wait_for(None, "item", item)
        workers.append(site.start_worker(concurrency=2))
        term(workers[-2])
        wait_for_exit(workers[-2])
    assert [job.get(timeout=60) for job in jobs] == [MORE] * 20
    for job in jobs:
        assert site.redone(job.id) == 0
        record = site.wait_for_end(job.id)
        assert (record.crashes, record.delivery) == (0, 0)


def test_a_chain_and_its_caller_do_not_notice(make_site):
    site = make_site("redis+sqlite")
    first = site.start_worker()
    project = site.project
    chain = (project.add.s(1, 2) | project.count_more.s(60, 0.02) | project.note.s("end"))()
    site.wait_for_item(chain.parent.id, 10)
    term(first)
    site.start_worker()
    assert chain.get(timeout=30) == 3 + MORE
    assert len(site.effects(word="end")) == 1


def test_what_does_not_checkpoint_is_waited_for(make_site):
    """As in Celery: a warm shutdown lets it end."""
    site = make_site("redis")
    worker = site.start_worker(concurrency=1)
    job = site.send("be_slow", 2)
    site.wait_for(job.id, "body")
    term(worker)
    wait_for_exit(worker)
    record = site.jobs.get(job.id)
    assert (record.status, record.attempts, record.interruptions) == ("succeeded", 1, 0)


def test_a_steps_task_drains_between_steps(make_site):
    site = make_site("files+sqlite")
    first = site.start_worker()
    job = site.send("count_in_steps", 20, 0.1)
    site.wait_for(job.id, "step", 5)
    term(first)
    assert status(site, job.id, "interrupted").reason == "drained"
    wait_for_exit(first)
    site.start_worker()
    assert job.get(timeout=30) == sum(n * n for n in range(20))
    assert len(site.effects(job.id, "step")) == 20


def test_the_flag_is_gone_with_its_worker(make_site):
    site = make_site("redis")
    worker = site.start_worker()
    with open(f"/proc/{worker.pid}/maps") as maps:
        paths = {line.split()[-1] for line in maps if "milepost-drain-" in line}
    (path,) = paths
    assert os.path.exists(path)
    term(worker)
    wait_for_exit(worker)
    assert not os.path.exists(path)
