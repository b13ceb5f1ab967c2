"""What becomes of a job: the store's decisions as plain functions, for stores that run Python.

They take the record as it was read under its lock and return it as it shall be, or None
where nothing is to change. The Redis store has the same decisions in its scripts, and the SQL
store has those of the hot path in its statements; the contract holds them all to one another.
"""

from dataclasses import replace

from milepost import history
from milepost.errors import InvalidTransitionError
from milepost.history import CRASH, Act
from milepost.model import (
    Delivery,
    Delta,
    Granted,
    Job,
    JobStatus,
    Lease,
    NewJob,
    Progress,
    Refusal,
    Settlement,
    Signal,
)
from milepost.store import FINISH_AFTER
from milepost.stores.bounds import MAX_DOUBLINGS, lengthened
from milepost.stores.record import Record

PENDING, SCHEDULED = JobStatus.PENDING, JobStatus.SCHEDULED
RUNNING, PAUSED = JobStatus.RUNNING, JobStatus.PAUSED
DIED = "its worker died"
FORCED = "cancelled by force"
OVER = "it has ended; restart runs it again"
WANTED = {
    Signal.PAUSE: PAUSED,
    Signal.CANCEL: JobStatus.CANCELLED,
    Signal.DRAIN: JobStatus.INTERRUPTED,
}
"""The status that each signal asks for."""
REOPENS = {
    Act.RETRY: (JobStatus.FAILED, JobStatus.CANCELLED),
    Act.RESTART: (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED, PAUSED),
}
"""The statuses that each act starts from."""


def created(new: NewJob, now: float) -> Record:
    """Return the record of a job that is about to be sent."""
    job = Job(
        id=new.id,
        task=new.task,
        status=SCHEDULED if new.delay else PENDING,
        created_at=now,
        message=new.message,
        delivery=new.delivery,
        due_at=now + new.delay,
        owner=new.owner,
        idempotency_key=new.idempotency_key,
        metadata=new.metadata,
        read_at=now,
    )
    index_at = now + new.delay + new.resend_after
    return Record(job, index_at, 0, None, kept=False, call=None, told=None, now=now)


def recorded(delivery: Delivery, now: float) -> Record:
    """Return the record of a job that was sent without one."""
    new = NewJob(delivery.job_id, delivery.task, delivery.message or b"", delivery.number)
    return created(new, now)


def claimed(found: Record, delivery: Delivery, owner: str, lease_seconds: float) -> Record:
    """Return the record after a claim that nothing refuses."""
    job, now = found.job, found.now
    crashed = job.status is RUNNING and not found.is_held
    strikes = job.strikes + crashed
    seconds = lengthened(lease_seconds, strikes)
    job = replace(
        job,
        status=RUNNING,
        task=delivery.task,
        reason=None,
        delivery=max(delivery.number, job.delivery),
        message=delivery.message or job.message,
        fence=job.fence + 1,
        worker=owner,
        lease_until=now + seconds,
        lease_seconds=seconds,
        attempts=job.attempts + 1,
        crashes=job.crashes + crashed,
        strikes=strikes,
        started_at=job.started_at or now,
        begun_at=now,
        begun_done=job.progress.done,
        due_at=None,
        signal=(job.signal or found.told) if crashed else job.signal,
    )
    if crashed:
        job = _noted(job, now, CRASH, found.job.worker, DIED)
    return replace(found, job=job, index_at=now + seconds, sends=0, told=None)


def granted(found: Record) -> Granted:
    """Return the grant that a row stands for which was just claimed."""
    job = found.job
    lease = Lease(job.id, job.worker or "", job.fence, job.lease_seconds)
    return Granted(lease, job, resumed=found.kept)


def refusal(found: Record, number: int) -> Refusal | None:
    """Return why a delivery of that number gets no lease, or None if it would get one now."""
    job = found.job
    if job.status.is_terminal:
        return Refusal.SETTLED
    if job.status is PAUSED:
        return Refusal.PAUSED
    if number < job.delivery:
        return Refusal.STALE
    if number > job.delivery:
        return None
    if found.is_held:
        return Refusal.HELD
    return Refusal.EARLY if found.is_snoozing else None


