"""The resumable parallel map: every result is kept, only what is missing is computed."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from typing import Any

from milepost.engine.items import check_key, check_order
from milepost.engine.journal import NEVER, Journal
from milepost.engine.scope import RESULT, Scope
from milepost.engine.stored import AS_MAP
from milepost.errors import CheckpointError, EncodeError, StepResultError

BATCH = 100
"""Results that travel in one checkpoint, at most."""


class Map:
    """One map: its items by key, the results so far, and what is not saved yet."""

    ahead = False
    seconds = NEVER

    def __init__(
        self, journal: Journal, path: str, items: Iterable[Any], key: Callable[[Any], str] | None
    ) -> None:
        self.path = path
        self.item_prefix = f"{path}/"
        self.scope: Scope | None = None
        self._journal = journal
        self._items = by_key(path, items, key)
        self.total: int | None = len(self._items)
        prefix = self._field("")
        self._results = {
            field[len(prefix) :]: journal.stored.decode(field, data)
            for field, data in journal.stored.take_all(prefix).items()
        }
        self.done = len(self._results)
        self._unsaved = 0

    def _field(self, name: str) -> str:
        return f"{RESULT}{self.path}:{name}"

    @property
    def missing(self) -> list[tuple[str, Any]]:
        """Return what has no result yet."""
        return [(name, item) for name, item in self._items.items() if name not in self._results]

    @property
    def results(self) -> list[Any]:
        """Return the results in the order of the items."""
        return [self._results[name] for name in self._items]

    def note(self, name: str, value: Any) -> None:
        """Note one result for the next checkpoint."""
        try:
            data = self._journal.codec.encode(value)
        except EncodeError as exc:
            raise StepResultError(f"{self.path}[{name}]", str(exc)) from exc
        self._journal.note(self._field(name), data)
        self._results[name] = value
        self.done += 1
        self._unsaved += 1

    def keep(self, name: str, value: Any) -> None:
        """Note one result; save when a batch is full or the time has come."""
        self.note(name, value)
        if self.scope is not None:
            self._journal.leave_item(self)
        if self._unsaved >= BATCH or self._journal.monotonic() >= self._journal.deadline:
            self._unsaved = 0
            self._journal.flush()

    def unsaved(self) -> Mapping[str, bytes]:
        """Nothing beyond what :meth:`keep` noted."""
        return {}

    def saved(self) -> None:
        """Nothing to learn."""


def run_map(
    journal: Journal,
    name: str | None,
    function: Callable[[Any], Any],
    items: Iterable[Any],
    key: Callable[[Any], str] | None,
    concurrency: int,
) -> Any:
    """Map *function* over *items*; an async one gives an awaitable.

    Raises:
        CheckpointError: concurrency below 1.
        ItemKeyError: a key is not a string, or not unique.
        StepResultError: a result cannot be stored.
    """
    if concurrency < 1:
        raise CheckpointError(f"concurrency={concurrency}: it must be at least 1")
    scope = journal.scope
    path = scope.enter("map", name, getattr(function, "__name__", type(function).__name__))
    journal.stored.check_kind(path, AS_MAP)
    work = Map(journal, path, items, key)
    if not work.done:
        journal.stored.check_fit(scope, f"map {path!r}")
    if inspect.iscoroutinefunction(function):
        return _map_async(journal, work, function, concurrency)
    journal.open(work)
    try:
        if concurrency == 1:
            for item_key, item in work.missing:
                work.keep(item_key, function(item))
        else:
            _map_threads(work, function, concurrency)
    finally:
        journal.close(work)
    return work.results


def _map_threads(work: Map, function: Callable[[Any], Any], concurrency: int) -> None:
    """Keep *concurrency* threads busy; results are kept by this thread alone."""
    todo = iter(work.missing)
    with ThreadPoolExecutor(concurrency, "milepost-map") as pool:
        running: dict[Future[Any], str] = {
            pool.submit(function, item): name for name, item in islice(todo, concurrency)
        }
        try:
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    work.keep(running.pop(future), future.result())
                    for name, item in islice(todo, 1):
                        running[pool.submit(function, item)] = name
        except BaseException:
            _keep_the_paid_for(work, running)
            raise


def _keep_the_paid_for(work: Map, running: dict[Future[Any], str]) -> None:
    """On the way out, note the results of what was already running."""
    for future in wait(running).done:
        if future.exception() is None:
            with suppress(StepResultError):
                work.note(running[future], future.result())


async def _map_async(
    journal: Journal,
    work: Map,
    function: Callable[[Any], Coroutine[Any, Any, Any]],
    concurrency: int,
) -> list[Any]:
    todo = iter(work.missing)

    async def take_turns() -> None:
        for name, item in todo:
            work.keep(name, await function(item))

    journal.open(work)
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(work.missing))):
                group.create_task(take_turns())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    finally:
        journal.close(work)
    return work.results


def by_key(path: str, items: Iterable[Any], key: Callable[[Any], str] | None) -> dict[str, Any]:
    """Return the items of a map by what tells them apart: their keys, or else their places.

    Raises:
        CheckpointError: they are a set, and there are no keys.
        ItemKeyError: a key is no string, or not unique.
    """
    if key is None:
        check_order("map", path, items)
    known: dict[str, Any] = {}
    for index, item in enumerate(items):
        name = str(index) if key is None else key(item)
        check_key(path, index, item, name, known)
        known[name] = item
    return known
