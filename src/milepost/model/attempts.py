"""An attempt's words: how a job reaches a worker, what the worker writes, how that ends."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from milepost.model.jobs import Job, JobStatus, Progress


@dataclass(frozen=True, slots=True)
class Delivery:
    """One arrival of a job's message at a worker.

    Attributes:
        job_id: which job.
        task: the registered name of the task.
        number: Celery's retry count. A higher one than the record's takes the job over;
            a lower one is a leftover and is dropped.
        message: the serialised signature, or None when the record already has it.
    """

    job_id: str
    task: str
    number: int = 0
    message: bytes | None = None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one attempt to write. Every write of an attempt carries it.

    Attributes:
        job_id: which job.
        owner: whose: ``<worker incarnation>:<process>``.
        fence: grows with every claim of the job and never falls. Hand it to systems of
            your own (``WHERE fence <= :mine``) to keep late writers out of them too.
        seconds: how long the lease holds after each renewal or checkpoint.
    """

    job_id: str
    owner: str
    fence: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Delta:
    """What one checkpoint changes: never the whole position, only what moved.

    Attributes:
        writes: fields to set.
        deletes: fields to drop; applied before the writes.
        progress: the new progress, or None when it did not change.
    """

    writes: Mapping[str, bytes] = field(default_factory=dict)
    deletes: Sequence[str] = ()
    progress: Progress | None = None

    def __bool__(self) -> bool:
        return bool(self.writes or self.deletes or self.progress is not None)


@dataclass(frozen=True, slots=True)
class Swap:
    """One stored value, and another that is to take its place.

    Attributes:
        name: of the field; with ``of_record`` one of RECORDED.
        before: the value as it was read.
        after: the value that means the same.
        of_record: whether it is part of the job's record, and not of its checkpoint.
    """

    name: str
    before: bytes | str
    after: bytes | str
    of_record: bool = False


RECORDED = ("message", "result", "error", "reason", "doing")
"""The parts of a record that a task may fill; ``doing`` is the message of its progress."""


NOTHING = Delta()
"""A delta that changes nothing: committing it renews the lease and asks for signals."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """How an attempt ends, as one write.

    Attributes:
        status: the job's next status.
        reason: why, in words an operator can use.
        result: the encoded return value of a job that succeeded.
        error: the text of the error of a job that failed.
        delay: for a job that goes on: seconds until it should.
        resend_after: seconds past that moment after which the keeper sends it again, where
            something else (a retry's own message) is to start it.
        delivery: for a retry: the number its next delivery will carry.
        message: for a retry whose arguments changed: the new signature.
        finishing: keep the job in the recovery index until :meth:`Store.finish`, because
            callbacks or a stored result still have to follow.
        delta: the last checkpoint, written together with the settlement.
    """

    status: JobStatus
    reason: str | None = None
    result: bytes | None = None
    error: str | None = None
    delay: float | None = None
    resend_after: float = 0.0
    delivery: int | None = None
    message: bytes | None = None
    finishing: bool = False
    delta: Delta = NOTHING


@dataclass(frozen=True, slots=True)
class Granted:
    """The claim succeeded.

    Attributes:
        lease: the right to write.
        job: the record as it stands after the claim.
        resumed: whether an earlier attempt left a checkpoint to load.
    """

    lease: Lease
    job: Job
    resumed: bool


class Refusal(StrEnum):
    """Why a claim was not granted. In each case the delivery is dropped: the record stays."""

    HELD = "held"
    """Another attempt holds a live lease."""
    SETTLED = "settled"
    """The job has ended."""
    PAUSED = "paused"
    """The job waits for a resume."""
    STALE = "stale"
    """The delivery is older than what the record has seen."""
    EARLY = "early"
    """The job snoozes, and nobody is to send it before its moment: a copy was left over."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The claim was refused, with the record that says why.

    Attributes:
        why: what stands in the way.
        job: the record as it stands.
    """

    why: Refusal
    job: Job


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no record of the job, and the delivery did not bring the message to make one.

    Attributes:
        job_id: which job.
    """

    job_id: str


Claim: TypeAlias = Granted | Refused | Unknown


@dataclass(frozen=True, slots=True)
class Recovery:
    """A job that one keeper has won the right to send again.

    Attributes:
        job: the record.
        finishing: the body has ended and its outcome is recorded; only what Celery does
            afterwards (callbacks, chord, stored result) may be missing.
    """

    job: Job
    finishing: bool
