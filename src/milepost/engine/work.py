"""What the body of a task works with while it holds the lease."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import get_ident
from typing import Any, Protocol

from milepost.engine.journal import Journal
from milepost.engine.lease import Leased
from milepost.engine.loops import Loop
from milepost.engine.plan import Plan
from milepost.engine.savable import OpenLoop
from milepost.engine.scope import BOOKS, EXPLICIT
from milepost.engine.state import State
from milepost.engine.stored import parked
from milepost.errors import (
    CheckpointError,
    CodecError,
    DecodeError,
    LeaseLostError,
    NoKeysError,
    NotTransactionalError,
)
from milepost.interrupts import Cancel, Interrupt, Superseded
from milepost.model import (
    NOTHING,
    Granted,
    Job,
    Signal,
)
from milepost.runtime import Runtime
from milepost.transactional import Transactional

logger = logging.getLogger("milepost")

VOID = (Cancel, Superseded)
"""Interrupts after which no answer is worth waiting for."""


class Flights(Protocol):
    """What a body has under way elsewhere."""

    async def until_landed(self) -> None:
        """Wait until all of it has ended, and that is noted."""
        ...


class Attempt:
    """One worker carrying one job, as the body sees it."""

    def __init__(
        self,
        runtime: Runtime,
        plan: Plan,
        granted: Granted,
        stored: Mapping[str, bytes],
        unreadable: DecodeError | None = None,
    ) -> None:
        self.unreadable = unreadable
        """Why nothing of the checkpoint can be read, if so: the job is parked."""
        self.has_checkpoint = any(field[0] not in BOOKS for field in stored)
        """Whether an earlier attempt has left something to go on from."""
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
        self.flights: Flights | None = None
        """What must land before the body is left; see :func:`milepost.engine.calls.calls_of`."""
        self._state: State | None = None
        self._encoded: tuple[Any, bytes | None] | None = None

    @property
    def fence(self) -> int:
        return self.leased.lease.fence

    async def land(self, stop: Interrupt) -> None:
        """Let calls in flight end before an interrupt stops the body, where they are of use."""
        if self.flights is not None and not isinstance(stop, VOID):
            await self.flights.until_landed()

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

    def encoded(self, value: Any) -> bytes | None:
        """Return what the body returns as the record keeps it, encoded once.

        None: there is nothing, or the codec does not take it; Celery's own serializer may.
        """
        if self._encoded is None or self._encoded[0] is not value:
            self._encoded = value, self._encode(value)
        return self._encoded[1]

    def _encode(self, value: Any) -> bytes | None:
        if value is None:
            return None
        try:
            return self.runtime.codec.encode(value)
        except CodecError as exc:
            logger.debug("a result is not kept in the job's record: %s", exc)
            return None

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
            CheckpointError: the item has ended already, it is a map's, or this is inside
                another atomic().
        """
        store, journal = self.runtime.store, self.journal
        if not isinstance(store, Transactional):
            raise NotTransactionalError(store.name, "it is not an SQL database")
        journal.check_can_record()
        _refuse_in_map(journal.innermost)
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
        journal = self.journal
        item_loop = journal.innermost
        assert item_loop is None or isinstance(item_loop, Loop)
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
                journal.stop(self.leased.refused())
            if isinstance(exc, NoKeysError):
                journal.stop(parked(exc))
            raise
        journal.mark_saved(delta)
        if item_loop is not None:
            journal.leave_item(item_loop)
            item_loop.ahead = True
        return signal


def _refuse_in_map(innermost: OpenLoop | None) -> None:
    if not (innermost is None or isinstance(innermost, Loop)):
        raise CheckpointError(
            f"map {innermost.path!r}: its results are recorded in batches, so atomic() cannot end "
            "one of its items: use iterate()"
        )
