"""Messages of jobs whose task this worker does not have: those that newer senders send already.

Celery would tell the caller, and errbacks, that the job has failed. But it is on record, and a
keeper of a worker that has its task sends it again.
"""

import logging
from typing import Any

from celery import bootsteps

from milepost.errors import JobNotFoundError, StoreError
from milepost.runtime import runtime_of

logger = logging.getLogger("milepost")


class UnknownStep(bootsteps.Step):
    """Puts itself before what a worker's consumer does with a task that is not registered."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._consumer = consumer
        self._refuse = consumer.on_unknown_task
        self._told: set[str] = set()
        consumer.on_unknown_task = self.on_unknown_task  # before it looks who handles messages

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop a message whose job is on record; the others are Celery's to refuse."""
        headers = message.headers or {}
        job_id, task = headers.get("id"), str(headers.get("task"))
        if job_id is None or not self._is_on_record(job_id):
            self._refuse(body, message, exc)
            return
        if task not in self._told:
            self._told.add(task)
            logger.warning(
                "job %s: this worker does not have the task %r; such jobs are left to workers "
                "that have it",
                *(job_id, task),
            )
        message.ack_log_error(logger, self._consumer.connection_errors)

    def _is_on_record(self, job_id: str) -> bool:
        try:
            runtime_of(self._consumer.app).store.get(job_id)
        except JobNotFoundError:
            return False
        except StoreError as exc:
            logger.warning("whether job %s is on record is not known: %s", job_id, exc)
            return False
        return True
