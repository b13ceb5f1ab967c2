"""The words of milepost as frozen values: what travels, never what acts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, TypeAlias

from milepost.history import Entry


class JobStatus(StrEnum):
    """Where a job stands. Exactly one of these is true at any moment."""

    PENDING = "pending"
    """Recorded and sent; no worker has started it yet."""
    SCHEDULED = "scheduled"
    """Waiting for a moment: an ETA, a retry's countdown, a snooze."""
    RUNNING = "running"
    """A worker holds the lease."""
    INTERRUPTED = "interrupted"
    """Its worker died or stepped aside; it will be carried on."""
    PAUSED = "paused"
    """Waits for somebody's word; see :attr:`Job.reason`."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can follow: a terminal status is never overwritten."""
        return self in _TERMINAL


_TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


class Signal(StrEnum):
    """What somebody outside asks of a running job; obeyed at its next checkpoint."""

    PAUSE = "pause"
    CANCEL = "cancel"
    DRAIN = "drain"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is, in items of its outermost loop.

    Attributes:
        done: items finished, over all attempts.
        total: items there are, or None where the source cannot tell.
        message: what the task says it is doing.
    """

    done: int = 0
    total: int | None = None
    message: str = ""

    @property
    def fraction(self) -> float | None:
        """Return done/total between 0 and 1, or None where the total is unknown or zero."""
        return min(self.done / self.total, 1.0) if self.total else None


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job about to be recorded.

    Attributes:
        id: the Celery task id of its first send; it never changes.
        task: the registered name of the task.
        message: the signature, serialised: enough to send the job again.
        delivery: number of the delivery that may claim it; see :class:`Delivery`.
        delay: seconds until it should start (0: at once).
        resend_after: seconds past that moment after which the keeper looks whether its
            message was lost.
        owner: whose job it is, for people and for queries.
        idempotency_key: the key that its id was made from.
        metadata: what else its owner wants to remember; as JSON has it, and in the clear.
    """

    id: str
    task: str
    message: bytes
    delivery: int = 0
    delay: float = 0.0
    resend_after: float = 60.0
    owner: str | None = None
    idempotency_key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


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
class Job:
    """The record of one durable unit of work, as the store has it.

    Times are seconds since the epoch on the store's clock.

    Attributes:
        worker: who holds the lease: ``<worker incarnation>:<process>``.
        begun_at: when its latest attempt began, and ``begun_done`` how far it was then.
        moved_at: when a checkpoint last brought something new.
        read_at: when this record was read.
    """

    id: str
    task: str
    status: JobStatus
    created_at: float
    reason: str | None = None
    message: bytes = field(default=b"", repr=False)
    delivery: int = 0
    fence: int = 0
    worker: str | None = None
    lease_until: float | None = None
    lease_seconds: float = 0.0
    attempts: int = 0
    crashes: int = 0
    strikes: int = 0
    interruptions: int = 0
    progress: Progress = Progress()
    signal: Signal | None = None
    started_at: float | None = None
    ended_at: float | None = None
    due_at: float | None = None
    result: bytes | None = field(default=None, repr=False)
    error: str | None = None
    owner: str | None = None
    idempotency_key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    begun_at: float | None = None
    begun_done: int = 0
    moved_at: float | None = None
    history: tuple[Entry, ...] = field(default=(), repr=False)
    read_at: float = field(default=0.0, compare=False)

    @property
    def heartbeat_at(self) -> float | None:
        """Return when its worker was last heard of, or None while nobody holds the lease."""
        return None if self.lease_until is None else self.lease_until - self.lease_seconds

    @property
    def heartbeat_age(self) -> float | None:
        """Return for how many seconds its worker has been silent, or None as above."""
        beat = self.heartbeat_at
        return None if beat is None else max(self.read_at - beat, 0.0)

    @property
    def still_for(self) -> float | None:
        """Return for how many seconds a running job has saved nothing new, else None."""
        if self.status is not JobStatus.RUNNING:
            return None
        moved = max(self.moved_at or 0.0, self.begun_at or 0.0)
        return max(self.read_at - moved, 0.0)

    @property
    def rate(self) -> float | None:
        """Return the items per second of the latest attempt, or None before its first."""
        done = self.progress.done - self.begun_done
        if self.begun_at is None or self.moved_at is None or done <= 0:
            return None
        seconds = self.moved_at - self.begun_at
        return done / seconds if seconds > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Return how long the rest takes at that rate, or None where nobody can tell."""
        rate, total = self.rate, self.progress.total
        if rate is None or total is None:
            return None
        return max(total - self.progress.done, 0) / rate


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of one attempt to write. Every write of an attempt carries it.

    Attributes:
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
    """The claim was refused, with the record that says why."""

    why: Refusal
    job: Job


@dataclass(frozen=True, slots=True)
class Unknown:
    """There is no record of the job, and the delivery did not bring the message to make one."""

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
