"""How long a job stands still after ``kill -9``, as a distribution over many real kills.

A short form runs with the tests. ``nox -s chaos`` runs the long one; MILEPOST_KILLS says how
many kills of each kind. Times are from the signal to the first line of the resumed body.
"""

import os
import random
import signal
import statistics
import time

import pytest
from workers import wait_until

pytestmark = [pytest.mark.worker, pytest.mark.campaign, pytest.mark.timeout(3600)]

KILLS = int(os.environ.get("MILEPOST_KILLS", "3"))
CROWD = 100


def show(what, seconds):
    """Print a distribution as one line."""
    ordered = sorted(seconds)

    def percentile(share):
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    print(
        f"\nFIGURE {what}: n={len(ordered)} min {ordered[0]:.2f} "
        f"p50 {statistics.median(ordered):.2f} p90 {percentile(0.9):.2f} "
        f"p99 {percentile(0.99):.2f} max {ordered[-1]:.2f} s"
    )


def bodies(site, job):
    """Return the fences of the bodies of a job that have begun."""
    return [line.fence for line in site.effects(job, "body")]


def wait_for_body(site, job, fence):
    """Return when the body with at least that fence was seen to have begun."""
    wait_until(lambda: max(bodies(site, job), default=0) >= fence, f"body {fence}", interval=0.002)
    return time.monotonic()


@pytest.mark.parametrize("kind", ["redis", "redis+sqlite", "redis+postgres"])
def test_a_killed_worker(make_site, kind):
    """Default settings: the body runs on another live worker within 5 s, each time again.

    The same job dies over and over: the second and the third death cost no more.
    """
    site = make_site(kind)
    chance, seconds = random.Random(7), []
    workers = [site.start_worker(concurrency=1) for _ in range(2)]
    job = site.send("count", 100_000, 0.01)
    wait_for_body(site, job.id, 1)
    for fence in range(2, KILLS + 2):
        time.sleep(chance.uniform(0.3, 1.2))
        pid = site.effects(job.id, "item")[-1].pid
        victim = next(w for w in workers if pid in w.child_pids())
        workers.remove(victim)
        workers.append(site.start_worker(concurrency=1))
        since = time.monotonic()
        victim.kill()
        seconds.append(wait_for_body(site, job.id, fence) - since)
    show(f"worker killed, another carries on, {kind}", seconds)
    record = site.jobs.get(job.id)
    assert record.crashes == KILLS
    assert site.redone(job.id) <= KILLS
    assert max(seconds) < 5.0


@pytest.mark.parametrize("kind", ["redis", "redis+sqlite"])
def test_a_killed_pool_process(make_site, kind):
    """The worker itself carries on, without waiting for any lease."""
    site = make_site(kind)
    chance, seconds = random.Random(7), []
    site.start_worker(concurrency=2)
    job = site.send("count", 100_000, 0.01)
    wait_for_body(site, job.id, 1)
    for fence in range(2, KILLS + 2):
        time.sleep(chance.uniform(0.2, 0.6))
        pid = site.effects(job.id, "item")[-1].pid
        since = time.monotonic()
        os.kill(pid, signal.SIGKILL)
        seconds.append(wait_for_body(site, job.id, fence) - since)
    show(f"pool process killed, {kind}", seconds)
    assert site.redone(job.id) <= KILLS
    assert max(seconds) < 5.0


def test_a_crowd(make_site):
    """One worker dies with a hundred running jobs: another carries on with all of them."""
    site = make_site("redis")
    first = site.start_worker("threads", concurrency=CROWD)
    jobs = [site.send("count", 100_000, 0.5).id for _ in range(CROWD)]
    wait_until(lambda: len(site.effects(word="body")) >= CROWD, "all bodies begun", limit=60)
    site.start_worker("threads", concurrency=CROWD)
    since = time.monotonic()
    first.kill()
    waiting, seconds = set(jobs), []

    def look():
        for line in site.effects(word="body"):
            if line.fence == 2 and line.job in waiting:
                waiting.discard(line.job)
                seconds.append(time.monotonic() - since)
        return not waiting

    wait_until(look, "all carried on", limit=60, interval=0.01)
    show(f"{CROWD} jobs at once, redis", seconds)
    assert max(bodies(site, None)) == 2
    assert max(seconds) < 5.0
