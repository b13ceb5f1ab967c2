"""One worker carrying one job: claim, open the checkpoint, run the body, settle."""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from threading import get_ident
from typing import Any, TypeAlias

from milepost.engine.endings import Completed, Dropped, Ending, Stopped, Unclaimed
from milepost.engine.journal import Journal
from milepost.engine.lease import Leased, outwait
from milepost.engine.loops import Loop
from milepost.engine.migration import open_checkpoint
from milepost.engine.plan import Plan
from milepost.engine.scope import EXPLICIT
from milepost.engine.state import State
from milepost.errors import (
    CodecError,
    CrashLimitError,
    LeaseLostError,
    NotTransactionalError,
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
    Job,
    JobStatus,
    Refused,
    Settlement,
    Signal,
)
from milepost.runtime import Runtime
from milepost.store import Transactional

logger = logging.getLogger("milepost")


RESULT_NOT_KEPT = "its result is not kept in the record"


Body: TypeAlias = Callable[["Attempt"], Any]
Finder: TypeAlias = Callable[[], bytes]


class Attempt:
    """What the body of a task works with while it holds the lease."""

    def __init__(
        self, runtime: Runtime, plan: Plan, granted: Granted, stored: Mapping[str, bytes]
    ) -> None:
        self.runtime = runtime
        self.job: Job = granted.job
        self.leased = Leased(runtime, granted.lease)
        self.journal = Journal(
            runtime,
            self.leased,
            stored,
            plan.checkpoint_every,
            granted.job.progress,
            plan.is_draining,
        )
        self.forsaken = False
        self.thread = get_ident()
        """The thread that runs the body: what it records is for no other to touch."""
        self._state: State | None = None

    @property
    def fence(self) -> int:
        return self.leased.lease.fence

    def state(self, model: Any) -> Any:
        """Return the task's state object, loaded on first use."""
        if self._state is None:
            self._state = State(self.journal, model)
        return self._state.value

    def save(self, data: Any) -> None:
        """Make *data* durable now, as the job's explicit checkpoint."""
        encoded = self.runtime.codec.encode(data)
        self.journal.put(EXPLICIT, encoded)
        self.journal.stored.fields[EXPLICIT] = encoded

    def saved(self) -> Any:
        """Return the job's explicit checkpoint, or None."""
        stored = self.journal.stored
        data = stored.fields.get(EXPLICIT)
        return None if data is None else stored.decode(EXPLICIT, data)

    def forsake(self) -> None:
        """Let go of the job's record: another task takes the id over.

        Raises:
            Superseded: another attempt has the job, so it is not this one's to give.
        """
        self.leased.commit(NOTHING)
        self.forsaken = True
        self.runtime.store.delete(self.job.id)

    @contextmanager
    def atomic(self, session: Any) -> Iterator[Any]:
        """Write the current item's end in the user's own transaction.

        Raises:
            NotTransactionalError: the store is not in a database.
            CheckpointError: the item has ended already, or this is inside another atomic().
        """
        store, journal = self.runtime.store, self.journal
        if not isinstance(store, Transactional):
            raise NotTransactionalError(store.name, "it is not an SQL database")
        journal.check_can_record()
        journal.in_transaction = True
        try:
            try:
                yield session
            finally:
                journal.in_transaction = False
            signal = self._commit_in(store, session)
        except BaseException:
            session.rollback()
            raise
        journal.obey(signal)

    def _commit_in(self, store: Transactional, session: Any) -> Signal | None:
        journal, loop = self.journal, self.journal.innermost
        item_loop = loop if isinstance(loop, Loop) else None
        state = journal.state
        noted = None if state is None else state.noted
        if item_loop is not None:
            item_loop.count_item()
        try:
            delta = journal.pending(leaving=item_loop)
            signal = store.commit_in(session, self.leased.lease, delta)
            session.commit()
        except BaseException as exc:
            if item_loop is not None:
                item_loop.uncount_item()
            if state is not None:
                state.noted = noted
            if isinstance(exc, LeaseLostError):
                journal.stop(self.leased.lose())
            raise
        journal.mark_saved(delta)
        if item_loop is not None:
            journal.leave_item(item_loop)
            item_loop.ahead = True
        return signal


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
    stored = (
        outwait(runtime, lambda: runtime.store.load(delivery.job_id)) if granted.resumed else {}
    )
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
        open_checkpoint(attempt.journal, plan)
        if runtime.emit:
            runtime.emit(JobStarted(job.id, job.task, job.fence, job.attempts, job.attempts > 1))
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
    result = _encoded_result(attempt.runtime, value) if plan.keep_result else None
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


def _encoded_result(runtime: Runtime, value: Any) -> bytes | None:
    """Encode a return value, if the codec can: Celery's own serializer may know more."""
    if value is None:
        return None
    try:
        return runtime.codec.encode(value)
    except CodecError as exc:
        logger.debug("a result is not kept in the job's record: %s", exc)
        return None


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
        ValueTooLargeError: the store takes nothing of that size, and it would be a success.
    """
    job = attempt.job
    try:
        _write_end(attempt, settlement)
    except ValueTooLargeError:
        raise
    except Exception as exc:  # of the store, or a time limit that hit while it wrote
        logger.error("job %s steps aside: its end is not on record: %r", job.id, exc)
        raise attempt.leased.lose() from exc
    if attempt.runtime.emit:
        attempt.runtime.emit(
            JobSettled(job.id, job.task, job.fence, settlement.status, settlement.reason)
        )


def _write_end(attempt: Attempt, settlement: Settlement) -> None:
    """Write a settlement; leave out what is too large, unless that would make a success of it."""
    job, delta = attempt.job, _last_delta(attempt)
    full = replace(settlement, delta=delta) if delta else settlement
    try:
        attempt.leased.settle(full)
    except ValueTooLargeError as exc:
        if settlement.status is JobStatus.SUCCEEDED:
            raise
        logger.warning("job %s: its last changes are not saved: %s", job.id, exc)
        is_message = exc.field == "message"
        lean = replace(full, message=None) if is_message else replace(full, delta=NOTHING)
        attempt.leased.settle(lean)


def _last_delta(attempt: Attempt) -> Delta:
    """Return what is pending; a state that cannot be stored must not hide the error before."""
    try:
        return attempt.journal.pending()
    except Exception as exc:  # of the codec, or of the state model's own code
        logger.warning("job %s: its last changes are not saved: %s", attempt.job.id, exc)
        return NOTHING
