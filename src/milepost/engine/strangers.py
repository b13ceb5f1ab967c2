"""Jobs on record whose task this application does not have: another one's, or one of other code.

Two applications in one namespace, or workers of one that import different modules, see each
other's due jobs. To send such a job from here would put it where nobody can run it, and keep
the keeper away that can.
"""

import logging
from collections.abc import Callable, Sequence

from milepost.errors import JobNotFoundError
from milepost.model import Job
from milepost.store import Store

logger = logging.getLogger("milepost")

MOST = 10_000
"""Jobs of others that a keeper looks past. With more that are due, its own may have to wait."""

Knows = Callable[[Job], bool]


class Strangers:
    """What a keeper leaves to others.

    Args:
        store: of the jobs.
        knows: whether this application has the task of a job.
    """

    def __init__(self, store: Store, knows: Knows) -> None:
        self._store, self._knows = store, knows
        self._left: set[str] = set()
        self._told: set[str] = set()

    @property
    def number(self) -> int:
        """How many due jobs stand in the way of those that can be carried on here."""
        return min(len(self._left), MOST)

    def without(self, due: Sequence[str]) -> tuple[str, ...]:
        """Return those due jobs that were not found to be a stranger's before."""
        self._left.intersection_update(due)
        return tuple(job_id for job_id in due if job_id not in self._left)

    def leaves(self, job_id: str) -> bool:
        """Whether a job is left to another keeper. It is looked at once while it is due."""
        try:
            job = self._store.get(job_id)
        except JobNotFoundError:
            return False  # whoever claims it takes it out of the index
        # Without a message it is in the hands of one process, and of no task.
        if not job.message or self._knows(job):
            return False
        self._left.add(job_id)
        if job.task not in self._told:
            self._told.add(job.task)
            logger.warning(
                "jobs of task %r are due, which this app does not have: they are left to a "
                "worker that has it. Apps that share a store need a namespace each",
                job.task,
            )
        return True
