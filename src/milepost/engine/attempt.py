"""One worker carrying one job: claim, open the checkpoint, run the body, settle."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from milepost.engine.endings import RESULT_NOT_KEPT, Completed, Dropped, Ending, Stopped, Unclaimed
from milepost.engine.lease import outwait
from milepost.engine.migration import open_checkpoint
from milepost.engine.plan import Plan
from milepost.engine.stored import parked
from milepost.engine.work import Attempt
from milepost.errors import (
    CrashLimitError,
    DecodeError,
    MilepostError,
    NoKeysError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from milepost.events import DeliveryDropped, JobSettled, JobStarted
from milepost.interrupts import Cancel, Interrupt, Suspend
from milepost.model import (
    NOTHING,
    Delivery,
    Delta,
    Granted,
    JobStatus,
    Refused,
    Settlement,
)
from milepost.runtime import Runtime

logger = logging.getLogger("milepost")

Body: TypeAlias = Callable[[Attempt], Any]
Finder: TypeAlias = Callable[[], bytes]


def run_attempt(
    runtime: Runtime, plan: Plan, delivery: Delivery, message: Finder, body: Body
) -> Ending:
    """Carry a job as far as it goes.

    Args:
        runtime: the application's.
        plan: how to carry a job of this task.
        delivery: what arrived.
        message: makes the serialised signature, for a job that is not on record yet.
        body: runs the task.

    Returns:
        How it ended; for :class:`Dropped` and :class:`Unclaimed` the body did not run.

    Raises:
        BaseException: whatever left the body, once the job is settled by ``plan.judge``.
    """
    try:
        attempt = begin(runtime, plan, delivery, message)
    except StoreUnavailableError as exc:
        return Unclaimed(exc)
    if isinstance(attempt, Refused):
        runtime.emit(DeliveryDropped(delivery.job_id, delivery.task, attempt.why))
        return Dropped(attempt)
    return carry_on(attempt, plan, body)


def carry_on(attempt: Attempt, plan: Plan, body: Body) -> Ending:
    """Run the body of a job that is claimed already, and settle it.

    Raises:
        BaseException: as for :func:`run_attempt`.
    """
    try:
        attempt.journal.obey(None)  # taken while the worker shuts down: not even begun
        value = _run(attempt, plan, body)
        return _succeed(attempt, plan, value)
    except Interrupt as stop:
        return _stop(attempt, stop)


def begin(runtime: Runtime, plan: Plan, delivery: Delivery, message: Finder) -> Attempt | Refused:
    """Claim a job and load its checkpoint, without running anything yet.

    Raises:
        StoreUnavailableError: the store stayed away.
    """
    granted = _claim(runtime, plan, delivery, message)
    if isinstance(granted, Refused):
        return granted
    try:
        load = runtime.store.load
        stored = outwait(runtime, lambda: load(delivery.job_id)) if granted.resumed else {}
    except DecodeError as exc:
        return Attempt(runtime, plan, granted, {}, unreadable=exc)
    return Attempt(runtime, plan, granted, stored)


def _claim(runtime: Runtime, plan: Plan, delivery: Delivery, message: Finder) -> Granted | Refused:
    store = runtime.store
    claim = outwait(runtime, lambda: store.claim(delivery, plan.owner, plan.lease_seconds))
    if not isinstance(claim, Granted | Refused):
        complete = replace(delivery, message=message())
        claim = outwait(runtime, lambda: store.claim(complete, plan.owner, plan.lease_seconds))
    assert isinstance(claim, Granted | Refused)
    return claim


def _run(attempt: Attempt, plan: Plan, body: Body) -> Any:
    job, runtime = attempt.job, attempt.runtime
    try:
        if job.strikes > plan.max_crashes:
            raise CrashLimitError(job.id, job.strikes, plan.max_crashes)
        if attempt.unreadable is not None:
            raise parked(attempt.unreadable)
        open_checkpoint(attempt.journal, plan)
        if runtime.emit:
            runtime.emit(
                JobStarted(job.id, job.task, job.fence, job.attempts, attempt.has_checkpoint)
            )
        value = body(attempt)
        attempt.journal.insist()
        attempt.journal.go_on()
        attempt.journal.stored.check_leftovers()
        if attempt.journal.state is not None:
            attempt.journal.pending()  # what cannot be stored of it is an error of the task
    except BaseException as exc:
        stop = attempt.journal.stopped or _interrupt_in(exc)
        if stop is not None:
            raise stop from None
        if not attempt.forsaken:
            _settle(attempt, plan.judge(exc))
        raise
    return value


def _interrupt_in(exc: BaseException) -> Interrupt | None:
    """Return the interrupt that *exc* is, or that a task group of the user's put into it."""
    if isinstance(exc, BaseExceptionGroup):
        return next(filter(None, map(_interrupt_in, exc.exceptions)), None)
    return exc if isinstance(exc, Interrupt) else None


