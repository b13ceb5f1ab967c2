"""A workbench for tasks: Celery's own tracer and a broker in memory, without a worker."""

import json
import uuid
from dataclasses import dataclass
from typing import Any

from celery import Celery
from celery.app.trace import build_tracer

from milepost import Milepost
from milepost.runtime import runtime_of


class OwnCelery(Celery):
    """Celery shares every task with every app of the process, unless it is told not to."""

    def task(self, *args: Any, **options: Any) -> Any:
        return super().task(*args, **{"shared": False, **options})


def make_app(*, milepost: bool | dict[str, Any] = True, **conf: Any) -> Celery:
    """Return an app of its own queue, with a milepost on a memory store."""
    name = f"app-{uuid.uuid4().hex[:8]}"
    app = OwnCelery(name, broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(task_default_queue=name, **conf)
    if milepost is not False:
        options = milepost if isinstance(milepost, dict) else {}
        app.milepost = Milepost(app, **{"store": "memory://", **options})
    return app


@dataclass
class Outcome:
    """What Celery made of one delivery: its state (None: success) and value."""

    state: str | None
    value: Any

    @property
    def succeeded(self) -> bool:
        return self.state is None


def deliver(
    task: Any, *args: Any, job_id: str = "job", retries: int = 0, **options: Any
) -> Outcome:
    """Run a task as a worker's process would on receiving its message.

    Args:
        task: any task.
        args: its arguments; ``kwargs=`` in *options* for the others.
        options: more of the request (``chain``, ``callbacks``, ``headers``…).
    """
    kwargs = options.pop("kwargs", {})
    request = {
        "id": job_id,
        "task": task.name,
        "args": args,
        "kwargs": kwargs,
        "retries": retries,
        "is_eager": False,
        "called_directly": False,
        "delivery_info": {"routing_key": task.app.conf.task_default_queue},
        "hostname": "bench",
        "root_id": job_id,
        "headers": {},
        **options,
    }
    task.app.finalize()
    tracer = build_tracer(task.name, task.app.tasks[task.name], app=task.app)
    traced = tracer(job_id, args, kwargs, request)
    if traced.info is None:
        return Outcome(None, traced.retval)
    return Outcome(traced.info.state, traced.info.retval)


def sent(app: Celery) -> list[tuple[dict[str, Any], Any]]:
    """Take every message from the app's queue; returns headers (with properties) and body."""
    messages = []
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[app.conf.task_default_queue](connection.default_channel)
        queue.declare()
        while (message := queue.get(no_ack=True)) is not None:
            body = message.body if isinstance(message.body, str) else message.body.decode()
            messages.append(({**message.properties, **message.headers}, json.loads(body)))
    return messages


def record(app: Celery, job_id: str = "job") -> Any:
    """Return the record of a job."""
    return runtime_of(app).store.get(job_id)
