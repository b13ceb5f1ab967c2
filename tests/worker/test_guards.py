"""Guards in real worker processes on a real Redis."""

import os
import signal
import time
from itertools import pairwise

import pytest
from workers import wait_until

from milepost.errors import StoreUnavailableError
from milepost.guards.breaker import BLIND, BreakerGuard
from milepost.guards.rate import RateGuard
from milepost.limits import Limit
from milepost.settings import Settings
from milepost.stores import open_store
from services import start_redis

RESET = 0.6
PROBE = 1.5
GIVEN = {"fail_max": 5, "reset_timeout": RESET, "probe_seconds": PROBE, "refresh": 0.05}
ROUNDING = 0.005
"""The store's clock counts whole milliseconds."""


def calls(site):
    """Return when each call went through, and in which process."""
    return sorted((float(line.item), line.pid) for line in site.effects(word="called"))


def test_one_probe_in_all_processes(make_site):
    """Four processes hammer what is down: one call per timeout goes through, whoever makes it.

    Then a prober is killed, and the next one goes through once its lease is over; and when
    what was down is up again, all go through.
    """
    site = make_site("redis")
    for _ in range(2):
        site.start_worker(concurrency=2, options=("--prefetch-multiplier=1",))
    for _ in range(4):
        site.send("call_what_is_down", "mail", GIVEN)
    guard = BreakerGuard(site.milepost.store.documents, "mail", **GIVEN)
    site.open_gate("go")
    wait_until(lambda: guard.state == "open", "the circuit open")
    opened = time.monotonic()

    def probes():
        found = [at for at, _ in calls(site) if at > opened]
        return found if len(found) >= 4 else None

    assert all(b - a >= RESET - ROUNDING for a, b in pairwise(wait_until(probes, "4 probes")))

    site.open_gate("hang")
    wait_until(lambda: not (site.folder / "hang").exists(), "a probe that hangs")
    (hung_at, prober) = calls(site)[-1]
    os.kill(prober, signal.SIGKILL)
    later = wait_until(
        lambda: [at for at, _ in calls(site) if at > hung_at], "a probe after the dead one"
    )
    assert later[0] - hung_at >= PROBE - ROUNDING

    site.open_gate("up")
    wait_until(lambda: guard.state == "closed", "the circuit closed")
    closed = time.monotonic()
    wait_until(
        lambda: len({pid for at, pid in calls(site) if at > closed}) >= 3, "all going through"
    )
    site.open_gate("stop")


@pytest.fixture
def server():
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture
def store(server):
    store = open_store(server.url, Settings(store_timeout=0.3))
    yield store
    store.close()


@pytest.mark.parametrize("how", ["freeze", "kill"])
def test_a_breaker_lets_calls_pass_while_redis_is_away(server, store, how, monkeypatch):
    """The first call waits for the store's timeout and no longer; the next ones not at all."""
    guard = BreakerGuard(store.documents, "mail", fail_max=1, refresh=0)
    with guard.calling():
        pass
    getattr(server, how)()
    started = time.monotonic()
    with guard.calling():
        first = time.monotonic() - started
    assert first < BLIND
    asked = []
    monkeypatch.setattr(store.documents, "read", lambda name: asked.append(name))
    for _ in range(100):
        with pytest.raises(OSError, match="down"), guard.calling():
            raise OSError("down")
    assert asked == []
    if how == "freeze":
        server.thaw()


def test_a_limit_admits_nobody_while_redis_is_away(server, store):
    """A limit that cannot be asked is no limit: the error says so, within the timeout."""
    guard = RateGuard(store.limits, "llm/x", Limit(requests=5, concurrency=5))
    with guard.calling():
        server.kill()
    with pytest.raises(StoreUnavailableError), guard.calling():
        pytest.fail("it was admitted")


def test_places_of_a_killed_worker_lapse(make_site):
    """kill -9 in the middle of a call: its place is free again after the lease."""
    site = make_site("redis")
    limits, limit = site.milepost.store.limits, Limit(concurrency=1, lease=1.0)
    worker = site.start_worker(concurrency=1)
    site.send("hold_a_place", "k", {"concurrency": 1, "lease": 1.0})
    site.wait_for(None, "holding")
    time.sleep(2.5)
    assert limits.acquire("k", limit).which == "concurrency", "it was not renewed"
    worker.kill()
    guard = RateGuard(limits, "k", limit, max_wait=30.0)
    with guard.calling():
        pass
