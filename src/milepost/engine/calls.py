"""Calls that cost money: each on record before it is sent, its answer as soon as it is there.

Between the two, a call is *sent*: should its worker die then, nobody knows whether the other
side has done the work and will bill it. The next attempt counts it as ambiguous and makes the
call again. Answers, and what all calls have cost, are written together, under the lease like
every checkpoint.
"""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

from milepost.budget import Budget, Estimate, Spend
from milepost.engine.journal import Journal
from milepost.engine.scope import ANSWER, BUDGET, SENT, SPEND
from milepost.engine.work import Attempt
from milepost.errors import StepResultError, ValueTooLargeError
from milepost.llm import Usage


class Calls:
    """The calls of one attempt.

    Attributes:
        spend: what all calls of the job have cost.
        granted: the budget that somebody has granted the job; None: what its task declares.
        held: what the calls under way may cost.
        line: where calls wait for their turn, so that one asks the limit and not all do.
        in_flight: the asyncio tasks that wait for an answer.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        stored = journal.stored
        spent = stored.recall(SPEND, None)
        self.spend = Spend() if spent is None else Spend.of(spent)
        granted = stored.recall(BUDGET, None)
        self.granted = None if granted is None else Budget.of(granted)
        self.held = Estimate()
        self.line = asyncio.Lock()
        self.in_flight: set[asyncio.Task[Any] | None] = set()
        self._holding = 0
        self._left: dict[str, Mapping[str, Any]] = {}
        self._too_large: dict[str, ValueTooLargeError] = {}
        self._flushing: asyncio.Future[None] | None = None
        self._freed: asyncio.Future[None] | None = None
        self._landed: asyncio.Future[None] | None = None
        for field, data in stored.take_all(SENT).items():
            self._take_over(field[1:], stored.decode(field, data))

    def _take_over(self, path: str, left: Mapping[str, Any]) -> None:
        """Learn of a call that an earlier attempt has left without an answer."""
        self._left[path] = left
        if left["sent"]:
            self._count_ambiguous(Estimate(left["tokens"], Decimal(left["money"])))
            self._journal.drop(SENT + path)

    def answer(self, path: str) -> Any:
        """Return the answer on record, or None."""
        return self._journal.stored.recall(ANSWER + path, None)

    def answers(self, path: str) -> dict[str, Any]:
        """Return every answer on record of a map of calls, by the key of its item."""
        stored, prefix = self._journal.stored, f"{ANSWER}{path}:"
        return {
            field[len(prefix) :]: stored.decode(field, data)
            for field, data in stored.take_all(prefix).items()
        }

    def failures(self, path: str, mark: str) -> int:
        """Return how often earlier attempts have sent a call with that mark in vain."""
        left = self._left.get(path)
        if left is None or left["mark"] != mark:
            return 0
        return int(left["failures"]) + bool(left["sent"])

    # -- one call ------------------------------------------------------------------------------

    async def send(self, path: str, mark: str, failures: int, estimate: Estimate) -> None:
        """Put on record that a call is about to be sent; send it when this returns.

        Raises:
            Suspend, Cancel, Superseded: it must not be sent, and counts as not sent.
        """
        self._note(SENT + path, _left(mark, failures, estimate, sent=True))
        try:
            await self.save()
            self._journal.insist()  # whoever shares the thread may have been stopped meanwhile
        except BaseException:
            self.withdraw(path)
            raise

    def withdraw(self, path: str) -> None:
        """Take a call back that was certainly not billed."""
        self._journal.drop(SENT + path)

    def lose(self, path: str, estimate: Estimate) -> None:
        """Count a call as ambiguous: it may have been billed, and nobody has its answer."""
        self.withdraw(path)
        self._count_ambiguous(estimate)

    def bill(self, path: str, usage: Usage, money: Decimal | None) -> None:
        """Count what a call has cost whose answer is there."""
        self.withdraw(path)
        self.spend = self.spend.with_call(usage, money)
        self._note(SPEND, self.spend.plain())

    def put_off(self, path: str, mark: str, failures: int) -> None:
        """Remember, for the attempt that goes on later, how often a call has failed."""
        self._note(SENT + path, _left(mark, failures, Estimate(), sent=False))

    def note_answer(self, path: str, answer: Mapping[str, Any]) -> None:
        """Note an answer for the commit that has its cost, too."""
        self._note(ANSWER + path, answer)

    async def save_answer(self, path: str) -> None:
        """Make an answer durable that was noted.

        Raises:
            StepResultError: it is too large to be stored.
            Suspend, Cancel, Superseded: as for every checkpoint.
        """
        await self.save()
        if (too_large := self._too_large.pop(ANSWER + path, None)) is not None:
            raise StepResultError(path, str(too_large))

    def _note(self, field: str, value: Any) -> None:
        self._journal.note(field, self._journal.codec.encode(value))

    def _count_ambiguous(self, estimate: Estimate) -> None:
        self.spend = self.spend.with_ambiguous(estimate)
        self._note(SPEND, self.spend.plain())

    # -- several at once -----------------------------------------------------------------------

    async def save(self) -> None:
        """Save what was noted, in one commit with what others note at the same moment.

        Raises:
            Suspend, Cancel, Superseded: as for every checkpoint.
        """
        if self._flushing is None:
            loop = asyncio.get_running_loop()
            self._flushing = loop.create_future()
            loop.call_soon(self._flush, self._flushing)
        await asyncio.shield(self._flushing)

    def _flush(self, done: asyncio.Future[None]) -> None:
        self._flushing = None
        try:
            self._flush_all_but_too_large()
        except BaseException as exc:  # raised again wherever somebody waits for this commit
            done.set_exception(exc)
        else:
            done.set_result(None)

    def _flush_all_but_too_large(self) -> None:
        while True:
            try:
                return self._journal.flush()
            except ValueTooLargeError as exc:
                if exc.field in self._too_large or exc.field[0] != ANSWER:
                    raise
                self._too_large[exc.field] = exc
                self._journal.drop(exc.field)

    @contextmanager
    def flying(self) -> Iterator[None]:
        """Count the running asyncio task among those that wait for an answer."""
        task = asyncio.current_task()
        self.in_flight.add(task)
        try:
            yield
        finally:
            self.in_flight.discard(task)
            if self._landed is not None and not self.in_flight:
                self._landed.set_result(None)
                self._landed = None

    async def until_landed(self) -> None:
        """Wait until every call in flight has its answer, or has failed, and that is noted."""
        if self.in_flight:
            if self._landed is None:
                self._landed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._landed)

    def hold(self, estimate: Estimate) -> None:
        """Count what a call may cost, until :meth:`free`, against the budget of the others."""
        self.held += estimate
        self._holding += 1

    def free(self, estimate: Estimate) -> None:
        """Learn that a call has ended, whatever it has cost."""
        self.held -= estimate
        self._holding -= 1
        if self._freed is not None:
            self._freed.set_result(None)
            self._freed = None

    async def until_freed(self) -> bool:
        """Wait until a call has ended that is held; False where there is none."""
        if not self._holding:
            return False
        if self._freed is None:
            self._freed = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._freed)
        return True


def _left(mark: str, failures: int, estimate: Estimate, *, sent: bool) -> dict[str, Any]:
    return {
        "mark": mark,
        "failures": failures,
        "tokens": estimate.tokens,
        "money": f"{estimate.money:f}",
        "sent": sent,
    }


def calls_of(attempt: Attempt) -> Calls:
    """Return the calls of an attempt, loaded on first use."""
    if attempt.flights is None:
        attempt.flights = Calls(attempt.journal)
    assert isinstance(attempt.flights, Calls)
    return attempt.flights
