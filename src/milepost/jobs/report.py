"""How a job is doing, in one shape for people, programs and the command line."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from milepost.model import Job, JobStatus


@dataclass(frozen=True, slots=True)
class JobReport:
    """How a job is doing. Times are seconds since the epoch on the store's clock.

    A manager of another system fills in what that system knows; id, type and status are enough.

    Attributes:
        id: the job's id.
        job_type: the name of its job type.
        task: the registered name of its task.
        status: where it stands.
        reason: why, in words.
        done: items finished.
        total: items there are, where that is known.
        fraction: done/total between 0 and 1.
        message: what the task says it is doing.
        rate: items per second of the latest attempt.
        seconds_left: how long the rest takes at that rate.
        heartbeat_age: seconds since its worker was last heard of; None while it does not run.
        still_for: seconds for which it has saved nothing new; None while it does not run.
        stalled: it runs, but its worker is silent, or it has not moved for too long.
        worker: who runs it: ``<worker incarnation>:<process>``.
        signal: what was asked of it and is not obeyed yet.
        attempts: how often a worker has begun it.
        crashes: how many attempts died.
        interruptions: how many stepped aside.
        retries: Celery's own count of retries.
        created_at: when it was recorded.
        started_at: when it was first begun.
        ended_at: when it ended.
        due_at: when it should start or go on.
        owner: whose job it is.
        idempotency_key: the key it was created with.
        metadata: what its owner noted.
        error: type and text of what it failed with.
        engine: which system runs it; other than ``celery`` only where jobs are routed.
    """

    id: str
    job_type: str
    status: JobStatus
    task: str | None = None
    reason: str | None = None
    done: int = 0
    total: int | None = None
    fraction: float | None = None
    message: str = ""
    rate: float | None = None
    seconds_left: float | None = None
    heartbeat_age: float | None = None
    still_for: float | None = None
    stalled: bool = False
    worker: str | None = None
    signal: str | None = None
    attempts: int = 0
    crashes: int = 0
    interruptions: int = 0
    retries: int = 0
    created_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    due_at: float | None = None
    owner: str | None = None
    idempotency_key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    engine: str = "celery"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**asdict(self), "status": str(self.status)}


def report_on(job: Job, stalled_after: float, job_type: str) -> JobReport:
    """Say how a job is doing.

    Args:
        job: its record.
        stalled_after: seconds without anything new after which a running job counts as stalled.
        job_type: the name of its job type.
    """
    progress = job.progress
    return JobReport(
        id=job.id,
        job_type=job_type,
        task=job.task,
        status=job.status,
        reason=job.reason,
        done=progress.done,
        total=progress.total,
        fraction=progress.fraction,
        message=progress.message,
        rate=job.rate,
        seconds_left=None if job.status.is_terminal else job.seconds_left,
        heartbeat_age=job.heartbeat_age,
        still_for=job.still_for,
        stalled=is_stalled(job, stalled_after),
        worker=job.worker,
        signal=None if job.signal is None else str(job.signal),
        attempts=job.attempts,
        crashes=job.crashes,
        interruptions=job.interruptions,
        retries=job.delivery,
        created_at=job.created_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        due_at=job.due_at,
        owner=job.owner,
        idempotency_key=job.idempotency_key,
        metadata=job.metadata,
        error=job.error,
    )


def is_stalled(job: Job, stalled_after: float) -> bool:
    """Whether a job that should be moving is not.

    Its heart may beat while its body hangs, since the worker's main process renews the
    lease; so both are looked at: a silent worker, or nothing new for too long.
    """
    if job.still_for is None or job.lease_until is None:
        return False
    return job.lease_until <= job.read_at or job.still_for > stalled_after
