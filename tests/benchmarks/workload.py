"""The tasks that do nothing, three ways, and the worker that runs them.

``python -m benchmarks.workload <url> <plain|durable> <queue> <worker arguments>`` is a worker.
"""

import sys
from functools import partial
from typing import Any

import redis
from celery import Celery

DONE = "benchmarks-done"
RESULT = "r" * 96


def noop() -> None:
    """Do nothing."""


def result() -> str:
    """Do nothing, and return 100 bytes."""
    return RESULT


def make_app(url: str, *, durable: bool) -> Celery:
    """Return an app on the Redis at *url*; a plain one does not even import milepost."""
    app = Celery("benchmarks", broker=url, backend=url, set_as_current=False)
    app.conf.broker_connection_retry_on_startup = True
    kinds: dict[str, Any] = {"celery": app.Task}
    if durable:
        from milepost import BaseTask, CheckpointableTask, Milepost

        Milepost(app)
        kinds = {"base": BaseTask, "durable": CheckpointableTask}
    for kind, base in kinds.items():
        add = partial(app.task, base=base, shared=False)
        add(name=f"{kind}.noop", ignore_result=True)(noop)
        # The result of a durable task is in its record, so it needs no result backend.
        add(name=f"{kind}.result", ignore_result=kind == "durable")(result)
    client = redis.Redis.from_url(url)

    @app.task(name="celery.by_hand", shared=False, ignore_result=True)
    def by_hand() -> None:
        """Do the least that puts a job on record: that it runs, and that it is done."""
        client.hset("by-hand", "status", "running")
        client.hset("by-hand", "status", "done")

    @app.task(name="mark", shared=False, ignore_result=True)
    def mark() -> None:
        client.rpush(DONE, 1)

    return app


def main(url: str, kind: str, queue: str, *arguments: str) -> None:
    app = make_app(url, durable=kind == "durable")
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "WARNING")
    app.worker_main(["worker", "-Q", queue, "-n", f"{kind}@%h", *quiet, *arguments])


if __name__ == "__main__":
    main(*sys.argv[1:])
