"""All jobs of a Redis, in stretches: to find some, to count them, to forget what has expired.

``ns:jobs`` is ordered by the moment of creation and, within a moment, by id. Redis drops a
record when its retention is over, and tells nobody: until the next ``purge`` its id stays here,
so whoever reads skips what has no record.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, TypeAlias

from milepost.errors import ConfigurationError
from milepost.model import Job, JobStatus
from milepost.query import Page, Query, cursor_at, read_cursor
from milepost.stores.redis.record import ms, read_job, text
from milepost.stores.redis.wire import Wire

STRETCH = 500
"""How many jobs one script looks at, so that it never holds the server up."""

Place: TypeAlias = tuple[Any, Any]
"""Moment (ms) and id of a job, which may be gone by now: what is read next comes behind it."""


class Listing:
    """The order of all jobs.

    Args:
        wire: the way to the server.
        namespace: of all keys.
        retention: in milliseconds.

    Attributes:
        key: of the sorted set.
    """

    def __init__(self, wire: Wire, namespace: str, retention: int) -> None:
        self._wire = wire
        self._prefix = f"{namespace}:{{"
        self._retention = retention
        self.key = f"{namespace}:jobs"

    def find(self, query: Query) -> Page:
        """Return a page; the contract is :meth:`milepost.store.Store.find`'s."""
        jobs: list[Job] = []
        place: Place | None = _behind(query.cursor)
        # One more than asked for, to know whether a next page has any.
        while place and len(jobs) <= query.limit:
            place, found = self._stretch(
                "find", place, query.limit + 1 - len(jobs), _since(query), *_conditions(query)
            )
            jobs += [read_job(text(job_id), flat) for job_id, flat in _tuples(found, 2)]
        page = tuple(jobs[: query.limit])
        return Page(page, cursor_at(page[-1]) if len(jobs) > len(page) else None)

    def tally(self) -> Mapping[tuple[str, JobStatus], int]:
        """Return how many jobs there are of each task in each status."""
        counts: Counter[tuple[str, JobStatus]] = Counter()
        place: Place | None = _behind(None)
        while place:
            place, found = self._stretch("tally", place)
            for task, status, number in _tuples(found, 3):
                counts[text(task), JobStatus(text(status))] += number
        return counts

    def purge(self) -> int:
        """Forget the jobs whose records have expired; return how many."""
        kept = dropped = 0
        looked = STRETCH
        while looked == STRETCH:
            looked, gone = self._wire.run(
                "purge", 1, self.key, self._prefix, kept, STRETCH, self._retention
            )
            kept, dropped = kept + looked - gone, dropped + gone
        return dropped

    def _stretch(self, verb: str, place: Place, *rest: Any) -> tuple[Place | None, Sequence[Any]]:
        """Return where the next stretch begins, or None after the last, and what was found."""
        reply = self._wire.run(verb, 1, self.key, self._prefix, *place, STRETCH, *rest)
        return (reply[0], reply[1]) if reply[0] else None, reply[2:]


def _behind(cursor: str | None) -> Place:
    """Return the place a cursor stands for."""
    after = read_cursor(cursor)
    if after is None:
        return "", ""
    try:
        return ms(after[0]), after[1]
    except (OverflowError, ValueError):
        raise ConfigurationError(f"cursor {cursor!r}: it names no moment") from None


def _since(query: Query) -> int | str:
    """Return the first whole millisecond that is no earlier than what was asked for."""
    if query.since is None:
        return "-inf"
    first = ms(query.since)
    return first if first / 1000 >= query.since else first + 1


def _conditions(query: Query) -> list[str]:
    """Return field, value, …: what a record must have, any of several values of a field."""
    pairs = [("status", status.value) for status in query.statuses]
    pairs += [("task", query.task)] if query.task is not None else []
    pairs += [("owner", query.owner)] if query.owner is not None else []
    return list(chain.from_iterable(pairs))


def _tuples(flat: Sequence[Any], size: int) -> Iterator[tuple[Any, ...]]:
    return zip(*[iter(flat)] * size, strict=True)
