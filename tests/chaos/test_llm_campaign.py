"""What killing workers costs in calls to models: nothing is paid for twice that is on record.

A short form runs with the tests. ``nox -s llm`` runs the long one; MILEPOST_LLM_ITEMS says how
many items the jobs have together.
"""

import os
import random
import signal
import time
from collections import Counter

import pytest
from llmock.chaos import ChaosSettings
from llmock.pytest_plugin import LLMock
from llmock.scenarios import Delay
from llmock.testing import LLMockServer
from workers import wait_until

from milepost.budget import Spend
from milepost.model import JobStatus

pytestmark = [pytest.mark.worker, pytest.mark.campaign]

ITEMS = int(os.environ.get("MILEPOST_LLM_ITEMS", "120"))
KILLS = max(ITEMS // 25, 4)
JOBS = 4
REQUESTS, PER = 60, 2.0
"""The limit: 30 calls a second."""
UNDER_WAY = 0.5
"""Seconds that may pass between a call's admission and its arrival at the server."""


@pytest.fixture
def server():
    """A server that fails one call in twenty, and answers within 50 to 150 ms."""
    chaos = ChaosSettings(error_rates={503: 0.05})
    with LLMockServer(chaos=chaos) as server:
        model = LLMock(server)
        model.add(Delay(0.1, times=None))
        yield model


def most_within(spans, seconds):
    """Return the most calls that were certainly admitted in one stretch of that length.

    The store has admitted a call somewhere between the moments before and after it was asked.
    """
    begun, most = sorted(first for first, _ in spans), 0
    for start in begun:
        most = max(most, sum(start <= first and last <= start + seconds for first, last in spans))
    return most


@pytest.mark.parametrize("kind", ["redis", "redis+postgres"])
def test_kills_cost_no_more_than_what_was_in_flight(make_site, server, monkeypatch, kind):
    """Two workers, four jobs under one limit, SIGKILLs at random moments, a faulty server.

    The limit holds in every window, whoever dies.
    Every call that the server has answered is an item's answer on record, or one that a job
    counts as ambiguous. None was made again for an item whose answer was on record.
    """
    monkeypatch.setenv("PROJECT_MODEL", server.base_url("openai"))
    monkeypatch.setenv("PROJECT_REQUESTS", str(REQUESTS))
    monkeypatch.setenv("PROJECT_PER", str(PER))
    site = make_site(kind, short_lease=True)
    workers = [site.start_worker(concurrency=2) for _ in range(2)]
    each, chance = ITEMS // JOBS, random.Random(11)
    jobs = [site.send("ask_limited", n * each, each, 4).id for n in range(JOBS)]
    recorded, killed = {}, 0

    def over():
        """Look at every job, and remember when an answer was first seen on record."""
        now = time.monotonic()
        for job in jobs:
            for path in site.jobs.checkpoint(job).get("calls", {}):
                recorded.setdefault(path.rpartition(":")[2], now)
        return all(site.jobs.get(job).status.is_terminal for job in jobs)

    wait_until(lambda: len(site.effects(word="body")) >= JOBS, "all bodies begun")
    kill_at = time.monotonic()
    while not over():
        if killed < KILLS and time.monotonic() >= kill_at:
            victims = [pid for worker in workers for pid in worker.child_pids()]
            os.kill(chance.choice(victims), signal.SIGKILL)
            killed += 1
            kill_at = time.monotonic() + chance.uniform(0.2, 1.0)
        time.sleep(0.02)

    assert over()
    assert [site.jobs.get(job).status for job in jobs] == [JobStatus.SUCCEEDED] * JOBS
    spends = [Spend.of(site.jobs.checkpoint(job)["spend"]) for job in jobs]
    calls, ambiguous = sum(s.calls for s in spends), sum(s.ambiguous for s in spends)
    requests = server.requests
    lines = (site.folder / "admissions").read_text().splitlines()
    most = most_within([tuple(map(float, line.split())) for line in lines], PER)
    assert len(lines) >= len(requests)
    billed = Counter(item_of(r) for r in requests if r.status == 200)
    print(
        f"\nFIGURE {kind}: {ITEMS} items, {killed} kills, {sum(billed.values())} calls billed, "
        f"{ambiguous} ambiguous, {len(requests)} requests, at most {most} of {REQUESTS} "
        f"admitted in {PER:g} s"
    )
    assert calls == len(recorded) == ITEMS
    assert ITEMS <= sum(billed.values()) <= ITEMS + ambiguous
    late = [r for r in requests if r.started_at > recorded[item_of(r)] + UNDER_WAY]
    assert late == [], "asked again, though the answer was on record"
    assert most <= REQUESTS


def item_of(request):
    return request.body["messages"][0]["content"].rpartition(" ")[2]
