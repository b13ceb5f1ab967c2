"""The guard before calls that are limited: it waits for its turn, or says how long it would be."""

import asyncio
import logging
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any
from weakref import WeakKeyDictionary

from aiolimiter import AsyncLimiter

from milepost.clock import Clock, SystemClock
from milepost.errors import ConfigurationError, RateLimitedError, StoreError
from milepost.guards.renewal import Renewal
from milepost.limits import Admitted, Answer, Limit, Limits, Permit, Wait

logger = logging.getLogger("milepost")

BURST = 10
"""How many calls one event loop may make at once before they are spread over the window."""
SPREAD = 20
"""Where a window allows more, one part in so many of it may be made at once."""
SOONEST = 1.0
"""Seconds that whoever gives up waiting for a place is told to stay away, at least."""


def check_rate(key: str, max_wait: float | None) -> None:
    """Refuse a guard that cannot work.

    Raises:
        ConfigurationError: *max_wait* is below 0, or *key* is empty.
    """
    if not key or (max_wait is not None and not max_wait >= 0):
        raise ConfigurationError(
            f"limit {key!r}, max_wait={max_wait!r}: it needs a key, and a wait from 0"
        )


class RateGuard:
    """Lets a call pass when the limit of *key* admits it.

    In one process callers wait in line, so that one of them asks the store and the others
    wait for him. In async code calls are also spread over the window, so that a limit of
    600 a minute is not used up in its first second.

    With a store that is not shared, the limit is that of this process alone; ``is_shared``
    says so, and a warning is logged once.

    Args:
        limits: ``store.limits``.
        key: what the calls count under.
        limit: what is allowed there.
        max_wait: seconds a call may wait for its turn; 0: not at all; None: as long as it
            takes.
        clock: for tests.

    Raises:
        ConfigurationError: *max_wait* is below 0, or *key* is empty.
    """

    def __init__(
        self,
        limits: Limits,
        key: str,
        limit: Limit,
        *,
        max_wait: float | None = 5.0,
        clock: Clock | None = None,
    ) -> None:
        check_rate(key, max_wait)
        self.name = key
        self.limit = limit
        self.limits = limits
        self._patience = math.inf if max_wait is None else max_wait
        self._clock = clock or SystemClock()
        self._line = threading.Lock()
        self._lines: WeakKeyDictionary[asyncio.AbstractEventLoop, _Line] = WeakKeyDictionary()
        self._renewal = Renewal(limits, limit.lease / 3)
        self._last_wait = SOONEST
        if not limits.is_shared:
            logger.warning(
                "the limit %r holds in this process alone: its store is not shared with others",
                key,
            )

    @property
    def is_shared(self) -> bool:
        """Whether other processes count in the same limit."""
        return self.limits.is_shared

    def calling(self, tokens: int = 0) -> "RatePassage":
        """Return the passage for one call.

        Entering it waits for the call's turn, at most ``max_wait``, and raises
        :class:`~milepost.errors.RateLimitedError` where that is not enough, and
        :class:`~milepost.errors.LimitExceededError` where no wait is.

        Args:
            tokens: how many the call will take, by estimate; tell the passage later what
                it really took.
        """
        return RatePassage(self, tokens)

    def push(self, seconds: float) -> None:
        """Admit nobody anywhere for so long: the provider said so.

        While the store is away, nobody is told.
        """
        _quietly(self.name, "push", self.limits.push, self.name, seconds)

    # -- asking ------------------------------------------------------------------------

    def acquire(self, tokens: int = 0) -> Permit:
        """Wait for the right to make one call, for those who cannot use ``with``.

        Raises:
            RateLimitedError: the wait would be longer than ``max_wait``.
            LimitExceededError: the call is larger than the limit.
        """
        deadline = self._clock.monotonic() + self._patience
        with self._in_line():
            while True:
                answer = self.limits.acquire(self.name, self.limit, tokens)
                if isinstance(answer, Admitted):
                    return self._kept(answer.permit)
                self._clock.sleep(self._bearable(answer, deadline - self._clock.monotonic()))

    async def acquire_async(self, tokens: int = 0) -> Permit:
        """Do what :meth:`acquire` does, without blocking the event loop."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._patience
        async with self._in_line_of(loop):
            while True:
                answer = await self._ask(tokens)
                if isinstance(answer, Admitted):
                    return self._kept(answer.permit)
                await asyncio.sleep(self._bearable(answer, deadline - loop.time()))

    def close(self, permit: Permit, tokens: int | None = None) -> None:
        """Say that a call is over.

        While the store is away, the call's estimate stands and its place lapses by itself.

        Args:
            permit: what :meth:`acquire` gave.
            tokens: what the call really took; None: what was estimated.
        """
        if self.limit.concurrency is not None:
            self._renewal.drop(permit)
            _quietly(self.name, "call's end", self.limits.release, permit, tokens)
        elif tokens is not None:
            _quietly(self.name, "call's end", self.limits.settle, permit, tokens)

    # -- waiting -----------------------------------------------------------------------

    @contextmanager
    def _in_line(self) -> Iterator[None]:
        """Stand in the line of this process's threads until it is one's turn to ask."""
        if self._patience == 0:
            yield
            return
        timeout = -1 if self._patience == math.inf else self._patience
        if not self._line.acquire(timeout=timeout):
            raise RateLimitedError(self.name, self._last_wait)
        try:
            yield
        finally:
            self._line.release()

    @asynccontextmanager
    async def _in_line_of(self, loop: asyncio.AbstractEventLoop) -> AsyncIterator[None]:
        """The same for the tasks of one event loop, which are spread over the window too."""
        if self._patience == 0:
            yield
            return
        line = self._lines.get(loop) or self._lines.setdefault(loop, _Line(self.limit))
        try:
            async with asyncio.timeout(None if self._patience == math.inf else self._patience):
                await line.enter()
        except TimeoutError:
            raise RateLimitedError(self.name, self._last_wait) from None
        try:
            yield
        finally:
            line.leave()

    def _bearable(self, wait: Wait, left: float) -> float:
        """Return how long to wait, if that is not too long."""
        self._last_wait = max(wait.seconds, SOONEST if wait.which == "concurrency" else 0.0)
        if wait.seconds > left:
            raise RateLimitedError(self.name, self._last_wait)
        return wait.seconds

    async def _ask(self, tokens: int) -> Answer:
        if not self.limits.is_shared:
            return self.limits.acquire(self.name, self.limit, tokens)
        # In a thread: a store that hangs must not stop the event loop with it.
        asking = asyncio.ensure_future(
            asyncio.to_thread(self.limits.acquire, self.name, self.limit, tokens)
        )
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(self._give_back)
            raise

    def _give_back(self, asked: "asyncio.Future[Answer]") -> None:
        """Return what was granted to somebody who is no longer there."""
        if asked.cancelled() or asked.exception() is not None:
            return
        answer = asked.result()
        if isinstance(answer, Admitted):
            asked.get_loop().run_in_executor(None, self.close, answer.permit, 0)

    def _kept(self, permit: Permit) -> Permit:
        if self.limit.concurrency is not None:
            self._renewal.keep(permit)
        return permit


class _Line:
    """The tasks of one event loop that wait for their turn; asyncio's locks belong to a loop."""

    def __init__(self, limit: Limit) -> None:
        self._lock = asyncio.Lock()
        self._pace = _pace(limit)

    async def enter(self) -> None:
        await self._lock.acquire()
        try:
            if self._pace is not None:
                await self._pace.acquire()
        except BaseException:
            self._lock.release()
            raise

    def leave(self) -> None:
        self._lock.release()


