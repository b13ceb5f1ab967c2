"""P5, P6: what a checkpointed loop costs an item, and what its position weighs."""

from collections.abc import Iterator
from typing import Any

import redis

from benchmarks.attempts import Carrier
from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.measure import Case, Sample, Watch, in_turn, times_as_long, times_the_rate


def loop(carrier: Carrier, items: int, every: int | None) -> Case:
    """Return the case of one loop over *items* items that does nothing with them."""

    def body(task: Any) -> Sample:
        with Watch(items) as watch:
            for _ in task.iterate(range(items), every=every):
                pass
        return watch.sample

    return lambda: carrier.carry(body)


def plain(items: int) -> Case:
    """Return the case of a loop without milepost."""

    def case() -> Sample:
        with Watch(items) as watch:
            for _ in range(items):
                pass
        return watch.sample

    return case


def cursor_by_hand(client: Any, items: int, every: int) -> Case:
    """Return the case of a loop that writes its place by redis-py, without a fence."""

    def case() -> Sample:
        with Watch(items) as watch:
            for number in range(1, items + 1):
                if number % every == 0:
                    client.hset("raw", "cursor", number)
        return watch.sample

    return case


def measure(ground: Ground) -> Iterator[Figure]:
    yield from by_time(ground)
    yield from by_count(ground)
    yield from state_of_many(ground)


def by_time(ground: Ground) -> Iterator[Figure]:
    items = ground.size(3_000_000, 100_000)
    carrier = Carrier(f"sqlite:///{ground.directory}/loops.db")
    cases = {"plain": plain(items), "loop": loop(carrier, items, None)}
    found = in_turn(ground.rounds, cases)
    yield Figure(
        "P5",
        "`iterate` at its default pace, an item",
        found["loop"].micros,
        "µs",
        found["plain"].micros,
        "plain `for`",
        times_as_long(found["loop"], found["plain"]),
        Bar(0.3, 0.15, of_ratio=False),
    )


def by_count(ground: Ground) -> Iterator[Figure]:
    server = ground.redis()
    client, carrier = redis.Redis(port=server.port), Carrier(server.url)
    few, many = 10_000, ground.size(1_000_000, 20_000)
    found = in_turn(
        ground.rounds,
        {
            "by hand": cursor_by_hand(client, few, 10),
            "few": loop(carrier, few, 10),
            "many": loop(carrier, many, 10),
            "each": loop(carrier, few, 1),
            "each by hand": cursor_by_hand(client, few, 1),
        },
    )
    yield Figure(
        "P6",
        "`iterate(every=10)`, 10 k items, Redis",
        found["few"].rate,
        "items/s",
        found["by hand"].rate,
        "redis-py HSET every 10 items",
        times_the_rate(found["few"], found["by hand"]),
        Bar(120_000, 165_000, at_least=True, of_ratio=False),
    )
    yield Figure(
        "P6",
        f"`iterate(every=10)`, {many:,} items, Redis",
        found["many"].rate,
        "items/s",
        found["few"].rate,
        "10 k items",
        times_the_rate(found["many"], found["few"]),
        Bar(0.9, at_least=True),
    )
    yield Figure(
        "P6",
        "`iterate(every=1)`, Redis",
        found["each"].rate,
        "items/s",
        found["each by hand"].rate,
        "redis-py HSET every item",
        times_the_rate(found["each"], found["each by hand"]),
    )
    sent = bytes_sent(client, loop(carrier, few, 10)) / few
    bar = Bar(12, of_ratio=False)
    yield Figure("P6", "`iterate(every=10)`: sent to Redis, an item", sent, "B", bar=bar)


def bytes_sent(client: Any, case: Case) -> int:
    """Return how much a case makes the server read."""
    case()  # connected, scripts loaded
    before = client.info("stats")["total_net_input_bytes"]
    # The server has counted the first question; the second one has the same length.
    question = client.info("stats")["total_net_input_bytes"] - before
    case()
    after = client.info("stats")["total_net_input_bytes"]
    return int(after - before - 2 * question)


def state_of_many(ground: Ground) -> Iterator[Figure]:
    items = ground.size(10_000_000, 20_000)
    server = ground.redis()
    client, carrier = redis.Redis(port=server.port), Carrier(server.url)
    job_id = carrier.record()
    weights = []

    def weigh() -> None:
        keys = (f"milepost:{{{job_id}}}", f"milepost:{{{job_id}}}:data")
        weights.append(sum(client.memory_usage(key, samples=0) or 0 for key in keys))

    def body(task: Any) -> None:
        for number in task.iterate(range(items)):
            if number == items - 1:
                task.checkpoint()
                weigh()

    carrier.carry(body, job_id)
    weigh()
    what = f"state of a loop of {items:,} items in Redis, record included"
    yield Figure("P6", what, max(weights), "B", bar=Bar(4096, of_ratio=False))
