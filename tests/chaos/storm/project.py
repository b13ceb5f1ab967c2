"""The Celery project in the storm: durable tasks whose every effect is one line in a file.

A line is ``<monotonic seconds> <job> <word> <fence> <item> <pid>``, written in one append, so
that what really ran is known whatever became of the process.
"""

import json
import os
import time
from pathlib import Path

from celery import Celery, chord, current_task

from milepost import CheckpointableTask, Milepost

FOLDER = Path(os.environ["PROJECT_FOLDER"])

app = Celery("storm", broker=os.environ["PROJECT_BROKER"], backend=os.environ["PROJECT_BACKEND"])
app.conf.update(
    task_default_queue="work",
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    **json.loads(os.environ.get("PROJECT_CONF", "{}")),
)
milepost = Milepost(app, store=os.environ["PROJECT_STORE"])


def durable(name):
    return app.task(shared=False, base=CheckpointableTask, bind=True, name=name)


def effect(word, item="-"):
    line = (
        f"{time.monotonic():.6f} {current_task.request.id} {word} {current_task.fence} "
        f"{item} {os.getpid()}\n"
    )
    file = os.open(FOLDER / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@durable("loop")
def loop(self, before, n, every, pause):
    """Add up ``range(n)`` on top of what was before."""
    effect("begin")
    for item in self.iterate(range(n), every=every):
        effect("item", item)
        time.sleep(pause)
        self.state["sum"] = self.state.get("sum", 0) + item
    effect("end")
    before = sum(before) if isinstance(before, list) else before
    return before + self.state.get("sum", 0)


def square(item, pause):
    effect("item", item)
    time.sleep(pause)
    return item * item


@durable("steps")
def steps(self, n, pause):
    """Memoised calls, one after the other."""
    effect("begin")
    total = sum(self.step(square, item, pause, name=f"square-{item}") for item in range(n))
    effect("end")
    return total


@durable("add")
def add(self, x, y):
    """A short link of a chain."""
    effect("begin")
    effect("end")
    return x + y


__all__ = ["app", "chord"]
