"""What every manager of jobs can do, whichever system runs them.

A host writes these five verbs for the system it has, and the router can give jobs to it. What
more a system can do it says by having the verb for it: :class:`Adopting`, :class:`Answering`,
:class:`Counting`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from milepost.engine.plan import Checkpoint
from milepost.jobs.report import JobReport
from milepost.model import Progress

NO_PROGRESS = Progress()


class JobManager(Protocol):
    """Jobs of one system."""

    def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> str:
        """Take up a job and return its id, in that system's own words.

        Args:
            job_type: what is to be done.
            payload: with what: keyword arguments.
            idempotency_key: the same key for the same type gives the same job.
        """
        ...

    def get_job_status(self, job_id: str) -> JobReport:
        """Return how a job is doing.

        Raises:
            JobNotFoundError: no such job.
        """
        ...

    def pause(self, job_id: str, *, by: str = "") -> object:
        """Ask a job to stop as soon as it can and wait.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended, or jobs of that system cannot be paused.
        """
        ...

    def resume(self, job_id: str, *, by: str = "") -> object:
        """Let a paused job go on.

        Raises:
            As for :meth:`pause`.
        """
        ...

    def cancel(self, job_id: str, *, by: str = "") -> object:
        """Ask a job to end as soon as it can.

        Raises:
            As for :meth:`pause`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Handover:
    """A job that one system hands to another, which is to carry it on.

    Attributes:
        job_id: its id in the system that gives it away.
        job_type: what is to be done.
        payload: with what.
        progress: how far it is.
        owner: whose job it is.
        metadata: what its owner noted.
    """

    job_id: str
    job_type: str
    payload: Mapping[str, Any]
    progress: Progress = NO_PROGRESS
    owner: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Adopting(Protocol):
    """A manager whose system can carry on what another has begun."""

    def adopt(self, job: Handover, checkpoint: Checkpoint) -> str:
        """Take up a job where it stands, and return its id here.

        The same ``job.job_id`` gives the same job: whoever hands it over may die before it has
        noted the answer, and asks again.

        Args:
            job: what is handed over.
            checkpoint: as :meth:`CeleryJobManager.checkpoint` returns it: ``steps``,
                ``loops``, ``maps``, ``state`` and ``data``.
        """
        ...


@runtime_checkable
class Answering(Protocol):
    """A manager that can say what a job has returned; shadow runs are compared with that."""

    def result(self, job_id: str) -> Any:
        """Return what a job that has succeeded returned."""
        ...


@dataclass(frozen=True, slots=True)
class Counts:
    """How jobs of one type stand in one system."""

    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    open: int = 0

    @property
    def ended(self) -> int:
        """Return how many have come to an end of their own."""
        return self.succeeded + self.failed

    @property
    def error_rate(self) -> float | None:
        """Return which part of them failed, between 0 and 1; None before the first end."""
        return self.failed / self.ended if self.ended else None


@runtime_checkable
class Counting(Protocol):
    """A manager that can count."""

    def counts(self, job_type: str) -> Counts:
        """Return how many jobs of a type stand how, as far as the system remembers."""
        ...
