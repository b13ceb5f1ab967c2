"""A job's words: where it stands, how far it is, and its record."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

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
class Job:
    """The record of one durable unit of work, as the store has it.

    Times are seconds since the epoch on the store's clock, None for what was not yet.

    Attributes:
        id: the Celery task id of its first send; it never changes.
        task: the registered name of the task.
        status: where it stands.
        created_at: when it was recorded.
        reason: why it stands there, in words.
        message: the serialised signature: enough to send it again.
        delivery: Celery's retry count of the delivery that may claim it.
        fence: the number of its latest claim; it only grows.
        worker: who holds the lease: ``<worker incarnation>:<process>``.
        lease_until: when the lease lapses unless it is renewed; None: nobody holds it.
        lease_seconds: how long the lease holds after each renewal.
        attempts: how often a worker has claimed it.
        crashes: how many attempts ended by the death of their process.
        strikes: crashes since the last checkpoint; compared with ``max_crashes``.
        interruptions: how often an attempt stepped aside by itself.
        progress: how far it was at its last checkpoint.
        signal: what was asked of it and not obeyed yet.
        started_at: when it was first claimed.
        ended_at: when it reached a terminal status.
        due_at: when it should start or be carried on, also once it is resumed.
        result: the return value as the codec wrote it; read it with ``milepost.jobs.result``.
        error: type and text of the exception that failed it.
        owner: whose job it is, as ``create`` was told.
        idempotency_key: the key that its id was made from.
        metadata: what else its owner wants to remember; in the clear.
        begun_at: when its latest attempt began.
        begun_done: how many items were done then.
        moved_at: when a checkpoint last brought something new.
        history: who did what to it and when, oldest first; bounded.
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
