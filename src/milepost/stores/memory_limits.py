"""Limits in this process's memory: those of one process, whatever others do."""

import secrets
import threading

from milepost.clock import Clock
from milepost.limits import Answer, Limit, Permit, check_request, check_tokens
from milepost.stores.windows import SECOND, Window

SWEEP = 1000
"""How many keys are kept before those that no longer matter are looked for."""


class MemoryLimits:
    """Limits in a dictionary; see :class:`milepost.limits.Limits`.

    Args:
        clock: where to read time.
    """

    is_shared = False

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._windows: dict[str, Window] = {}
        self._sweep_at = SWEEP
        self._lock = threading.Lock()

    def acquire(self, key: str, limit: Limit, tokens: int = 0) -> Answer:
        check_request(key, limit, tokens)
        with self._lock:
            window = self._window(key)
            return window.acquire(self._now(), key, limit, tokens, secrets.token_hex(6))

    def settle(self, permit: Permit, tokens: int) -> None:
        check_tokens(permit.key, tokens)
        with self._lock:
            self._window(permit.key).settle(permit, tokens)

    def release(self, permit: Permit, tokens: int | None = None) -> None:
        if tokens is not None:
            self.settle(permit, tokens)
        with self._lock:
            self._window(permit.key).release(permit)

    def renew(self, permit: Permit) -> bool:
        with self._lock:
            return self._window(permit.key).renew(self._now(), permit)

    def push(self, key: str, seconds: float) -> None:
        with self._lock:
            self._window(key).push(self._now(), seconds)

    def _now(self) -> int:
        return round(self._clock.now() * SECOND)

    def _window(self, key: str) -> Window:
        if len(self._windows) > self._sweep_at:
            now = self._now()
            self._windows = {k: w for k, w in self._windows.items() if w.idle_from > now}
            self._sweep_at = max(2 * len(self._windows), SWEEP)
        return self._windows.setdefault(key, Window())
