"""Measuring: cases take turns, round after round, and a ratio is taken within its round."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run of a case took.

    Attributes:
        wall: seconds on the clock.
        cpu: seconds of CPU, of the process that is measured.
        count: how many operations that was.
    """

    wall: float
    cpu: float
    count: int


Case = Callable[[], Sample]


class Watch:
    """Takes the time of a ``with`` block, of this process."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> "Watch":
        self._cpu, self._wall = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        self.sample = Sample(wall, cpu, self._count)


class Series:
    """The samples of one case, one per round."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    @property
    def micros(self) -> float:
        """Microseconds on the clock per operation."""
        return median(s.wall / s.count for s in self.samples) * 1e6

    @property
    def cpu_micros(self) -> float:
        """Microseconds of CPU per operation."""
        return median(s.cpu / s.count for s in self.samples) * 1e6

    @property
    def rate(self) -> float:
        """Operations per second."""
        return 1e6 / self.micros

    @property
    def millis(self) -> float:
        """Milliseconds on the clock for all operations of a round."""
        return median(s.wall for s in self.samples) * 1e3


def in_turn(rounds: int, cases: Mapping[str, Case]) -> dict[str, Series]:
    """Run every case in every round, after one round to warm up; every other round backwards."""
    series = {name: Series() for name in cases}
    names = list(cases)
    for number in range(rounds + 1):
        for name in names if number % 2 else reversed(names):
            gc.collect()
            sample = cases[name]()
            if number:
                series[name].samples.append(sample)
    return series


def times_as_long(ours: Series, raw: Series) -> float:
    """Return how many times the time of *raw* an operation of *ours* takes."""
    return _ratio(ours, raw, lambda s: s.wall / s.count)


def times_the_rate(ours: Series, raw: Series) -> float:
    """Return how many times the rate of *raw* the rate of *ours* is."""
    return _ratio(ours, raw, lambda s: s.count / s.wall)


def times_the_cpu(ours: Series, raw: Series) -> float:
    """Return how many times the CPU of *raw* an operation of *ours* takes."""
    return _ratio(ours, raw, lambda s: s.cpu / s.count)


def _ratio(ours: Series, raw: Series, of: Callable[[Sample], float]) -> float:
    return median(of(a) / of(b) for a, b in zip(ours.samples, raw.samples, strict=True))
