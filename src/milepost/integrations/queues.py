"""A look at the broker's queues: is a job that has not started still waiting there?"""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from milepost.errors import JobNotFoundError
from milepost.jobs.queues import queue_of, waiting_in
from milepost.model import Job
from milepost.store import Store

REMEMBERED = 1.0
"""Seconds for which a look at a queue answers for every job that waits in it."""
LOOKED_AT = 10
"""How many of the messages that are delivered next are looked at, per priority."""
NEVER, UNKNOWN = float("inf"), float("-inf")


@dataclass(frozen=True, slots=True)
class Front:
    """What a queue delivers next.

    Attributes:
        jobs: whose messages these are.
        since: what else is in the queue was sent after this moment, as seconds since the epoch.
    """

    jobs: frozenset[str]
    since: float


class Queues:
    """Tells whether messages are lost, without asking the broker once per job.

    Args:
        app: the Celery app whose broker it is.
        store: of the jobs.
    """

    def __init__(self, app: Any, store: Store) -> None:
        self._app, self._store = app, store
        self._fronts: dict[str, tuple[float, Front]] = {}

    def has_lost(self, job: Job) -> bool:
        """Whether the queue a job waits in no longer has its message.

        What was sent first is delivered first: where later jobs are next, an earlier one's
        message is gone. A worker may have it, behind a long task; then another message starts
        the job sooner, and the first one is dropped. Where nothing can be told, the job waits.
        """
        name = queue_of(self._app, job)
        looked_at, front = self._fronts.get(name, (UNKNOWN, None))
        if front is None or time.monotonic() - looked_at > REMEMBERED:
            front = self._front_of(name)
            self._fronts[name] = time.monotonic(), front
        return job.id not in front.jobs and (job.due_at or job.created_at) < front.since

    def _front_of(self, queue: str) -> Front:
        if not waiting_in(self._app, queue):
            return Front(frozenset(), NEVER)
        lines = [line for line in next_in(self._app, queue) if line]
        jobs = frozenset(job_id for line in lines for job_id in line)
        return Front(jobs, min(map(self._first_moment, lines), default=UNKNOWN))

    def _first_moment(self, line: Iterable[str]) -> float:
        """Return when the first job of a line that is on record was created."""
        for job_id in line:
            try:
                return self._store.get(job_id).created_at
            except JobNotFoundError:
                continue  # of a task that is not durable
        return UNKNOWN


def next_in(app: Any, queue: str) -> list[list[str]]:
    """Return the ids of the tasks that a queue delivers next, first ones first.

    Returns:
        A line for each priority; none where the broker does not tell.
    """
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis":
            return [
                _ids(reversed(channel.client.lrange(key, -LOOKED_AT, -1)))
                for key in _keys(channel, queue)
            ]
        look = getattr(channel, "next_in", None)
        return [] if look is None else [_ids(look(queue, LOOKED_AT))]


def _keys(channel: Any, queue: str) -> list[str]:
    """Return the names of a queue's lists: kombu's own words, but for the prefix."""
    steps = channel.priority_steps
    return [f"{channel.global_keyprefix}{channel._q_for_pri(queue, step)}" for step in steps]


def _ids(messages: Iterable[bytes | str]) -> list[str]:
    return [found for text in messages if (found := _id_in(text))]


def _id_in(message: bytes | str) -> str:
    """Return the id of the task that a message is of; empty: it is not one of Celery's."""
    try:
        return str(json.loads(message)["properties"]["correlation_id"])
    except (ValueError, KeyError, TypeError):
        return ""