def owns(found: Record, owner: str) -> bool:
    """Return whether the job runs under that owner, or under a process of that incarnation."""
    job = found.job
    return (
        job.status is RUNNING
        and job.worker is not None
        and (job.worker == owner or job.worker.startswith(f"{owner}:"))
    )


def holds(found: Record, lease: Lease) -> bool:
    """Return whether a lease may write: its fence is the record's, and the job runs."""
    return found.job.fence == lease.fence and found.job.status is RUNNING


def renewed(found: Record) -> Record:
    """Return the record with its lease renewed."""
    until = found.now + found.job.lease_seconds
    return replace(found, job=replace(found.job, lease_until=until), index_at=until)


def committed(found: Record, delta: Delta) -> Record:
    """Return the record after a checkpoint; what it is told is the signal that waited."""
    job = found.job
    after = replace(
        job,
        lease_until=found.now + job.lease_seconds,
        progress=job.progress if delta.progress is None else delta.progress,
        strikes=0 if delta.writes else job.strikes,
        signal=None,
        moved_at=found.now if delta else job.moved_at,
    )
    return replace(found, job=after, told=job.signal, kept=found.kept or bool(delta.writes))


def settled(found: Record, settlement: Settlement, retention: float) -> Record:
    """Return the record after the end of an attempt."""
    job, now, status = found.job, found.now, settlement.status
    due_at = None if settlement.delay is None else now + settlement.delay
    index_at = None if due_at is None else due_at + settlement.resend_after
    if settlement.finishing:
        index_at = now + job.lease_seconds
    job = replace(
        job,
        status=status,
        reason=settlement.reason,
        result=settlement.result,
        error=settlement.error,
        worker=None,
        lease_until=None,
        signal=None,
        due_at=due_at,
        ended_at=now if status.is_terminal else None,
        interruptions=job.interruptions + (status is JobStatus.INTERRUPTED),
        delivery=job.delivery if settlement.delivery is None else settlement.delivery,
        message=settlement.message or job.message,
    )
    if status is not JobStatus.SUCCEEDED:
        note = settlement.error or settlement.reason
        job = _noted(job, now, status, found.job.worker, note)
    expires_at = now + retention if status.is_terminal else None
    return replace(found, job=job, index_at=index_at, expires_at=expires_at, told=None)


def released(found: Record, reason: str, status: JobStatus, retention: float) -> Record:
    """Return the row of an attempt that is known to be dead."""
    job, now = found.job, found.now
    if status.is_terminal:
        job = _ended(found, status, reason)
        job = _noted(job, now, status, found.job.worker, reason)
        return replace(found, job=job, index_at=None, expires_at=now + retention)
    return replace(found, job=_crashed(found, reason), index_at=now + job.lease_seconds)


def signalled(
    found: Record,
    signal: Signal,
    retention: float,
    by: str = "",
    *,
    force: bool = False,
    reason: str = "",
) -> Record:
    """Return the row after somebody asked something of the job.

    Raises:
        InvalidTransitionError: the job has ended.
    """
    job, now = found.job, found.now
    if job.status.is_terminal:
        raise InvalidTransitionError(job.id, job.status, WANTED[signal], OVER)
    running = job.status is RUNNING
    if signal is Signal.CANCEL and (force or not running):
        note = FORCED if running else reason
        after = _ended(found, JobStatus.CANCELLED, note or "cancelled")
        after = replace(after, worker=job.worker)
        return replace(
            found,
            job=_noted(after, now, signal, by, note),
            index_at=now + FINISH_AFTER,
            expires_at=now + retention,
        )
    if running:
        asked = replace(_noted(job, now, signal, by, reason), signal=signal)
        return found if job.signal is signal else replace(found, job=asked)
    if signal is Signal.PAUSE and job.status is not PAUSED:
        due_at = job.due_at if job.status is SCHEDULED else None
        paused = replace(job, status=PAUSED, reason="paused", due_at=due_at, signal=None)
        return replace(found, job=_noted(paused, now, signal, by, reason), index_at=None)
    return found


