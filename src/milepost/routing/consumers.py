"""Who takes messages from a job type's queue, and how they are told to stop and begin again."""

from collections.abc import Callable, Sequence
from typing import Any

from milepost.clock import Clock
from milepost.jobs.patience import PATIENCE, attempt
from milepost.registry import registry_of
from milepost.routing import shared
from milepost.runtime import runtime_of

DOCUMENTS = "consumers/"
ANSWERS = 1.0
"""Seconds workers have to answer."""


class Consumers:
    """Tells the workers of an app which queues to consume, and when to end.

    Args:
        app: the Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def queue_of(self, job_type: str) -> str:
        """Return the name of the queue that jobs of a type are sent to."""
        task = registry_of(self._app).task_name(job_type)
        found = registry_of(self._app).of_task(task)
        if found is not None and found.queue is not None:
            return found.queue
        return self._routed(task)

    def sharers(self, job_type: str) -> Sequence[str]:
        """Return the tasks beside the job type's own that are sent to the same queue."""
        own, queue = registry_of(self._app).task_name(job_type), self.queue_of(job_type)
        others = (name for name in self._app.tasks if name != own)
        return sorted(
            name
            for name in others
            if not name.startswith("celery.") and self.queue_of(name) == queue
        )

    def cancel(self, job_type: str) -> str:
        """Let no worker take messages from a job type's queue; say what was done.

        A queue that other tasks use too is left alone. Who consumed it is on record, so that
        :meth:`restore` can undo it.
        """
        queue, sharers = self.queue_of(job_type), self.sharers(job_type)
        if sharers:
            return f"queue {queue!r} is left as it is: {', '.join(sharers)} use it too"
        workers = self._consuming(queue)
        if not workers:
            return f"no worker that answers consumes queue {queue!r}"
        documents = runtime_of(self._app).store.documents
        shared.change(
            documents,
            DOCUMENTS + job_type,
            lambda said: {
                "queue": queue,
                "workers": sorted({*said.get("workers", ()), *workers}),
            },
        )
        told = self._tell(
            f"cancel the consumers of queue {queue!r}",
            lambda: self._app.control.cancel_consumer(
                queue, destination=workers, reply=True, timeout=ANSWERS
            ),
        )
        done = f"{', '.join(workers)} no longer consume queue {queue!r}"
        return done if told else f"queue {queue!r}: its workers could not be told"

    def restore(self, job_type: str) -> None:
        """Let those consume a job type's queue again who were told not to."""
        documents = runtime_of(self._app).store.documents
        said = shared.read(documents, DOCUMENTS + job_type)
        if not said:
            return
        told = self._tell(
            f"restore the consumers of queue {said['queue']!r}",
            lambda: self._app.control.add_consumer(
                said["queue"], destination=said["workers"], reply=True, timeout=ANSWERS
            ),
        )
        if told:
            shared.clear(documents, DOCUMENTS + job_type)

    def shut_down(self, clock: Clock, timeout: float) -> str:
        """Shut down every worker warmly: jobs step aside at their next checkpoint.

        Args:
            clock: to wait by.
            timeout: seconds to wait until none answers any more.
        """
        if not self._answering():
            return "no worker answers"
        self._tell("shut down the workers", self._app.control.shutdown)
        give_up_at = clock.monotonic() + timeout
        while left := self._answering():
            if clock.monotonic() >= give_up_at:
                return f"still there after {timeout:g} s: {', '.join(left)}"
            clock.sleep(0.2)
        return "no worker answers any more"

    def _consuming(self, queue: str) -> list[str]:
        heard: dict[str, Any] = {}
        self._tell(
            f"ask who consumes queue {queue!r}",
            lambda: heard.update(self._app.control.inspect(timeout=ANSWERS).active_queues() or {}),
        )
        return sorted(
            worker for worker, queues in heard.items() if any(q["name"] == queue for q in queues)
        )

    def _answering(self) -> list[str]:
        heard: dict[str, Any] = {}
        self._tell(
            "ask which workers are there",
            lambda: heard.update(self._app.control.inspect(timeout=ANSWERS).ping() or {}),
        )
        return sorted(heard)

    def _routed(self, task: str) -> str:
        options = dict(getattr(self._app.tasks.get(task), "_get_exec_options", dict)())
        queue = self._app.amqp.router.route(options, task)["queue"]
        return str(getattr(queue, "name", queue))

    @staticmethod
    def _tell(what: str, work: Callable[[], Any]) -> bool:
        return attempt(what, lambda: (work(), None)[1], ANSWERS + PATIENCE)
