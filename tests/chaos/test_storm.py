"""The campaign: a fleet at work while everything happens to it, and nothing may go wrong.

A short form runs with the tests; ``nox -s chaos`` runs the long one. Every decision comes from
the seed, which is printed: ``MILEPOST_STORM_SEED`` replays it (the machine's timing is its own).
``MILEPOST_STORM_KILLS`` says how many kills there shall be.
"""

import os
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from storm import checker
from storm.fleet import Fleet

from milepost.errors import MilepostError
from services import start_redis

KILLS = int(os.environ.get("MILEPOST_STORM_KILLS", "12"))
SEED = int(os.environ.get("MILEPOST_STORM_SEED", random.randrange(10**6)))
AT_ONCE = 40
"""Jobs that are kept under way."""
WEIGHTS = {
    "kill_child": 6,
    "kill_worker": 3,
    "drain": 1,
    "freeze": 0.7,
    "restart_redis": 0.4,
    "flush_broker": 0.4,
    "duplicate": 2,
    "pause": 3,
    "cancel": 0.7,
}


@pytest.fixture
def fleet():
    redis = start_redis("--appendonly", "yes", "--databases", "8")
    with tempfile.TemporaryDirectory(prefix="milepost-storm-", ignore_cleanup_errors=True) as at:
        fleet = Fleet(Path(at), redis, SEED)
        yield fleet
        fleet.close()
    redis.stop()


@pytest.mark.worker
@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_nothing_is_lost_doubled_or_taken_back(fleet):
    print(f"\nMILEPOST_STORM_SEED={SEED} MILEPOST_STORM_KILLS={KILLS}")
    chance = random.Random(SEED)
    while kills(fleet) < KILLS:
        for _ in range(AT_ONCE - len(fleet.unfinished())):
            fleet.send()
        time.sleep(chance.uniform(0.2, 1.2))
        name = chance.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if fleet.workers:
            getattr(fleet, name)()
    evidence = fleet.settle(limit=60 + 2 * AT_ONCE)
    report(evidence)
    found = checker.violations(evidence)
    show_witnesses(fleet, evidence, found)
    assert found == []


def show_witnesses(fleet, evidence, violations):
    """Print what is known of the jobs in violations, and of those they were sent with."""
    order = [sent.job for sent in evidence.sent]
    for place in (order.index(job) for job in order if any(job in said for said in violations)):
        for job in order[max(place - 2, 0) : place + 3]:
            print(f"\n{job}: {evidence.ends[job]}")
            with suppress(MilepostError):
                print(fleet.site.jobs.get(job))
            for worker in fleet.site.workers:
                said = [line for line in worker.text().splitlines() if job in line]
                print(*(f"{worker.name} {line[:300]}" for line in said[-20:]), sep="\n")
    for act in evidence.acts if violations else ():
        print(act)


def kills(fleet):
    return sum(act.what in checker.KILLS for act in fleet.acts)


def report(evidence):
    """Print what happened, as figures."""
    done = Counter(act.what for act in evidence.acts)
    ends = Counter(status for status, _ in evidence.ends.values())
    redone, items = checker.redone(evidence)
    pauses = sorted(seconds for _, seconds in checker.clean_pauses(evidence))
    print(f"FIGURE jobs: {len(evidence.sent)}, {dict(ends)}")
    print(f"FIGURE acts: {dict(done)}")
    print(f"FIGURE items: {items} done, {redone} of them again, {len(evidence.samples)} samples")
    figures = {"pause, nothing else happening": pauses}
    for what in sorted(checker.KILLS):
        clean, every = checker.recoveries(evidence, what)
        figures |= {f"{what}, nothing else happening": clean, f"{what}, all": every}
    for what, seconds in figures.items():
        if seconds:
            print(f"FIGURE {what}: {distribution(seconds)}")


def distribution(ordered):
    """Return a distribution as one line."""

    def at(share):
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    return (
        f"n={len(ordered)} p50 {at(0.5):.2f} p90 {at(0.9):.2f} p99 {at(0.99):.2f} "
        f"max {ordered[-1]:.2f} s"
    )
