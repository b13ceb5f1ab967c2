"""Messages of jobs whose task this worker does not have: those that newer senders send already.

Celery would tell the caller, and errbacks, that the job has failed. But it is on record, and a
keeper of a worker that has its task sends it again.
"""

import logging
from functools import partial
from typing import Any

from celery import bootsteps

from milepost.engine.trouble import Trouble
from milepost.errors import JobNotFoundError
from milepost.runtime import runtime_of

logger = logging.getLogger("milepost")

UNDECIDED = "messages of tasks that this worker does not have go back to their queue"
BACK_AFTER = 5.0
"""Seconds for which a message is kept whose job nobody can look up, before it is put back."""


class UnknownStep(bootsteps.Step):
    """Puts itself before what a worker's consumer does with a task that is not registered."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self._consumer = consumer
        self._refuse = consumer.on_unknown_task
        self._told: set[str] = set()
        self._trouble = Trouble(UNDECIDED, runtime_of(consumer.app).clock)
        consumer.on_unknown_task = self.on_unknown_task  # before it looks who handles messages

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop a message whose job is on record; the others are Celery's to refuse.

        While the store does not say which it is, the message goes back to its queue.
        """
        headers = message.headers or {}
        job_id, task = headers.get("id"), str(headers.get("task"))
        is_ours = False if job_id is None else self._is_on_record(job_id)
        if is_ours is None:
            self._put_back(message)
            return
        if not is_ours:
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

    def _is_on_record(self, job_id: str) -> bool | None:
        """Return whether it is; None: the store does not say."""
        with self._trouble:
            try:
                runtime_of(self._consumer.app).store.get(job_id)
            except JobNotFoundError:
                return False
            return True
        return None

    def _put_back(self, message: Any) -> None:
        """Put a message back later: at once, it would be here again at once.

        Until then it counts among those that the worker has prefetched, so that it takes no
        more than a few of them in that time.
        """
        consumer = self._consumer
        put_back = partial(
            message.reject_log_error, logger, consumer.connection_errors, requeue=True
        )
        consumer.timer.call_after(BACK_AFTER, consumer.call_soon, (put_back,))
