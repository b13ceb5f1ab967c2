"""What happened on the way from another system of jobs."""

from dataclasses import dataclass


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
