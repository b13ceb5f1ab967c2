"""What happened to jobs, as the engine tells it."""

from dataclasses import dataclass

from milepost.model import JobStatus


@dataclass(frozen=True, slots=True)
class JobStarted:
    """An attempt holds the lease and its body is about to run.

    Attributes:
        job_id: which job.
        task: the registered name of its task.
        fence: the number of this claim; it only grows.
        attempt: the number of this attempt, from 1.
        resumed: whether an earlier attempt has left a checkpoint to go on from.
    """

    job_id: str
    task: str
    fence: int
    attempt: int
    resumed: bool


@dataclass(frozen=True, slots=True)
class CheckpointSaved:
    """A checkpoint is in the store.

    Attributes:
        job_id: which job.
        fence: of the attempt that saved it.
        fields: how many fields were written.
        done: items finished, over all attempts.
    """

    job_id: str
    fence: int
    fields: int
    done: int


@dataclass(frozen=True, slots=True)
class JobSettled:
    """An attempt ended and its outcome was accepted.

    Attributes:
        job_id: which job.
        task: the registered name of its task.
        fence: of the attempt that ended.
        status: the job's status from now on.
        reason: why, in words; None where there is nothing to say.
    """

    job_id: str
    task: str
    fence: int
    status: JobStatus
    reason: str | None


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """An attempt was refused a write: another one has the job. Its work since then is void.

    Attributes:
        job_id: which job.
        fence: of the attempt that was refused.
    """

    job_id: str
    fence: int


@dataclass(frozen=True, slots=True)
class DeliveryDropped:
    """A message arrived for a job that must not run now.

    Attributes:
        job_id: which job.
        task: the registered name of its task.
        why: one of :class:`milepost.model.Refusal`.
    """

    job_id: str
    task: str
    why: str


@dataclass(frozen=True, slots=True)
class JobExpired:
    """A job was cancelled because it had not begun by the moment that its sender had set.

    Attributes:
        job_id: which job.
        task: the registered name of its task.
        reason: ``expired: …``, with that moment.
    """

    job_id: str
    task: str
    reason: str


@dataclass(frozen=True, slots=True)
class JobRecovered:
    """A keeper sent a job again whose worker, or whose message, was lost.

    Attributes:
        job_id: which job.
        task: the registered name of its task.
        crashes: how many of its attempts have died.
        finishing: whether its body had ended, and only what follows was missing.
    """

    job_id: str
    task: str
    crashes: int
    finishing: bool
