"""A clock that stands still until it is told to move."""

import asyncio


class FakeClock:
    """Time under the test's control; :meth:`sleep` advances it and returns at once."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds

    async def rest(self, seconds: float) -> None:
        self._now += seconds
        await asyncio.sleep(0)

    advance = sleep
