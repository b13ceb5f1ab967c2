"""What happened on the way from another system of jobs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobRouted:
    """The router has given a job to one of the systems that run jobs.

    Attributes:
        job_id: its id in the system that has it.
        job_type: its type.
        engine: the system that has it: ``celery``, say.
        mode: how its type is shared out.
        fell_back: whether another system should have had it.
    """

    job_id: str
    job_type: str
    engine: str
    mode: str
    fell_back: bool


@dataclass(frozen=True, slots=True)
class FlagSourceFailed:
    """A source of feature flags gave no answer; the flag was taken to be off.

    Attributes:
        source: the name of the source.
        flag: the flag that was asked for.
        problem: the error, in words.
    """

    source: str
    flag: str
    problem: str


@dataclass(frozen=True, slots=True)
class ShadowCompared:
    """The results of a job in the legacy system and of its shadow in Celery were compared.

    Attributes:
        job_id: the job in the legacy system.
        shadow_id: its shadow in Celery.
        job_type: the type of both.
        difference: how they differ; None: not at all.
    """

    job_id: str
    shadow_id: str
    job_type: str
    difference: str | None


@dataclass(frozen=True, slots=True)
class ShadowFailed:
    """A job's shadow could not be sent; the job itself is not touched by that.

    Attributes:
        job_id: the job in the legacy system.
        job_type: its type.
        problem: class and text of the error; ``***`` for an encrypted task.
    """

    job_id: str
    job_type: str
    problem: str


@dataclass(frozen=True, slots=True)
class RollbackStepped:
    """A step of a job type's way back to the legacy system was taken.

    Attributes:
        job_type: which type; ``*``: all.
        step: the step that was taken.
        outcome: what came of it.
    """

    job_type: str
    step: str
    outcome: str
