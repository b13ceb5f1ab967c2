"""SIGKILL, and the job goes on: of a pool process, of a whole worker, once and again."""

import os
import random
import signal
import time

import pytest
from workers import wait_until

ITEMS = 60
SUM = sum(range(ITEMS))
PAUSE = 0.03


@pytest.fixture
def pick():
    """A random item to die at; the seed is shown when the test fails."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    return random.Random(seed)


def resumed_after(site, job, fence, since):
    """Return how long after *since* the attempt with a fence began to run."""
    wait_until(
        lambda: any(e.fence >= fence for e in site.effects(job, "body")),
        f"attempt {fence} of {job}",
        interval=0.002,
    )
    return time.monotonic() - since


def check_end(site, job, *, redone, attempts=None):
    """The result is right, every item ran, few ran again, the callback ran once."""
    assert job.get(timeout=30) == SUM
    record = site.wait_for_end(job.id)
    assert record.status == "succeeded"
    assert set(site.items(job.id)) == set(range(ITEMS))
    assert site.redone(job.id) <= redone
    site.wait_for(None, "linked")
    assert len(site.effects(word="linked")) == 1
    if attempts is not None:
        assert (record.attempts, record.crashes) == (attempts, attempts - 1)


def send_count(site, every=1, **options):
    return site.send("count", ITEMS, PAUSE, every, link=site.project.note.s("linked"), **options)


@pytest.mark.parametrize(
    ("kind", "every"),
    [("redis", 1), ("redis+sqlite", 10), ("files+sqlite", 10), ("redis+postgres", 1)],
)
def test_a_killed_pool_process(make_site, pick, kind, every):
    """The job resumes within a second; at most N items are done again."""
    site = make_site(kind)
    site.start_worker()
    job = send_count(site, every)
    line = site.wait_for_item(job.id, pick.randrange(5, 45))
    os.kill(line.pid, signal.SIGKILL)
    seconds = resumed_after(site, job.id, 2, time.monotonic())
    print(f"FIGURE child killed, {kind}: resumed after {seconds:.2f} s")
    check_end(site, job, redone=every, attempts=2)
    assert seconds < 2.0


@pytest.mark.parametrize(
    ("pool", "kind", "every"),
    [
        ("prefork", "redis", 1),
        ("threads", "redis+sqlite", 10),
        ("solo", "files+sqlite", 1),
        ("prefork", "redis+postgres", 10),
    ],
)
def test_a_killed_worker(make_site, pick, pool, kind, every):
    """Another live worker goes on within 5 s under default settings."""
    site = make_site(kind)
    for worker in [site.start_worker(pool, ready=False) for _ in range(2)]:
        worker.wait_until_ready()
    job = send_count(site, every)
    worker = site.worker_of(site.wait_for_item(job.id, 0).pid)
    site.wait_for_item(job.id, pick.randrange(5, 45))
    since = time.monotonic()
    worker.kill()
    seconds = resumed_after(site, job.id, 2, since)
    print(f"FIGURE worker killed, {pool}, {kind}: resumed after {seconds:.2f} s")
    check_end(site, job, redone=every, attempts=2)
    assert seconds < 6.0


def test_a_worker_killed_and_started_again(make_site, pick):
    """Nobody else is there: the job waits, and the worker that is started next goes on."""
    site = make_site("files+sqlite")
    worker = site.start_worker()
    job = send_count(site)
    site.wait_for_item(job.id, pick.randrange(5, 45))
    worker.kill()
    since = time.monotonic()
    site.start_worker()
    seconds = resumed_after(site, job.id, 2, since)
    print(f"FIGURE worker killed and started again: resumed after {seconds:.2f} s")
    check_end(site, job, redone=1, attempts=2)


def test_killed_three_times_in_a_row(make_site, pick):
    """A pool process, the worker, the next worker's pool process: redone work adds up to 3."""
    site = make_site("redis", short_lease=True)
    worker = site.start_worker()
    job = send_count(site)
    line = site.wait_for_item(job.id, pick.randrange(5, 15))
    os.kill(line.pid, signal.SIGKILL)
    site.wait_for_item(job.id, pick.randrange(20, 30), fence=2)
    worker.kill()
    site.start_worker()
    line = site.wait_for_item(job.id, pick.randrange(35, 45), fence=3)
    os.kill(line.pid, signal.SIGKILL)
    check_end(site, job, redone=3, attempts=4)


@pytest.mark.parametrize("kind", ["redis", "redis+postgres"])
def test_many_jobs_at_once(make_site, kind):
    """All jobs of a killed worker go on, in time, each once."""
    pool, count = "threads", 20
    site = make_site(kind)
    first = site.start_worker(pool, count)
    jobs = [site.send("count", ITEMS, 0.05, 1, "all-there") for _ in range(count)]
    for job in jobs:
        site.wait_for_item(job.id, 2)
    site.start_worker(pool, count)
    site.open_gate("all-there")
    assert all(site.jobs.get(job.id).status == "running" for job in jobs)
    since = time.monotonic()
    first.kill()
    last = max(resumed_after(site, job.id, 2, since) for job in jobs)
    print(f"FIGURE worker killed, {count} jobs, {kind}: the last after {last:.2f} s")
    for job in jobs:
        assert job.get(timeout=60) == SUM
        assert site.redone(job.id) <= 1
        assert site.wait_for_end(job.id).attempts == 2
    assert last < 8.0


def test_steps_are_not_called_again(make_site, pick):
    """A memoised call that has returned is never repeated; one in flight may be, once."""
    site = make_site("redis+sqlite")
    site.start_worker()
    job = site.send("count_in_steps", 40, PAUSE)
    at = pick.randrange(5, 35)
    lines = site.wait_for(job.id, "step", at)
    os.kill(lines[-1].pid, signal.SIGKILL)
    assert job.get(timeout=30) == sum(item * item for item in range(40))
    steps = [e.item for e in site.effects(job.id, "step")]
    assert len(steps) - len(set(steps)) <= 1