def resumed(found: Record, by: str = "") -> Record:
    """Return the row after a resume.

    Raises:
        InvalidTransitionError: the job has ended.
    """
    job = found.job
    if job.status.is_terminal:
        raise InvalidTransitionError(job.id, job.status, PENDING, OVER)
    if job.status is PAUSED:
        return _due(found, job, Act.RESUME, by, job.due_at)
    if job.signal is Signal.PAUSE:
        job = _noted(job, found.now, Act.RESUME, by)
        return replace(found, job=replace(job, signal=None))
    return found


def woken(found: Record, by: str = "") -> Record:
    """Return the row after somebody asked a waiting job to start now.

    Raises:
        InvalidTransitionError: the job has ended, or is paused.
    """
    job = found.job
    if job.status.is_terminal:
        raise InvalidTransitionError(job.id, job.status, PENDING, OVER)
    if job.status is PAUSED:
        raise InvalidTransitionError(job.id, job.status, PENDING, "resume it")
    return _due(found, job, Act.WAKE, by) if job.status is SCHEDULED else found


def reopened(found: Record, act: Act, by: str = "") -> Record:
    """Return the row after somebody let a job run again that had ended.

    Raises:
        InvalidTransitionError: the job is in no status that the act starts from.
    """
    job = found.job
    if job.status not in REOPENS[act]:
        raise InvalidTransitionError(job.id, job.status, PENDING, advice_to_reopen(job, act))
    job = replace(job, result=None, error=None, ended_at=None, strikes=0, delivery=0, signal=None)
    if act is Act.RESTART:
        job = replace(job, progress=Progress(), begun_at=None, begun_done=0, moved_at=None)
    after = replace(found, told=None, expires_at=None)
    return _due(after, replace(job, worker=None), act, by)


def advice_to_reopen(job: Job, act: Act) -> str:
    """Say what to do with a job that cannot be reopened by *act* as it stands."""
    if job.status is JobStatus.SUCCEEDED:
        return "it has done its work; restart runs it again"
    if job.status is PAUSED:
        return "resume lets it go on"
    return f"it has not ended; cancel it before a {act}"


def recovered(found: Record, again_after: float) -> tuple[Record, bool] | None:
    """Return the row after a keeper asked to send the job again, and whether it may.

    None where nothing is to do and nothing to correct.
    """
    job, now = found.job, found.now
    if found.index_at is None or found.index_at > now:
        return None
    if job.status is PAUSED:
        return replace(found, index_at=None), False
    if found.is_held:
        return replace(found, index_at=job.lease_until), False
    if job.status is RUNNING:
        job = _crashed(found, DIED)
    wait = again_after * 2 ** min(found.sends, MAX_DOUBLINGS)
    return replace(found, job=job, index_at=now + wait, sends=found.sends + 1), True


def _due(found: Record, job: Job, act: Act, by: str, at: float | None = None) -> Record:
    at = max(found.now, at or 0.0)
    job = replace(job, status=SCHEDULED if at > found.now else PENDING, reason=None, due_at=at)
    return replace(found, job=_noted(job, found.now, act, by), index_at=at, sends=0)


def _ended(found: Record, status: JobStatus, reason: str) -> Job:
    return replace(
        found.job,
        status=status,
        reason=reason,
        error=reason if status is JobStatus.FAILED else None,
        worker=None,
        lease_until=None,
        signal=None,
        due_at=None,
        ended_at=found.now,
    )


def _crashed(found: Record, reason: str) -> Job:
    job = replace(
        found.job,
        signal=found.job.signal or found.told,
        status=JobStatus.INTERRUPTED,
        reason=reason,
        worker=None,
        lease_until=None,
        due_at=found.now,
        crashes=found.job.crashes + 1,
        strikes=found.job.strikes + 1,
    )
    return _noted(job, found.now, CRASH, found.job.worker, reason)


def _noted(job: Job, at: float, act: str, by: str | None, note: str | None = "") -> Job:
    """Return a job with one more line in its history."""
    return replace(job, history=history.with_entry(job.history, at, act, by, note))
