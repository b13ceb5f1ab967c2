"""What happened to jobs, as the engine tells it."""

from dataclasses import dataclass

from milepost.model import JobStatus


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An attempt holds the lease and its body is about to run."""

    job_id: str
    task: str
    fence: int
    attempt: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A checkpoint is in the store."""

    job_id: str
    fence: int
    fields: int
    done: int


@dataclass(frozen=True, slots=True)
class JobSettled:
    """An attempt ended and its outcome was accepted."""

    job_id: str
    task: str
    fence: int
    status: JobStatus
    reason: str | None


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """An attempt was refused a write: another one has the job. Its work since then is void."""

    job_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class DeliveryDropped:
    """A message arrived for a job that must not run now."""

    job_id: str
    task: str
    why: str


@dataclass(frozen=True, slots=True)
class JobExpired:
    """A job was cancelled because it had not begun by the moment that its sender had set."""

    job_id: str
    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobRecovered:
    """A keeper sent a job again whose worker, or whose message, was lost."""

    job_id: str
    task: str
    crashes: int
    finishing: bool
