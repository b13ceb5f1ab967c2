"""What happened, as frozen facts. Observers get these and nothing they could poke."""

from dataclasses import dataclass
from typing import TypeAlias

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
class JobRecovered:
    """A keeper sent a job again whose worker, or whose message, was lost."""

    job_id: str
    task: str
    crashes: int
    finishing: bool


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """A circuit breaker went from one state to another: ``closed``, ``open``, ``half-open``."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PermissionDecided:
    """The policy was asked whether somebody may do something."""

    principal: str
    action: str
    job_type: str | None
    job_id: str | None
    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class JobRouted:
    """The router has given a job to one of the systems that run jobs."""

    job_id: str
    job_type: str
    engine: str
    mode: str
    fell_back: bool


@dataclass(frozen=True, slots=True)
class FlagSourceFailed:
    """A source of feature flags gave no answer; the flag was taken to be off."""

    source: str
    flag: str
    problem: str


@dataclass(frozen=True, slots=True)
class ShadowCompared:
    """The results of a job in the legacy system and of its shadow in Celery were compared."""

    job_id: str
    shadow_id: str
    job_type: str
    difference: str | None


@dataclass(frozen=True, slots=True)
class ShadowFailed:
    """A job's shadow could not be sent; the job itself is not touched by that."""

    job_id: str
    job_type: str
    problem: str


@dataclass(frozen=True, slots=True)
class RollbackStepped:
    """A step of a job type's way back to the legacy system was taken."""

    job_type: str
    step: str
    outcome: str


Event: TypeAlias = (
    JobStarted
    | CheckpointSaved
    | JobSettled
    | LeaseLost
    | DeliveryDropped
    | JobRecovered
    | CircuitChanged
    | PermissionDecided
    | JobRouted
    | FlagSourceFailed
    | ShadowCompared
    | ShadowFailed
    | RollbackStepped
)
