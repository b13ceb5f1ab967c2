"""P9: the durable map, whose results travel in batches of 100."""

from collections.abc import Iterator
from typing import Any

import redis

from benchmarks.attempts import Carrier
from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.measure import Case, Sample, Watch, in_turn, times_the_rate
from benchmarks.steps import RESULT


def mapped(carrier: Carrier, items: int) -> Case:
    def body(task: Any) -> Sample:
        with Watch(items) as watch:
            task.map(lambda _: RESULT, range(items))
        return watch.sample

    return lambda: carrier.carry(body)


def by_hand(client: Any, items: int) -> Case:
    """Return the case of redis-py writing the same results, 100 in one HSET."""

    def case() -> Sample:
        client.delete("raw-map")
        with Watch(items) as watch:
            for first in range(0, items, 100):
                batch = {str(number): RESULT for number in range(first, first + 100)}
                client.hset("raw-map", mapping=batch)
        return watch.sample

    return case


def measure(ground: Ground) -> Iterator[Figure]:
    server, items = ground.redis(), ground.size(50_000, 500)
    client = redis.Redis(port=server.port)
    found = in_turn(
        ground.rounds,
        {"raw": by_hand(client, items), "map": mapped(Carrier(server.url), items)},
    )
    yield Figure(
        "P9",
        "`map`, 100 B results in batches of 100, Redis",
        found["map"].rate,
        "results/s",
        found["raw"].rate,
        "redis-py HSET of 100 fields",
        times_the_rate(found["map"], found["raw"]),
        Bar(100_000, 250_000, at_least=True, of_ratio=False),
    )
