"""The lease at work: every write of an attempt goes through here, fenced and patient."""

import logging
from collections.abc import Callable
from typing import TypeVar

from milepost.engine.scope import called
from milepost.engine.stored import parked
from milepost.errors import (
    LeaseLostError,
    NoKeysError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from milepost.events import LeaseLost
from milepost.interrupts import Superseded
from milepost.model import Delta, Lease, Settlement, Signal
from milepost.runtime import Runtime

logger = logging.getLogger("milepost")
T = TypeVar("T")

PATIENCE = 60.0
"""Seconds an attempt outwaits an unreachable store before it steps aside."""
FIRST_WAIT, LONGEST_WAIT = 0.05, 2.0


def outwait(runtime: Runtime, ask: Callable[[], T]) -> T:
    """Ask the store, again and again while it is unreachable, for at most PATIENCE seconds.

    A store that restarts must not cost a job of two days; every verb may be repeated.

    Raises:
        StoreUnavailableError: it stayed away for longer.
    """
    clock, wait = runtime.clock, FIRST_WAIT
    give_up_at = clock.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except StoreUnavailableError as exc:
            if clock.monotonic() + wait > give_up_at:
                raise
            logger.warning("%s; asking again in %.2f s", exc, wait)
            clock.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)


class Leased:
    """The store as one attempt may use it. A refused write ends the attempt at once."""

    __slots__ = ("_runtime", "lease", "lost")

    def __init__(self, runtime: Runtime, lease: Lease) -> None:
        self._runtime = runtime
        self.lease = lease
        self.lost = False

    def commit(self, delta: Delta) -> Signal | None:
        """Write a checkpoint.

        Raises:
            Superseded: another attempt has the job, or the store stayed away.
            Suspend: there is no key to encrypt it with, and nothing was written.
            ValueTooLargeError: a value is larger than the store accepts; nothing was written.
        """
        if self.lost:
            raise Superseded
        try:
            return self._runtime.store.commit(self.lease, delta)
        except StoreUnavailableError:
            return self.outlast(lambda: self._runtime.store.commit(self.lease, delta))
        except LeaseLostError:
            raise self.refused() from None
        except NoKeysError as exc:
            raise parked(exc) from None
        except ValueTooLargeError as exc:
            raise _in_words(exc, delta) from None

    def settle(self, settlement: Settlement) -> None:
        """End the attempt.

        Raises:
            Superseded: as for :meth:`commit`.
            ValueTooLargeError: likewise.
        """
        if self.lost:
            raise Superseded
        try:
            self.outlast(lambda: self._runtime.store.settle(self.lease, settlement))
        except ValueTooLargeError as exc:
            raise _in_words(exc, settlement.delta) from None

    def lose(self) -> Superseded:
        """Note that the lease is gone; returns what to raise."""
        self.lost = True
        self._runtime.emit(LeaseLost(self.lease.job_id, self.lease.fence))
        return Superseded()

    def refused(self) -> Superseded:
        """Note that the lease is gone, and say why the body stops; returns what to raise.

        Celery says no more than that it was ignored.
        """
        logger.warning(
            "job %s: this attempt may no longer write, and stops: another one has the job, "
            "it was cancelled by force, or its record is gone",
            self.lease.job_id,
        )
        return self.lose()

    def outlast(self, ask: Callable[[], T]) -> T:
        """Ask the store, with the patience of an attempt that has a lease.

        Raises:
            Superseded: as for :meth:`commit`.
        """
        try:
            return outwait(self._runtime, ask)
        except LeaseLostError:
            raise self.refused() from None
        except StoreUnavailableError as exc:
            # The record still says running; once the store is back, its lease has lapsed
            # and the recovery carries the job on from its last checkpoint.
            logger.error("job %s steps aside: %s", self.lease.job_id, exc)
            raise self.lose() from exc


def _in_words(exc: ValueTooLargeError, delta: Delta) -> ValueTooLargeError:
    """Return an error that says what people know the field as; not one that is secret."""
    if exc.known_as or exc.field not in delta.writes:
        return exc
    return ValueTooLargeError(exc.field, exc.size, exc.limit, called(exc.field))
