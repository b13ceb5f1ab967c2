"""What a limited call costs, against bare commands to the same Redis."""

from collections.abc import Callable, Iterator
from itertools import count

import redis

from benchmarks.figures import Figure
from benchmarks.ground import Ground
from benchmarks.measure import Case, Watch, in_turn, times_as_long
from milepost.guards.breaker import BreakerGuard
from milepost.guards.rate import RateGuard
from milepost.limits import Admitted, Limit
from milepost.stores import open_store

PLENTY = 10**9
LIMIT = Limit(requests=PLENTY, tokens=PLENTY, concurrency=PLENTY, per=60.0)
SPREAD = Limit(requests=PLENTY, tokens=PLENTY, concurrency=PLENTY, per=0.5)
"""A window so short that the calls of a round fill every bucket of it."""


def repeated(times: int, call: Callable[[], object]) -> Case:
    """Return the case of so many calls."""

    def case():
        with Watch(times) as watch:
            for _ in range(times):
                call()
        return watch.sample

    return case


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure a bare limit, the guard around it, and a closed breaker."""
    server, calls, names = ground.redis(), ground.size(5000, 100), count()
    client, store = redis.Redis(port=server.port), open_store(server.url)
    guard = RateGuard(store.limits, "bench/guard", LIMIT)
    breaker = BreakerGuard(store.documents, "bench")

    def acquire_and_settle(key: str, limit: Limit) -> None:
        answer = store.limits.acquire(key, limit, 100)
        assert isinstance(answer, Admitted)
        store.limits.release(answer.permit, 50)

    def guarded() -> None:
        with guard.calling(100) as call:
            call.settle(50)

    def broken() -> None:
        with breaker.calling():
            pass

    found = in_turn(
        ground.rounds,
        {
            "raw": repeated(calls, lambda: client.hset("bench-raw", f"f{next(names)}", b"x")),
            "limit": repeated(calls, lambda: acquire_and_settle("bench/limit", LIMIT)),
            "full": repeated(calls, lambda: acquire_and_settle("bench/full", SPREAD)),
            "guard": repeated(calls, guarded),
            "breaker": repeated(calls, broken),
        },
    )
    words = {
        "limit": "`acquire`, then `release` with what it took, Redis",
        "full": "the same, every bucket of the window in use",
        "guard": "a call through `RateGuard`, settled",
        "breaker": "a call through a closed `BreakerGuard`",
    }
    for case, what in words.items():
        yield Figure(
            "limits",
            what,
            found[case].micros,
            "µs",
            raw=found["raw"].micros,
            raw_name="bare redis-py HSET",
            ratio=times_as_long(found[case], found["raw"]),
        )
