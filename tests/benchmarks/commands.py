"""P4: exactly how many commands reach the store. ``tests/worker`` asserts the same numbers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis

from benchmarks.attempts import Carrier
from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.steps import result

END = "benchmarks-end"


@contextmanager
def overheard(client: Any, of: str = "milepost:") -> Iterator[list[str]]:
    """Collect the commands about keys that begin with *of* which clients send in the block.

    Not from INFO commandstats, which also count what a script does inside the server.
    """
    heard: list[str] = []
    with client.monitor() as monitor:
        yield heard
        client.echo(END)
        for entry in monitor.listen():
            words = entry["command"]
            if words == f"ECHO {END}":
                break
            if of in words and entry["client_type"] != "lua":
                heard.append(words)


def count(client: Any, work: Callable[[], Any]) -> int:
    """Return how many commands *work* sends to the store."""
    with overheard(client) as heard:
        work()
    return len(heard)


def counts(url: str, client: Any) -> dict[str, int]:
    """Return the commands of each thing an attempt does, and of one that does nothing."""
    carrier = Carrier(url)
    carrier.carry(lambda task: task.step(result))  # connected, scripts loaded
    found: dict[str, int] = {}
    job_id = carrier.record()

    def first(task: Any) -> None:
        found["step"] = count(client, lambda: task.step(result))
        found["checkpoint"] = count(client, task.checkpoint)
        task.snooze(0)

    def second(task: Any) -> None:
        found["memo hit"] = count(client, lambda: task.step(result))

    carrier.carry(first, job_id)
    carrier.carry(second, job_id)
    found["short job in the publisher"] = count(client, lambda: carrier.task.delay("body"))
    job_id = carrier.record()
    found["short job in the worker"] = count(client, lambda: carrier.carry(lambda _: None, job_id))
    return found


EXACT = {
    "step": 1,
    "memo hit": 0,
    "checkpoint": 1,
    "short job in the publisher": 1,
    "short job in the worker": 2,
}


def measure(ground: Ground) -> Iterator[Figure]:
    server = ground.redis()
    found = counts(server.url, redis.Redis(port=server.port))
    for what, exact in EXACT.items():
        bar = Bar(exact, of_ratio=False)
        yield Figure("P4", f"store commands of a {what}", found[what], "", bar=bar)
