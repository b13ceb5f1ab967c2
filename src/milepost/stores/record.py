"""A job as a store keeps it: the record, with what the record does not show."""

from dataclasses import dataclass

from milepost.model import Job, JobStatus, Signal


@dataclass(frozen=True, slots=True)
class Record:
    """One job as it was read, and the time on the store's clock when it was.

    Attributes:
        job: the record proper.
        index_at: when somebody should look after the job; None: it needs nobody.
        sends: how often it was sent again since its last claim.
        expires_at: when its retention is over.
        kept: whether a checkpoint has fields.
        told: the signal that the last commit was given.
        call: number of the last call that changed it, where the store has to know.
        now: the time.
    """

    job: Job
    index_at: float | None
    sends: int
    expires_at: float | None
    kept: bool
    call: int | None
    told: Signal | None
    now: float

    @property
    def is_expired(self) -> bool:
        """Whether its retention is over: it counts as gone."""
        return self.expires_at is not None and self.expires_at <= self.now

    @property
    def is_snoozing(self) -> bool:
        """Whether it waits for a moment at which the recovery, and nobody else, sends it."""
        job = self.job
        return (
            job.status is JobStatus.SCHEDULED
            and job.due_at is not None
            and self.index_at is not None
            and self.index_at <= job.due_at
            and job.due_at > self.now
        )

    @property
    def is_held(self) -> bool:
        """Whether an attempt holds a live lease on it."""
        job = self.job
        return (
            job.status is JobStatus.RUNNING
            and job.lease_until is not None
            and job.lease_until > self.now
        )
