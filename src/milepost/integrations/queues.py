"""A look at the broker's queues: is a job that has not started still waiting there?"""

import time
from typing import Any

from milepost.jobs.queues import queue_of, waiting_in
from milepost.model import Job

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
        name = queue_of(self._app, job)
        looked_at, empty = self._looks.get(name, (0.0, False))
        if time.monotonic() - looked_at > REMEMBERED:
            empty = waiting_in(self._app, name) == 0
            self._looks[name] = time.monotonic(), empty
        return empty
