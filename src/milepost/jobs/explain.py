"""Why is this job not running? The record's answer, and the broker's."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from milepost.history import CRASH, EXPIRED, Act
from milepost.model import Job, JobStatus


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job is where it is.

    Attributes:
        job_id: which job.
        status: where it stands.
        summary: the answer, in one sentence.
        facts: what the answer rests on, in the order of their weight.
    """

    job_id: str
    status: JobStatus
    summary: str
    facts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Consumers:
    """Who takes messages from the queue a job waits in.

    Attributes:
        queue: its name.
        workers: who consumes it, or None where nobody could be asked.
        waiting: messages in it, or None where that is not known.
        without: those of the workers that do not have the job's task.
    """

    queue: str
    workers: tuple[str, ...] | None
    waiting: int | None
    without: tuple[str, ...] = ()

    @property
    def can_run(self) -> bool:
        """Whether one of the workers has the task."""
        return bool(set(self.workers or ()) - set(self.without))


def explain(job: Job, stalled_after: float, consumers: Consumers | None) -> Explanation:
    """Say why a job is where it is.

    Args:
        job: its record.
        stalled_after: seconds without anything new after which a running job counts as stalled.
        consumers: what the broker knows; None where it was not asked.
    """
    answer = _ANSWERS[job.status]
    facts = [*_queue_facts(job, consumers), *_record_facts(job)]
    return Explanation(job.id, job.status, answer(job, stalled_after, consumers), tuple(facts))


def moment(at: float | None) -> str:
    """Return a moment as people write it, in UTC."""
    if at is None:
        return "never"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: float) -> str:
    """Return a length of time as people say it: ``0.4 s``, ``3 min 20 s``, ``2 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for unit, size, smaller, small in (("d", 86400, "h", 3600), ("h", 3600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // small} {smaller}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"


def _pending(job: Job, _: float, consumers: Consumers | None) -> str:
    since = span(max(job.read_at - (job.due_at or job.created_at), 0.0))
    if consumers is not None and not consumers.workers:
        nobody = "no worker answers" if consumers.workers is None else "no worker consumes it"
        return f"It has waited for {since} in queue {consumers.queue!r}, and {nobody}."
    if consumers is not None and not consumers.can_run:
        return (
            f"It has waited for {since} in queue {consumers.queue!r}, and no worker that consumes "
            f"it has its task {job.task!r}: start one that has."
        )
    return f"It has waited for a worker for {since}."


def _scheduled(job: Job, _: float, __: Consumers | None) -> str:
    left = (job.due_at or 0.0) - job.read_at
    why = job.reason or "it was sent with an ETA"
    if left <= 0:
        return f"Its moment came {span(-left)} ago ({why}); a worker should take it soon."
    return f"It waits until {moment(job.due_at)}, {span(left)} from now: {why}."


def _running(job: Job, stalled_after: float, _: Consumers | None) -> str:
    if job.lease_until is not None and job.lease_until <= job.read_at:
        ago = span(job.read_at - job.lease_until)
        return f"Its worker is silent; its lease lapsed {ago} ago and another may take it over."
    if job.still_for is not None and job.still_for > stalled_after:
        return f"Its worker is alive, but it has saved nothing new for {span(job.still_for)}."
    asked = f"; it was asked to {job.signal} at its next checkpoint" if job.signal else ""
    return f"It runs on {job.worker}{asked}."


def _interrupted(job: Job, _: float, consumers: Consumers | None) -> str:
    nobody = consumers is not None and not consumers.can_run
    tail = "no worker is there to carry it on" if nobody else "a keeper will send it again"
    return f"Its last attempt stopped ({job.reason}); {tail}."


def _paused(job: Job, _: float, __: Consumers | None) -> str:
    asked = next((e for e in reversed(job.history) if e.act == Act.PAUSE), None)
    if asked is None or job.reason not in (None, "paused"):
        return f"It is parked: {job.reason}. Resume it when that is settled."
    said = f"It was paused by {asked.by or 'somebody'} at {moment(asked.at)}. Resume it."
    if job.due_at is None:
        return said
    return f"{said} It waited for {moment(job.due_at)} then, and does so again until that moment."


def _ended(job: Job, _: float, __: Consumers | None) -> str:
    why = job.error or job.reason
    return f"It has {job.status} at {moment(job.ended_at)}" + (f": {why}." if why else ".")


def _cancelled(job: Job, _: float, __: Consumers | None) -> str:
    asked = next((e for e in reversed(job.history) if e.act == Act.CANCEL), None)
    if (job.reason or "").startswith(EXPIRED):
        return f"It has {job.reason}; retry lets it run all the same."
    who = f" by {asked.by}" if asked and asked.by else ""
    return f"It was cancelled{who} at {moment(job.ended_at)}: {job.reason}."


_ANSWERS = {
    JobStatus.PENDING: _pending,
    JobStatus.SCHEDULED: _scheduled,
    JobStatus.RUNNING: _running,
    JobStatus.INTERRUPTED: _interrupted,
    JobStatus.PAUSED: _paused,
    JobStatus.SUCCEEDED: _ended,
    JobStatus.FAILED: _ended,
    JobStatus.CANCELLED: _cancelled,
}


def _queue_facts(job: Job, consumers: Consumers | None) -> Sequence[str]:
    if consumers is None or job.status in (JobStatus.RUNNING, JobStatus.PAUSED):
        return ()
    if job.status.is_terminal:
        return ()
    queue = f"queue {consumers.queue!r}"
    if consumers.workers is None:
        return (f"{queue}: no worker has answered",)
    who = ", ".join(consumers.workers) or "nobody"
    waiting = "" if consumers.waiting is None else f"; {consumers.waiting} messages wait in it"
    facts = [f"{queue} is consumed by {who}{waiting}"]
    facts += [
        f"{worker} does not have the task {job.task!r}, and leaves the job to others"
        for worker in consumers.without
    ]
    return facts


def _record_facts(job: Job) -> list[str]:
    facts = [f"created at {moment(job.created_at)}"]
    if job.worker is not None and job.lease_until is not None:
        facts.append(f"lease held by {job.worker} until {moment(job.lease_until)}")
    if job.heartbeat_age is not None:
        facts.append(f"last heard of {span(job.heartbeat_age)} ago")
    if job.attempts:
        facts.append(
            f"{job.attempts} attempts, {job.crashes} crashes, {job.interruptions} interruptions, "
            f"{job.delivery} retries"
        )
    crash = next((entry for entry in reversed(job.history) if entry.act == CRASH), None)
    if crash is not None:
        facts.append(f"last crash at {moment(crash.at)} on {crash.by}: {crash.note}")
    return facts
