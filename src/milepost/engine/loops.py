"""The checkpointed loop: yields what is still to do, and counts an item when the next is asked.

Three kinds, by what tells one item from another: its place in a stable order, a cursor that
the source can start after, or a key.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from datetime import timedelta
from itertools import chain, islice
from typing import Any, ClassVar, TypeVar

from milepost.engine.items import check_key, check_order
from milepost.engine.journal import NEVER, Journal
from milepost.engine.scope import CURSOR, END, KEYS, Scope, escaped
from milepost.engine.stored import BY_CURSOR, BY_KEY, BY_POSITION, misfit
from milepost.errors import CheckpointError

T = TypeVar("T")
Every = int | timedelta | None

MERGE = 64
"""After so many small chunks of keys, one large chunk takes their place."""
_MISSING: Any = object()


@dataclass(frozen=True, slots=True)
class Pace:
    """When a loop saves its position: after so many items or seconds, whichever is first.

    The task's own ``checkpoint_every`` always applies too: it bounds how long a signal waits
    to be seen.
    """

    items: float = NEVER
    seconds: float = NEVER


def pace_of(every: Every) -> Pace:
    """Read ``every=``: None (the task's own pace), a number of items, or a timedelta.

    Raises:
        CheckpointError: neither, or not positive.
    """
    if every is None:
        return Pace()
    if isinstance(every, timedelta) and every > timedelta(0):
        return Pace(seconds=every.total_seconds())
    if isinstance(every, int) and not isinstance(every, bool) and every > 0:
        return Pace(items=every)
    raise CheckpointError(f"every={every!r}: give a number of items (1, 2, …) or a timedelta")


class Loop:
    """What every loop is: a path, a count, and how to save it.

    Raises:
        Suspend: what is recorded does not fit the code.
    """

    __slots__ = (
        *("_saved_done", "ahead", "done", "journal", "pace"),
        *("path", "scope", "seconds", "total"),
    )
    kind: ClassVar[str]
    """How what tells its items apart is recorded."""

    def __init__(self, journal: Journal, path: str, pace: Pace, total: int | None) -> None:
        journal.stored.check_loop_fit(journal.scope, path, self.kind)
        self.journal = journal
        self.path = path
        self.pace = pace
        self.seconds = pace.seconds
        self.total = total
        self.scope: Scope | None = None
        self.done = 0
        self.ahead = False
        """Whether not to count the current item: a transaction of the user's did, or the body
        was told to stop and has caught that."""
        self._saved_done = -1

    @property
    def item_prefix(self) -> str:
        return f"{self.path}/"

    @property
    def is_worth_saving(self) -> bool:
        """Whether an item is done, or the first one records something: the loop's kind says
        then how to read that."""
        return self.done > 0 or self.scope is not None

    def unsaved(self) -> Mapping[str, bytes]:
        if self.done == self._saved_done or not self.is_worth_saving:
            return {}
        return {CURSOR + self.path: self.journal.codec.encode(self.position())}

    def saved(self) -> None:
        if self.is_worth_saving:
            self._saved_done = self.done

    def position(self) -> Any:
        """Return what a resumed attempt needs to go on."""
        return self.done

    def count_item(self) -> None:
        """Record the current item as done, in memory."""
        self.done += 1

    def uncount_item(self) -> None:
        """Take back :meth:`count_item`: the transaction that was to hold it failed."""
        self.done -= 1

    def already_over(self) -> bool:
        """Whether an earlier attempt finished this loop; if so, count it."""
        end = self.journal.stored.take(END + self.path)
        if end is None:
            return False
        self.done = self.journal.stored.decode(END + self.path, end)
        self.journal.tally.count_finished(self)
        return True

    def run(self, items: Iterator[T]) -> Iterator[T]:
        """Yield each of *items*; save at the loop's pace; mark the end."""
        journal, monotonic = self.journal, self.journal.monotonic
        next_save = self.done + self.pace.items
        inherits = journal.stored.inherits(self.path)
        only_counts = type(self).count_item is Loop.count_item
        over = False
        journal.open(self)
        try:
            for item in items:
                yield item
                if self.scope is not None and self.scope.under_way:
                    journal.insist()
                    raise CheckpointError(
                        f"loop {self.path!r} went on to its next item while a call to a model, "
                        "started within the item, is under way: await it before the item ends"
                    )
                if self.ahead:
                    journal.insist()
                    self.ahead = False
                    if journal.state is not None:
                        journal.state.check_unchanged(self.path)
                else:
                    if only_counts:
                        self.done += 1  # a call would be a quarter of all that an item costs
                    else:
                        self.count_item()
                    if journal.state is not None:
                        journal.state.take_in()
                if self.scope is not None or inherits:
                    journal.leave_item(self)
                    inherits = inherits and journal.stored.inherits(self.path)
                if self.done >= next_save or monotonic() >= journal.deadline:
                    journal.flush()
                    next_save = self.done + self.pace.items
            over = True
        finally:
            journal.close(self, over=over)
        self.finish()

    def finish(self) -> None:
        """The source is exhausted: the loop's whole position shrinks to its end."""
        self.journal.drop(CURSOR + self.path)
        self.journal.forget(f"{self.path}/")
        self.journal.note(END + self.path, self.journal.codec.encode(self.done))


class PositionLoop(Loop):
    """Items are told apart by their place in a source of stable order."""

    __slots__ = ()
    kind = BY_POSITION

    def iterate(self, source: Iterable[T]) -> Iterator[T]:
        check_order("loop", self.path, source)
        if self.total is None and isinstance(source, Sized):
            self.total = len(source)
        if self.already_over():
            return
        stored = self.journal.stored.take(CURSOR + self.path)
        if stored is not None:
            self.done = self._saved_done = self.journal.stored.decode(CURSOR + self.path, stored)
        yield from self.run(self._skip_done(source))

    def _skip_done(self, source: Iterable[Any]) -> Iterator[Any]:
        if not self.done:
            return iter(source)
        if isinstance(source, range) and len(source) >= self.done:
            return iter(source[self.done :])
        items = iter(source)
        if next(islice(items, self.done - 1, None), _MISSING) is _MISSING:
            raise misfit(
                f"loop {self.path!r} is recorded at item {self.done}, but its source ends before"
            )
        return items


class CursorLoop(Loop):
    """Items are told apart by a value the source can start after: keyset pagination."""

    __slots__ = ("_after", "_current", "_cursor", "_previous")
    kind = BY_CURSOR

    def iterate(
        self, source: Callable[[Any], Iterable[T]], cursor: Callable[[T], Any]
    ) -> Iterator[T]:
        if self.already_over():
            return
        self._cursor = cursor
        self._after: Any = None
        self._current: Any = None
        self._previous: Any = None
        stored = self.journal.stored.take(CURSOR + self.path)
        if stored is not None:
            self.done, self._after = self.journal.stored.decode(CURSOR + self.path, stored)
            self._saved_done = self.done
        yield from self.run(self._pages(source))

    def _pages(self, source: Callable[[Any], Iterable[T]]) -> Iterator[T]:
        while True:
            after = self._after
            page: Iterator[Any] = iter(source(after))
            first = next(page, _MISSING)
            if first is _MISSING:
                return
            for item in chain((first,), page):
                self._current = self._cursor(item)
                if self._current is None:
                    raise CheckpointError(
                        f"loop {self.path!r}: the cursor of an item is None, which stands for the "
                        "beginning: the loop would start over"
                    )
                if self._current == after:
                    raise CheckpointError(
                        f"loop {self.path!r}: source(after={after!r}) returned that item again; it "
                        "must return only what comes after it"
                    )
                yield item

    def position(self) -> Any:
        return [self.done, self._after]

    def count_item(self) -> None:
        self.done += 1
        self._previous, self._after = self._after, self._current

    def uncount_item(self) -> None:
        self.done -= 1
        self._after = self._previous


class KeyLoop(Loop):
    """Items are told apart by a key of their own: order does not matter."""

    __slots__ = ("_before", "_chunk", "_current", "_fresh", "_large", "_merged", "_seen", "_small")
    kind = BY_KEY

    def iterate(self, source: Iterable[T], key: Callable[[T], str]) -> Iterator[T]:
        if self.total is None and isinstance(source, Sized):
            self.total = len(source)
        if self.already_over():
            return
        self._seen: set[str] = set()
        self._fresh: list[str] = []
        self._merged: list[str] = []
        self._small: list[str] = []
        self._current = ""
        self._restore()
        yield from self.run(self._undone(source, key))

    def _restore(self) -> None:
        prefix = self._field("")
        stored = self.journal.stored.take_all(prefix)
        decode = self.journal.stored.decode
        self._before: set[str] = set()
        for field, chunk in stored.items():
            self._before.update(decode(field, chunk))
        self._large = list(stored)
        self._chunk = max((int(field[len(prefix) :]) for field in stored), default=0)
        self.done = len(self._before)

    @property
    def item_prefix(self) -> str:
        # What an interrupted item has recorded waits for that item, wherever it comes next.
        return f"{self.path}/{escaped(self._current)}/"

    def _field(self, chunk: int | str) -> str:
        return f"{KEYS}{self.path}:{chunk}"

    def _undone(self, source: Iterable[T], key: Callable[[T], str]) -> Iterator[T]:
        for index, item in enumerate(source):
            name = key(item)
            check_key(self.path, index, item, name, self._seen)
            self._seen.add(name)
            if name not in self._before:
                self._current = name
                yield item

    def count_item(self) -> None:
        self.done += 1
        self._fresh.append(self._current)

    def uncount_item(self) -> None:
        self.done -= 1
        self._fresh.pop()

    @property
    def _has_news(self) -> bool:
        return bool(self._fresh) or (self._chunk == 0 and self.is_worth_saving)

    def unsaved(self) -> Mapping[str, bytes]:
        if not self._has_news:
            return {}
        return {self._field(self._chunk + 1): self.journal.codec.encode(self._fresh)}

    def saved(self) -> None:
        if not self._has_news:
            return
        self._chunk += 1
        self._small.append(self._field(self._chunk))
        self._merged += self._fresh
        self._fresh = []
        if len(self._small) == MERGE:
            self._merge()

    def _merge(self) -> None:
        """Put one chunk in place of many small ones, so that a resume has few to read."""
        self._chunk += 1
        merged = self._field(self._chunk)
        self.journal.note(merged, self.journal.codec.encode(self._merged))
        for field in self._small:
            self.journal.drop(field)
        self._large.append(merged)
        self._small, self._merged = [], []

    def finish(self) -> None:
        for field in (*self._large, *self._small):
            self.journal.drop(field)
        super().finish()
