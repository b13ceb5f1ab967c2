"""The Celery project in the storm: durable tasks whose every effect is one line in a file.

Some are encrypted and are given a word that nobody may read, some ask a model.
A line is ``<monotonic seconds> <job> <word> <fence> <item> <pid>``, written in one append, so
that what really ran is known whatever became of the process.
"""

import asyncio
import json
import os
import time
from pathlib import Path

from celery import Celery, chord, current_task

from milepost import CheckpointableTask, EncryptedTask, LLMTask, Milepost
from milepost.llms import FunctionClient

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
milepost = Milepost(app, store=os.environ["PROJECT_STORE"], keys=f"file:{FOLDER / 'keys.json'}")
FENCES = {}
"""Of the jobs that ask a model in this process: the newest fence."""


def durable(name, base=CheckpointableTask, **options):
    return app.task(shared=False, base=base, bind=True, name=name, **options)


def effect(word, item="-"):
    leave(current_task.request.id, word, current_task.fence, item)


def leave(job, word, fence, item):
    line = f"{time.monotonic():.6f} {job} {word} {fence} {item} {os.getpid()}\n"
    file = os.open(FOLDER / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


@durable("loop")
def loop(self, before, n, every, pause, word=None):
    """Add up ``range(n)`` on top of what was before."""
    return add_up(self, before, n, every, pause)


@durable("secret", EncryptedTask)
def secret(self, before, n, every, pause, word=None):
    """Do the same with a word in every place that a task can put one."""
    self.report(word)
    self.state["word"] = word
    self.step(str, word, name=word)
    return add_up(self, before, n, every, pause)


def add_up(self, before, n, every, pause):
    effect("begin")
    for item in self.iterate(range(n), every=every):
        effect("item", item)
        time.sleep(pause)
        self.state["sum"] = self.state.get("sum", 0) + item
    effect("end")
    before = milepost.jobs.open(before)  # a plain task behind an encrypted one has ciphertext
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


async def answer(request):
    """Stand for a model that is told who asks, and takes a moment."""
    job, item, pause = request.messages[-1]["content"].split()
    leave(job, "item", FENCES[job], item)
    await asyncio.sleep(float(pause))
    return str(int(item) ** 2)


@durable("ask", LLMTask, llm_client=FunctionClient(answer), llm_model="storm")
async def ask(self, n, pause, at_once):
    """Ask about each item, several at a time, and add the answers up."""
    FENCES[self.request.id] = self.fence
    effect("begin")
    prompt = f"{self.request.id} {{item}} {pause}"
    answers = await self.llm_map(range(n), prompt, key=str, concurrency=at_once)
    effect("end")
    return sum(int(answer.text) for answer in answers)


@durable("add")
def add(self, x, y):
    """A short link of a chain."""
    effect("begin")
    effect("end")
    return milepost.jobs.open(x) + y


__all__ = ["app", "chord"]
