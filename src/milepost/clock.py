"""Time, as a thing that is handed in, so that tests own it."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where the engine reads time. Stores use their own server's clock instead."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never jump."""
        ...

    def sleep(self, seconds: float) -> None:
        """Block for *seconds*."""
        ...

    async def rest(self, seconds: float) -> None:
        """Let other coroutines run for *seconds*."""
        ...


class SystemClock:
    """The machine's clock."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)
    sleep = staticmethod(time.sleep)
    rest = staticmethod(asyncio.sleep)
