"""P7, P8: how long a resumed attempt takes to be where the last one was."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import redis

from benchmarks.attempts import Carrier
from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.measure import Case, Sample, Series, Watch, in_turn, times_as_long
from benchmarks.steps import result

FEW_AND_MANY = {
    1_000: Bar(3, 2, of_ratio=False),
    100_000: Bar(300, 250, of_ratio=False),
}
"""Memoised steps, and the milliseconds in which they have to be back."""

Play = Callable[[Any], None]


def resumed(carrier: Carrier, play: Play) -> tuple[str, Case]:
    """Let *play* run once, then return the job and the case of resuming it.

    What is timed begins with the claim and ends when *play* has come to its end again; then
    the job snoozes, so that it can be resumed once more.
    """
    job_id = carrier.record()
    watches: list[Watch] = []

    def body(task: Any) -> None:
        play(task)
        watches[-1].__exit__(None, None, None)
        task.snooze(0)

    def case() -> Sample:
        watches.append(Watch(1).__enter__())
        carrier.carry(body, job_id)
        return watches[-1].sample

    case()
    return job_id, case


def hgetall(client: Any, job_id: str) -> Case:
    """Return the case of only fetching a job's checkpoint with redis-py."""

    def case() -> Sample:
        with Watch(1) as watch:
            client.hgetall(f"milepost:{{{job_id}}}:data")
        return watch.sample

    return case


def measure(ground: Ground) -> Iterator[Figure]:
    yield from with_steps(ground)
    yield from with_keys(ground)


def with_steps(ground: Ground) -> Iterator[Figure]:
    server = ground.redis()
    client, carrier = redis.Redis(port=server.port), Carrier(server.url)
    for steps, bar in FEW_AND_MANY.items():
        steps = min(steps, ground.size(steps, 500))

        def play(task: Any, steps: int = steps) -> None:
            for _ in range(steps):
                task.step(result)

        job_id, case = resumed(carrier, play)
        found = in_turn(ground.rounds, {"raw": hgetall(client, job_id), "resume": case})
        yield Figure(
            "P8",
            f"resume with {steps:,} memoised steps, Redis",
            found["resume"].millis,
            "ms",
            found["raw"].millis,
            "redis-py HGETALL",
            times_as_long(found["resume"], found["raw"]),
            bar,
        )


class Asked:
    """A source that knows when it was first asked for an item."""

    def __init__(self, items: int) -> None:
        self._items = items
        self.at = 0.0

    def __iter__(self) -> Iterator[int]:
        self.at = time.perf_counter()
        return iter(range(self._items))


def with_keys(ground: Ground) -> Iterator[Figure]:
    """Measure a resume in two parts: the keys are back; the source is walked past them."""
    server, items = ground.redis(), ground.size(1_000_000, 5_000)
    client, carrier = redis.Redis(port=server.port), Carrier(server.url)
    asked = Asked(items)

    def play(task: Any) -> None:
        """Do all but the last item."""
        for number in task.iterate(asked, key=str):
            if number == items - 1:
                return

    job_id, case = resumed(carrier, play)
    restoring, walking = Series(), Series()

    def resume() -> Sample:
        begin = time.perf_counter()
        whole = case()
        restored = asked.at - begin
        restoring.samples.append(Sample(restored, restored, 1))
        walking.samples.append(Sample(whole.wall - restored, whole.cpu - restored, 1))
        return whole

    cases = {"raw": hgetall(client, job_id), "walk": lambda: walk(items), "resume": resume}
    found = in_turn(ground.rounds, cases)
    yield Figure(
        "P7",
        f"resume a done-set of {items:,} keys: the set is back",
        restoring.millis,
        "ms",
        found["raw"].millis,
        "redis-py HGETALL",
        restoring.millis / found["raw"].millis,
        Bar(300, of_ratio=False),
    )
    yield Figure(
        "P7",
        f"then: the source of {items:,} walked to the first item not done",
        walking.millis,
        "ms",
        found["walk"].millis,
        "the same walk by hand",
        walking.millis / found["walk"].millis,
    )


def walk(items: int) -> Sample:
    """Do by hand what no library can spare a source whose order is not stable."""
    source = range(items)
    done = set(map(str, source))
    with Watch(1) as watch:
        for number in source:
            if str(number) not in done:
                raise AssertionError
    return watch.sample
