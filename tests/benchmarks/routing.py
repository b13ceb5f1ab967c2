"""Deciding where a job goes: with no store to ask, and by flags of a store, kept for a while."""

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

import redis
from celery import Celery

from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.measure import Watch, in_turn, times_as_long
from milepost import Milepost
from milepost.routing import Routing, StaticFlags
from milepost.routing.modes import falls_within

KEYS = [f"customer-{number}" for number in range(100)]


def routed(url: str, **routing: Any) -> Milepost:
    """Return a milepost of an app that routes."""
    app = Celery("bench", broker="memory://", set_as_current=False)
    return Milepost(app, store=url, routing=Routing(**routing))


def measure(ground: Ground) -> Iterator[Figure]:
    server, count = ground.redis(), ground.size(200, 2)
    still = routed("memory://", flags=[StaticFlags({"celery_import": 50.0})])
    stored = routed(server.url)
    stored.flags.enable("celery_import", 50.0)
    client = redis.Redis(port=server.port)
    client.set("flag", "50")

    def deciding(milepost: Milepost) -> Any:
        def case() -> Any:
            with Watch(count * len(KEYS)) as watch:
                for _ in range(count):
                    for key in KEYS:
                        milepost.router.decide("import", key)
            return watch.sample

        return case

    def hashing() -> Any:
        with Watch(count * len(KEYS)) as watch:
            for _ in range(count):
                for key in KEYS:
                    falls_within(50.0, "celery_import", key)
        return watch.sample

    def asking() -> Any:
        with Watch(count) as watch:
            for _ in range(count):
                client.get("flag")
        return watch.sample

    cases = {"static": deciding(still), "stored": deciding(stored), "hash": hashing, "get": asking}
    series = in_turn(ground.rounds, cases)
    yield Figure(
        *("R1", "`router.decide`, no flag in the store", series["static"].micros, "µs"),
        *(series["hash"].micros, "the hash of the key alone"),
        times_as_long(series["static"], series["hash"]),
        Bar(20, of_ratio=False),
    )
    yield Figure(
        *("R2", "`router.decide`, flags in Redis, kept for 0.5 s", series["stored"].micros, "µs"),
        *(series["get"].micros, "redis-py GET each time"),
        times_as_long(series["stored"], series["get"]),
        Bar(150, of_ratio=False),
    )
    yield Figure(
        "R2", "the same: the one in half a second that reads them", _reading(ground, stored), "µs"
    )


def _reading(ground: Ground, milepost: Milepost) -> float:
    """Return the microseconds of a decision that finds the flags too old."""
    times = []
    for _ in range(ground.size(100, 3)):
        milepost.flags._stored._fresh_until = float("-inf")
        began = time.perf_counter()
        milepost.router.decide("import", "customer-1")
        times.append(time.perf_counter() - began)
    return median(times) * 1e6
