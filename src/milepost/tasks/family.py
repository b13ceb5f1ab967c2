"""A budget that a job shares with its family: all jobs of one canvas, and all that they send.

It is kept as a limit in the store, under the id of the family's root: taken and settled by
whoever of them calls, and forgotten when nobody has called for long.
"""

import asyncio
import logging
from concurrent.futures import Future
from decimal import Decimal

from milepost.budget import Budget, Estimate
from milepost.errors import LimitExceededError, StoreError
from milepost.limits import Admitted, Limit, Limits, Permit

logger = logging.getLogger("milepost")

KEPT = 30 * 86400.0
"""Seconds for which what was spent counts."""
PARTS = 1_000_000
"""Parts of a unit of money that are counted."""


class FamilyBudget:
    """What one family may spend.

    Args:
        limits: of the store.
        root_id: the Celery id of the family's root.
        budget: the most that all of them may spend.
    """

    def __init__(self, limits: Limits, root_id: str, budget: Budget) -> None:
        self._limits, self.budget = limits, budget
        amounts = {"tokens": budget.tokens, "money": budget.money}
        self._most = {
            f"llm/family/{root_id}/{kind}": Limit(tokens=_counted(kind, amount), per=KEPT)
            for kind, amount in amounts.items()
            if amount is not None
        }
        self.words = " and ".join(
            f"{amount:,} {kind}" for kind, amount in amounts.items() if amount
        )

    def take(self, estimate: Estimate) -> list[Permit] | None:
        """Take what a call may cost, or nothing, and return None, where that is too much."""
        taken: list[Permit] = []
        for key, limit in self._most.items():
            try:
                answer = self._limits.acquire(key, limit, _part(key, estimate))
            except LimitExceededError:
                answer = None
            except BaseException:
                self.settle(taken, Estimate())
                raise
            if not isinstance(answer, Admitted):
                self.settle(taken, Estimate())
                return None
            taken.append(answer.permit)
        return taken

    async def take_aside(self, estimate: Estimate) -> list[Permit] | None:
        """Do what :meth:`take` does in a thread. Who is cancelled meanwhile has taken nothing."""
        taking: Future[list[Permit] | None] = Future()

        def take() -> None:
            try:
                taking.set_result(self.take(estimate))
            except BaseException as exc:  # raised where the result is asked for
                taking.set_exception(exc)

        try:
            await asyncio.to_thread(take)
        except asyncio.CancelledError:
            # By the thread itself: the event loop may not run any more when that is done.
            taking.add_done_callback(self._give_back)
            raise
        return taking.result()

    def _give_back(self, taken: "Future[list[Permit] | None]") -> None:
        if taken.exception() is None:
            self.settle(taken.result() or [], Estimate())

    async def settle_aside(self, taken: list[Permit], used: Estimate) -> None:
        """Do what :meth:`settle` does in a thread, which a cancellation does not keep from it."""
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(None, self.settle, taken, used))

    def settle(self, taken: list[Permit], used: Estimate) -> None:
        """Put what a call has really cost in place of what was taken.

        While the store is away, what was taken stands: the call's own end must not depend on it.
        """
        for permit in taken:
            try:
                self._limits.settle(permit, _part(permit.key, used))
            except StoreError as exc:
                logger.warning("%r could not be told what a call has cost: %s", permit.key, exc)


def _part(key: str, estimate: Estimate) -> int:
    kind = key.rpartition("/")[2]
    return _counted(kind, estimate.tokens if kind == "tokens" else estimate.money)


def _counted(kind: str, amount: Decimal | float | str) -> int:
    """Return an amount as a whole number, rounded up."""
    parts = Decimal(str(amount)) * (PARTS if kind == "money" else 1)
    return int(parts.to_integral_value(rounding="ROUND_CEILING"))
