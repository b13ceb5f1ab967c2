"""What differs from pool to pool."""

import os
import signal

import pytest
from workers import wait_until


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_coroutines(make_site, pool):
    """An ``async def`` task resumes like any other; what it left running is cancelled."""
    site = make_site("redis", short_lease=True)
    first = site.start_worker(pool)
    job = site.send("count_async", 40, 0.03)
    line = site.wait_for_item(job.id, 10)
    if pool == "prefork":
        os.kill(line.pid, signal.SIGKILL)
    else:
        first.kill()
        site.start_worker(pool)
    assert job.get(timeout=40) == sum(range(40))
    assert site.redone(job.id) <= 1
    wait_until((site.folder / "leftover-cancelled").exists, "the leftover cancelled")


def test_a_call_that_holds_the_interpreter_lock(make_site):
    """It silences a threads worker past its lease; doubled leases let it finish in the end."""
    site = make_site("redis", settings={"lease_seconds": 1.0, "renew_seconds": 0.4})
    for worker in [site.start_worker("threads", 2, ready=False) for _ in range(2)]:
        worker.wait_until_ready()
    job = site.send("hold_the_gil", 3)
    assert job.get(timeout=60) == "held"
    record = site.wait_for_end(job.id)
    print(f"FIGURE lock held for 3 s, lease of 1 s: {record.attempts} attempts")
    assert record.status == "succeeded"


def test_nobody_else_is_there_meanwhile(make_site):
    """A lease that lapsed untaken goes on: a worker does not recover what it runs itself."""
    site = make_site("redis", settings={"lease_seconds": 1.0, "renew_seconds": 0.4})
    site.start_worker("threads", 4)
    jobs = [site.send("hold_the_gil", 1.5) for _ in range(3)]
    for job in jobs:
        assert job.get(timeout=60) == "held"
    assert [site.wait_for_end(job.id).attempts for job in jobs] == [1, 1, 1]


def test_a_prefork_worker_speaks_for_such_a_call(make_site):
    """The main process renews: no attempt is wasted."""
    site = make_site("redis", settings={"lease_seconds": 1.0, "renew_seconds": 0.4})
    site.start_worker()
    job = site.send("hold_the_gil", 3)
    assert job.get(timeout=60) == "held"
    assert site.wait_for_end(job.id).attempts == 1


def test_pool_processes_that_are_spawned(make_site):
    """With ``worker_pool_start_method='spawn'`` tasks run, are renewed for, and resume."""
    conf = {"worker_pool_start_method": "spawn"}
    site = make_site("redis+sqlite", conf=conf, short_lease=True)
    site.start_worker()
    slow = site.send("be_slow", 4)
    job = site.send("count", 40, 0.03)
    line = site.wait_for_item(job.id, 10)
    os.kill(line.pid, signal.SIGKILL)
    assert job.get(timeout=40) == sum(range(40))
    assert site.redone(job.id) <= 1
    assert slow.get(timeout=40) == "slow"
    assert site.wait_for_end(slow.id).attempts == 1


def test_a_stopped_pool_process(make_site):
    """SIGSTOP of the pool process alone: the worker lives and renews, nobody takes over."""
    site = make_site("redis", short_lease=True)
    site.start_worker(concurrency=1)
    site.start_worker(concurrency=1)
    job = site.send("count", 30, 0.02)
    line = site.wait_for_item(job.id, 5)
    os.kill(line.pid, signal.SIGSTOP)
    probe = site.send("be_slow", 4)  # longer than a lease
    probe.get(timeout=40)
    os.kill(line.pid, signal.SIGCONT)
    assert job.get(timeout=30) == sum(range(30))
    assert site.wait_for_end(job.id).attempts == 1
