"""The journal of one attempt: where its body is, and what it has to save."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

from milepost.engine.drain import never
from milepost.engine.lease import Leased
from milepost.engine.savable import OpenLoop, OwnState, Savable
from milepost.engine.scope import META, Scope, is_within
from milepost.engine.stored import Stored
from milepost.engine.tally import Tally
from milepost.errors import CheckpointError, ValueTooLargeError
from milepost.events import CheckpointSaved
from milepost.interrupts import Cancel, Interrupt, Superseded, Suspend
from milepost.model import Delta, JobStatus, Progress, Signal
from milepost.runtime import Runtime

NEVER = float("inf")
TICK = 1.0
"""Seconds between two writes of progress that no checkpoint asked for."""


class Journal:
    """Position and pending changes of one attempt.

    Everything that changed since the last checkpoint goes out in one delta, so a loop's
    position and the steps of its current item can never disagree in the store.
    """

    def __init__(
        self,
        runtime: Runtime,
        leased: Leased,
        stored: Mapping[str, bytes],
        every: float,
        recorded: Progress,
        is_draining: Callable[[], bool] = never,
    ) -> None:
        self._is_draining = is_draining
        self.codec = runtime.codec
        self.monotonic = runtime.clock.monotonic
        self.every = every
        self.deadline = self.monotonic() + every
        self.in_transaction = False
        self.stopped: Interrupt | None = None
        self._left_an_item = False
        self.state: OwnState | None = None
        self.leased = leased
        self.stored = Stored(runtime.codec, stored)
        self._default_every = every
        self._emit = runtime.emit if runtime.emit else None
        self._root = Scope()
        self._open: list[OpenLoop] = []
        self._writes: dict[str, bytes] = {}
        self._deletes: dict[str, None] = {}
        self._mark: bytes | None = None
        self._is_new = not stored
        self.tally = Tally(recorded, is_known=bool(stored))
        self._tick_at = self.monotonic() + TICK
        self._moved = False
        self._begun: set[str] = set()

    def adopt(self, fields: Mapping[str, bytes]) -> None:
        """Put a migrated checkpoint in place of the stored one, with the next checkpoint."""
        self._deletes.update(dict.fromkeys(f for f in self.stored.fields if f not in fields))
        self._writes.update(fields)
        self.stored.replace(fields)
        self.tally.forget()

    def set_mark(self, mark: bytes) -> None:
        """Say which code writes from now on, once nothing is left that other code wrote.

        Where there is nothing else to save, as in most short jobs, there is no need to say it.
        """
        self._mark = mark

    # -- where in the code we are ----------------------------------------------------------

    @property
    def scope(self) -> Scope:
        """The names of the place the body is in: of the task, or of a loop's current item.

        Raises:
            CheckpointError: as for :meth:`check_can_record`.
            Interrupt: as for :meth:`insist`.
        """
        self.insist()
        if not self._open and not self.in_transaction:
            self._left_an_item = False
            return self._root
        self.check_can_record()
        self.go_on()
        loop = self._open[-1]
        if loop.scope is None:
            loop.scope = Scope(loop.item_prefix)
        return loop.scope

    def go_on(self) -> None:
        """Learn that the body goes on: a loop that was left was broken out of."""
        self._left_an_item = False

    def check_can_record(self) -> None:
        """Refuse to record in a place that a resumed attempt could not tell from another.

        Raises:
            CheckpointError: inside atomic(), or in an item that it has recorded as done.
            Interrupt: as for :meth:`insist`.
        """
        self.insist()
        self._refuse_in_transaction()
        if self._open and self._open[-1].ahead:
            raise CheckpointError(
                f"loop {self._open[-1].path!r}: atomic() has recorded this item as done; let it "
                "be the last thing that the item does"
            )

    def _refuse_in_transaction(self) -> None:
        if self.in_transaction:
            raise CheckpointError(
                "nothing can be saved inside atomic(): it would stay when the transaction is "
                "rolled back. Take steps, loops and checkpoints before it"
            )

    @contextmanager
    def calling(self, scope: Scope) -> Iterator[None]:
        """Keep the item that *scope* belongs to from ending while a call is under way there.

        Raises:
            CheckpointError: it has ended already.
        """
        if scope is not self._root and all(loop.scope is not scope for loop in self._open):
            raise CheckpointError(
                "a call to a model was started within an item of a loop that has ended since: "
                "await it before the item ends"
            )
        scope.under_way += 1
        try:
            yield
        finally:
            scope.under_way -= 1

    def open(self, loop: OpenLoop) -> None:
        """Enter a loop: from here on, names belong to its current item."""
        self._open.append(loop)
        if loop.seconds < self.every:
            self._set_pace()

    def close(self, loop: OpenLoop, *, over: bool = True) -> None:
        """Leave a loop; what it did is kept.

        Args:
            loop: which.
            over: False where its body was left in the middle of an item: broken out of, or
                by an error, which cannot be told apart until the task goes on.
        """
        if loop in self._open:
            self._left_an_item = not over
            self._open.remove(loop)
            self._begun |= self._begun_by(loop)
            self._writes.update(loop.unsaved())
            loop.saved()
            self.tally.count_finished(loop)
            if self.every < self._default_every:
                self._set_pace()

    def _set_pace(self) -> None:
        """Save as often as the hastiest open loop wants."""
        self.every = min(self._default_every, *(loop.seconds for loop in self._open), NEVER)
        self.deadline = min(self.deadline, self.monotonic() + self.every)

    @property
    def innermost(self) -> OpenLoop | None:
        """The loop whose item the body is working on."""
        return self._open[-1] if self._open else None

    def leave_item(self, loop: OpenLoop) -> None:
        """Forget what belonged to an item that is now done.

        Raises:
            CheckpointError: a loop started within the item is still going on.
        """
        if self._open and self._open[-1] is not loop:
            raise CheckpointError(
                f"loop {loop.path!r} went on to its next item while {self._open[-1].path!r}, "
                "started within the item, is still open: loops may be nested, not interleaved"
            )
        loop.scope = None
        self.forget(loop.item_prefix)

    def forget(self, prefix: str) -> None:
        """Drop all that is recorded within a place in the code, with the next checkpoint."""
        for field in [f for f in self._writes if is_within(f, prefix)]:
            del self._writes[field]
        self._deletes.update(dict.fromkeys(self.stored.within(prefix)))
        self.stored.forget(prefix)

    # -- writing -----------------------------------------------------------------------------

    def note(self, field: str, data: bytes) -> None:
        """Set a field with the next checkpoint."""
        self._writes[field] = data

    def drop(self, field: str) -> None:
        """Delete a field with the next checkpoint."""
        self._writes.pop(field, None)
        if self.stored.may_hold(field):
            self._deletes[field] = None

    def put(self, field: str, data: bytes) -> None:
        """Make a field durable now, with everything else that is pending.

        Raises:
            ValueTooLargeError: nothing was saved, and the field is not kept for later.
        """
        self._writes[field] = data
        try:
            self.flush()
        except ValueTooLargeError:
            self._writes.pop(field, None)
            raise

    def checkpoint(self) -> None:
        """Save everything, the state as it is in the middle of an item included."""
        if self.state is not None:
            self.state.take_in()
        self.flush()

    def flush(self) -> None:
        """Save everything pending, renew the lease, and obey what comes back.

        Raises:
            Suspend, Cancel: somebody asked for it; the checkpoint is saved. Or there is no
                key to encrypt it with; nothing was saved.
            Superseded: another attempt has the job; nothing was saved.
        """
        self._refuse_in_transaction()
        delta = self.pending()
        try:
            signal = self.leased.commit(delta)
        except (Superseded, Suspend) as stop:
            self.stop(stop)
        self.mark_saved(delta)
        self.obey(signal)

    def pending(self, leaving: OpenLoop | None = None) -> Delta:
        """Return everything that changed since the last checkpoint, as one delta.

        Args:
            leaving: a loop whose current item is done with this delta.
        """
        between_items = not (self._open or self._left_an_item)
        if self.state is not None and (leaving is not None or between_items):
            self.state.take_in()
        writes = dict(self._writes)
        for savable in self._savables():
            writes.update(savable.unsaved())
        is_empty = self._is_new and not writes
        if self._mark is not None and not is_empty and not self.stored.is_foreign:
            writes[META] = self._mark
        deletes = list(self._deletes)
        if leaving is not None:
            prefix = leaving.item_prefix
            writes = {f: data for f, data in writes.items() if not is_within(f, prefix)}
            deletes += self.stored.within(prefix)
        return Delta(
            writes, [f for f in deletes if f not in writes], self.tally.news(self._outermost)
        )

    def mark_saved(self, delta: Delta) -> None:
        """Learn that *delta* is in the store."""
        self._moved = self._moved or self._is_news(delta)
        self._writes, self._deletes = {}, {}
        for savable in self._savables():
            savable.saved()  # may put the next changes in place
        self.stored.note_saved(delta)
        if META in delta.writes:
            self._mark = None
        self.tally.mark_saved(delta.progress)
        now = self.monotonic()
        self.deadline, self._tick_at = now + self.every, now + TICK
        if self._emit:
            lease = self.leased.lease
            done = self.progress.done
            self._emit(CheckpointSaved(lease.job_id, lease.fence, len(delta.writes), done))

    def _savables(self) -> list[Savable]:
        return [*self._open] if self.state is None else [self.state, *self._open]

    def obey(self, signal: Signal | None) -> None:
        """Turn a signal, or the worker's shutdown, into the interrupt that stops the body."""
        self.insist()
        if signal is None and not self._is_draining():
            return
        if signal is Signal.CANCEL:
            self.stop(Cancel())
        if signal is Signal.PAUSE:
            self.stop(Suspend(JobStatus.PAUSED, "paused"))
        self.stop(Suspend(JobStatus.INTERRUPTED, "drained", delay=0.0))

    def stop(self, interrupt: Interrupt) -> NoReturn:
        """Stop the body, for good: what it is in the middle of does not count as done."""
        self.stopped = interrupt
        for loop in self._open:
            loop.ahead = True
        raise interrupt

    def insist(self) -> None:
        """Stop a body again that has caught its interrupt (a bare ``except:``) and went on.

        Raises:
            Interrupt: the body was told to stop.
        """
        if self.stopped is not None:
            raise self.stopped

    # -- progress ----------------------------------------------------------------------------

    @property
    def has_moved(self) -> bool:
        """Whether this attempt has got anywhere that the next one will know of."""
        return self._moved or self._is_news(self.pending())

    def _is_news(self, delta: Delta) -> bool:
        """Whether it says more than by which code, and that loops have begun."""
        begun = self._begun.union(*map(self._begun_by, self._open))
        return bool(delta.writes.keys() - begun - {META})

    @staticmethod
    def _begun_by(loop: OpenLoop) -> set[str]:
        return set() if loop.done else {*loop.unsaved()}

    def report(self, message: str | None, done: int | None, total: int | None) -> None:
        """Take in what the task says of its progress; save it if nothing was saved for a while.

        Raises:
            Suspend, Cancel, Superseded: as for :meth:`flush`.
        """
        self.tally.say(message, done, total)
        if self.monotonic() >= self._tick_at and not self.in_transaction:
            self.flush()

    @property
    def progress(self) -> Progress:
        """Items done over all outermost loops and attempts, the total where it is known."""
        return self.tally.progress(self._outermost)

    @property
    def _outermost(self) -> OpenLoop | None:
        return self._open[0] if self._open else None
