"""Real attempts of a real task, without a worker: Celery's request, the door, the engine."""

import uuid
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from celery import Celery
from celery.exceptions import Ignore

from milepost import CheckpointableTask, Milepost
from milepost.model import NewJob

Body = Callable[[Any], Any]


class Carrier:
    """An app with one durable task, whose body is whatever it is handed.

    Args:
        store: URL of the store.
        base: the task's base class, and what else its class declares.
        settings: of milepost.
    """

    def __init__(
        self,
        store: str,
        base: Any = CheckpointableTask,
        declared: Mapping[str, Any] = MappingProxyType({}),
        **settings: Any,
    ) -> None:
        app = Celery("benchmarks", broker="memory://", set_as_current=False)
        self.runtime = Milepost(app, store=store, **settings).runtime

        @app.task(
            base=base,
            bind=True,
            shared=False,
            ignore_result=True,
            keep_result=False,
            **declared,
        )
        def carried(task: Any, body: Body) -> Any:
            return body(task)

        self.task: Any = carried

    @property
    def store(self) -> Any:
        return self.runtime.store

    def record(self) -> str:
        """Put a job on record and return its id."""
        job_id = str(uuid.uuid4())
        self.store.create(NewJob(job_id, self.task.name, b"json utf-8\n{}"))
        return job_id

    def carry(self, body: Body, job_id: str | None = None) -> Any:
        """Run *body* as one attempt.

        Returns:
            What it returned, or None where it left by ``task.snooze(0)``.
        """
        request = {"id": job_id or self.record(), "called_directly": False, "ignore_result": True}
        self.task.push_request(**request)
        try:
            return self.task.run(body)
        except Ignore:
            return None
        finally:
            self.task.pop_request()