def _pace(limit: Limit) -> AsyncLimiter | None:
    """Return what spreads the calls of one event loop; None: so few need no spreading."""
    if limit.requests is None or limit.requests <= BURST:
        return None
    burst = max(BURST, limit.requests / SPREAD)
    return AsyncLimiter(burst, limit.per * burst / limit.requests)


class RatePassage:
    """One call under a limit; see :class:`~milepost.guard.Passage`.

    Attributes:
        permit: set while the call runs.
    """

    permit: Permit

    def __init__(self, guard: RateGuard, tokens: int) -> None:
        self._guard, self._estimate = guard, tokens
        self._actual: int | None = None

    def settle(self, tokens: int) -> None:
        """Note what the call really took; it counts from the end of the passage."""
        self._actual = tokens

    def __enter__(self) -> "RatePassage":
        self.permit = self._guard.acquire(self._estimate)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._guard.close(self.permit, self._actual)

    async def __aenter__(self) -> "RatePassage":
        self.permit = await self._guard.acquire_async(self._estimate)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        guard = self._guard
        if guard.is_shared and (self._actual is not None or guard.limit.concurrency is not None):
            await asyncio.to_thread(guard.close, self.permit, self._actual)
        else:
            guard.close(self.permit, self._actual)


def _quietly(key: str, what: str, verb: Callable[..., None], *facts: Any) -> None:
    """Do what the call's own end must not depend on."""
    try:
        verb(*facts)
    except StoreError as exc:
        logger.warning("the limit %r could not be told of a %s: %s", key, what, exc)
