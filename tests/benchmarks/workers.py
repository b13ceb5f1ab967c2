"""P10, P11, P17: a task that does nothing, on real workers with milepost and without."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import mean
from typing import Any

import redis

from benchmarks import processes
from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.measure import (
    Case,
    Sample,
    Series,
    in_turn,
    times_as_long,
    times_the_cpu,
    times_the_rate,
)
from benchmarks.workload import DONE, make_app

PATIENCE = 120
POOLS = {"solo": ("--pool", "solo"), "prefork": ("--pool", "prefork", "-c", "2")}


class Worker:
    """One worker process with its own queue, and the app that sends to it."""

    def __init__(self, ground: Ground, kind: str, pool: str) -> None:
        self.url = ground.redis().url
        self.queue = f"{kind}-{pool}"
        self.app = make_app(self.url, durable=kind == "durable")
        self.client: Any = redis.Redis.from_url(self.url, socket_timeout=2 * PATIENCE)
        command = ("-m", "benchmarks.workload", self.url, kind, self.queue, *POOLS[pool])
        with open(ground.directory / f"{self.queue}.log", "wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *command],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def noop(self, task: str, count: int) -> Case:
        """Return the case of *count* tasks that wait in the queue and then all run.

        They are sent to another queue first, which then becomes the worker's at once.
        """
        found = self.app.tasks[task]
        parked = f"parked-{self.queue}"

        def case() -> Sample:
            for _ in range(count):
                found.apply_async(queue=parked)
            self.app.tasks["mark"].apply_async(queue=parked)
            cpu, wall = processes.cpu(self._process.pid), time.perf_counter()
            self.client.rename(parked, self.queue)
            if self.client.blpop([DONE], PATIENCE) is None:
                raise RuntimeError(f"{task}: not done in {PATIENCE} s; see the worker's log")
            wall = time.perf_counter() - wall
            return Sample(wall, processes.cpu(self._process.pid) - cpu, count)

        return case

    def publish(self, task: str, count: int) -> Case:
        """Return the case of only sending *count* tasks."""
        found = self.app.tasks[task]

        def case() -> Sample:
            cpu, wall = time.process_time(), time.perf_counter()
            for _ in range(count):
                found.apply_async(queue="nowhere")
            sample = Sample(time.perf_counter() - wall, time.process_time() - cpu, count)
            self.client.delete("nowhere")
            return sample

        return case

    def memory(self) -> list[float]:
        return processes.memory(self._process.pid)

    def stop(self) -> None:
        for pid in reversed(processes.family(self._process.pid)):
            os.kill(pid, 9)
        self._process.wait()


def solo(ground: Ground) -> Iterator[Figure]:
    return measure(ground, "solo")


def prefork(ground: Ground) -> Iterator[Figure]:
    return measure(ground, "prefork")


def measure(ground: Ground, pool: str) -> Iterator[Figure]:
    """Run plain Celery's worker and one with milepost side by side, one at a time at work."""
    tasks = ground.size(2000, 50)
    plain, durable = (Worker(ground, kind, pool) for kind in ("plain", "durable"))
    try:
        cases = {
            "celery": plain.noop("celery.noop", tasks),
            "base": durable.noop("base.noop", tasks),
            "durable": durable.noop("durable.noop", tasks),
            "by hand": plain.noop("celery.by_hand", tasks),
            "celery, result": plain.noop("celery.result", tasks),
            "durable, result": durable.noop("durable.result", tasks),
        }
        found = in_turn(ground.rounds, cases)
        memories = plain.memory(), durable.memory()
    finally:
        plain.stop()
        durable.stop()
    yield from figures(pool, found)
    yield memory_figure(pool, *memories)
    if pool == "solo":
        yield sending(ground, plain.publish("celery.noop", tasks), durable, tasks)
    durable.client.flushall()  # jobs that were sent nowhere are not to be recovered later


def figures(pool: str, found: dict[str, Series]) -> Iterator[Figure]:
    celery, base, durable = found["celery"], found["base"], found["durable"]
    yield cpu_figure("P10", f"no-op `BaseTask`, worker CPU, {pool}", base, celery, Bar(1.05, 1.0))
    bar = Bar(0.85, 0.92, at_least=True)
    yield rate_figure(f"no-op durable job, {pool}", durable, celery, bar)
    by_hand, suffix = found["by hand"], " with two HSET by redis-py"
    yield rate_figure(f"no-op durable job, {pool}", durable, by_hand, None, suffix)
    yield cpu_figure("P11", f"no-op durable job, worker CPU, {pool}", durable, celery)
    durable, celery = found["durable, result"], found["celery, result"]
    bar = Bar(None, 1.1, at_least=True)
    yield rate_figure(f"durable job, result kept, {pool}", durable, celery, bar, " with its result")
    yield cpu_figure("P11", f"the same, worker CPU, {pool}", durable, celery)


def rate_figure(
    what: str, ours: Series, celery: Series, bar: Bar | None, suffix: str = ""
) -> Figure:
    ratio = times_the_rate(ours, celery)
    raw_name = f"`celery.Task`{suffix}"
    return Figure("P11", what, ours.rate, "tasks/s", celery.rate, raw_name, ratio, bar)


def cpu_figure(
    number: str, what: str, ours: Series, celery: Series, bar: Bar | None = None
) -> Figure:
    ratio = times_the_cpu(ours, celery)
    micros, reference = ours.cpu_micros, celery.cpu_micros
    return Figure(number, what, micros, "µs", reference, "`celery.Task`", ratio, bar)


def sending(ground: Ground, plainly: Case, durable: Worker, tasks: int) -> Figure:
    """Measure the publisher, with no worker about."""
    cases = {"celery": plainly, "durable": durable.publish("durable.noop", tasks)}
    found = in_turn(ground.rounds, cases)
    ours, celery = found["durable"], found["celery"]
    ratio = times_as_long(ours, celery)
    what = "sending a durable job, on record first"
    return Figure("P11", what, ours.micros, "µs", celery.micros, "`celery.Task`", ratio)


def memory_figure(pool: str, plain: list[float], durable: list[float]) -> Figure:
    bar = Bar(5, 3, of_ratio=False)
    extra = mean(durable) - mean(plain)
    what = f"worker memory added by milepost, a process, {pool}"
    return Figure("P17", what, extra, "MB", mean(plain), "without", bar=bar)
