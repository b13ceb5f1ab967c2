"""P17: what importing milepost adds to a process that has Celery and redis-py already."""

import os
import subprocess
import sys
from collections.abc import Iterator
from statistics import median

from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground

PROGRAM = """
import time
begin = time.perf_counter()
import celery, redis
app = celery.Celery("shop", broker="redis://127.0.0.1/0")
middle = time.perf_counter()
from milepost import CheckpointableTask, Milepost
Milepost(app)
end = time.perf_counter()
print(middle - begin, end - middle)
"""


def once() -> tuple[float, float]:
    """Return the seconds of Celery and redis-py, and those of milepost on top, in a new process."""
    # Compiled modules are kept: an installed package has them, a checkout may not yet.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
    )
    before, ours = map(float, answer.stdout.split())
    return before, ours


def measure(ground: Ground) -> Iterator[Figure]:
    once()
    times = [once() for _ in range(ground.rounds)]
    yield Figure(
        "P17",
        "`from milepost import …; Milepost(app)`, in a new process",
        median(ours for _, ours in times) * 1000,
        "ms",
        median(before for before, _ in times) * 1000,
        "`import celery, redis` and an app",
        median(ours / before for before, ours in times),
        Bar(80, 20, of_ratio=False),
    )
