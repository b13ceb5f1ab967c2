"""A look at the broker's queues: is a job that has not started still waiting there?"""

import time
from typing import Any

from milepost.model import Job
from milepost.tasks import message

REMEMBERED = 1.0
"""Seconds for which a look at a queue answers for every job that waits in it."""


class Queues:
    """Tells whether queues are empty, without asking the broker once per job.

    Args:
        app: the Celery app whose broker it is.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._looks: dict[str, tuple[float, bool]] = {}

    def is_empty_for(self, job: Job) -> bool:
        """Whether the queue a job waits in holds no message: then the job's own is lost.

        A full queue proves nothing, so the job waits for its turn; it is looked at again later.
        """
        name = self._queue_of(job)
        looked_at, empty = self._looks.get(name, (0.0, False))
        if time.monotonic() - looked_at > REMEMBERED:
            empty = self._is_empty(name)
            self._looks[name] = time.monotonic(), empty
        return empty

    def _queue_of(self, job: Job) -> str:
        signature = message.unpack(job.message, self._app)
        route = self._app.amqp.router.route(dict(signature.options), signature.task)
        return str(getattr(route["queue"], "name", route["queue"]))

    def _is_empty(self, name: str) -> bool:
        with self._app.connection_for_write() as connection:
            channel = connection.default_channel
            try:
                declared = channel.queue_declare(name, passive=True)
            except connection.channel_errors:
                return True
            return bool(declared.message_count == 0)
