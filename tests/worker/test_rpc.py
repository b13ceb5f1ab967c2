"""``rpc://``: a result goes to whoever waits for it, whichever way its job has come to its end."""

import threading

import pytest
from celery.exceptions import TaskRevokedError
from workers import wait_until


@pytest.fixture
def site(make_site):
    return make_site("redis", backend="rpc://", short_lease=True)


def send_and_pause(site):
    """Return a job that was paused in the middle of its work."""
    job = site.send("count", 20, 0.05)
    site.wait_for_item(job.id, 3)
    site.jobs.pause(job.id)
    wait_until(lambda: site.jobs.get(job.id).status == "paused", "the job paused")
    return job


def test_a_result_after_a_pause(site):
    """Somebody else lets the job go on, with a queue of their own; its caller gets the result."""
    site.start_worker()
    job = send_and_pause(site)
    elsewhere = threading.Thread(target=site.jobs.resume, args=(job.id,))
    elsewhere.start()
    elsewhere.join()
    assert job.get(timeout=30) == sum(range(20))


def test_a_result_after_a_recovery(site):
    """Neither is the caller's queue lost with the worker."""
    first = site.start_worker()
    job = site.send("count", 20, 0.05)
    site.wait_for_item(job.id, 3)
    first.kill()
    site.start_worker()
    assert job.get(timeout=30) == sum(range(20))
    assert site.jobs.get(job.id).crashes == 1


def test_a_result_whose_worker_died_before_it_was_sent(site):
    """The record has the result, and the recovery the way to the caller."""
    for worker in [site.start_worker(ready=False) for _ in range(2)]:
        worker.wait_until_ready()
    site.open_gate("die-once-settled")
    job = site.send("count", 5)
    assert job.get(timeout=30) == sum(range(5))
    assert len(site.effects(job.id, "body")) == 1


def test_a_cancel_while_paused(site):
    """Who waits is told by whoever cancels."""
    site.start_worker()
    job = send_and_pause(site)
    site.jobs.cancel(job.id)
    with pytest.raises(TaskRevokedError):
        job.get(timeout=30)