def _succeed(attempt: Attempt, plan: Plan, value: Any) -> Ending:
    result = attempt.encoded(value) if plan.keep_result else None
    reason = RESULT_NOT_KEPT if result is None and value is not None else None
    settlement = Settlement(JobStatus.SUCCEEDED, reason, result, finishing=plan.finishing)
    try:
        _settle(attempt, settlement)
    except ValueTooLargeError as exc:
        if exc.field != "result":
            _settle(attempt, plan.judge(exc))
            raise
        logger.warning("job %s: its result is not kept: %s", attempt.job.id, exc)
        return _succeed(attempt, replace(plan, keep_result=False), value)
    return Completed(value)


def _stop(attempt: Attempt, stop: Interrupt) -> Ending:
    if isinstance(stop, Suspend):
        settlement = Settlement(stop.status, stop.reason, delay=stop.delay)
    elif isinstance(stop, Cancel):
        settlement = Settlement(JobStatus.CANCELLED, "cancelled", finishing=True)
    else:
        return Stopped(None, "superseded")
    try:
        _settle(attempt, settlement)
    except Interrupt:
        return Stopped(None, "superseded")
    return Stopped(settlement.status, settlement.reason or "")


def _settle(attempt: Attempt, settlement: Settlement) -> None:
    """Save what is pending and end the attempt, in one write.

    Raises:
        Superseded: the end is not known to be on record, and so is none: whatever Celery
            were told now, a recovery carries the job on, or tells Celery what the record says.
        Suspend: there is no key to encrypt it with, and it would be a success.
        ValueTooLargeError: the store takes nothing of that size, and it would be a success.
    """
    job = attempt.job
    try:
        _write_end(attempt, settlement)
    except ValueTooLargeError:
        raise
    except NoKeysError as exc:
        raise parked(exc) from None
    except Exception as exc:  # of the store, or a time limit that hit while it wrote
        logger.error("job %s steps aside: its end is not on record: %r", job.id, exc)
        raise attempt.leased.lose() from exc
    if attempt.runtime.emit:
        attempt.runtime.emit(
            JobSettled(job.id, job.task, job.fence, settlement.status, settlement.reason)
        )


def _write_end(attempt: Attempt, settlement: Settlement) -> None:
    """Write a settlement; leave out what cannot be written, unless that would make a success."""
    job, delta = attempt.job, _last_delta(attempt)
    full = replace(settlement, delta=delta) if delta else settlement
    try:
        attempt.leased.settle(full)
    except (NoKeysError, ValueTooLargeError) as exc:
        if settlement.status is JobStatus.SUCCEEDED:
            raise
        logger.warning("job %s: its last changes are not saved: %s", job.id, exc)
        is_message = isinstance(exc, ValueTooLargeError) and exc.field == "message"
        lean = replace(full, message=None) if is_message else replace(full, delta=NOTHING)
        attempt.leased.settle(lean)


def _last_delta(attempt: Attempt) -> Delta:
    """Return what is pending; a state that cannot be stored must not hide the error before."""
    if attempt.unreadable is not None:
        return NOTHING  # what is stored stays as it is
    try:
        return attempt.journal.pending()
    except Exception as exc:  # of the codec, or of the state model's own code
        # Words that are not milepost's own may tell what an encrypted task keeps.
        said = exc if isinstance(exc, MilepostError) else type(exc).__name__
        logger.warning("job %s: its last changes are not saved: %s", attempt.job.id, said)
        return NOTHING
