"""Limits in a table of their own: one row per key, locked while Python decides."""

import json
import secrets
from collections.abc import Callable
from typing import TypeVar

from milepost.limits import Answer, Limit, Permit, check_request, check_tokens
from milepost.stores.sql.database import Database, transaction
from milepost.stores.sql.dialect import Link
from milepost.stores.windows import SECOND, Window

T = TypeVar("T")


class SqlLimits:
    """The verbs of :class:`milepost.limits.Limits`.

    Args:
        database: where the table is.
    """

    is_shared = True

    def __init__(self, database: Database) -> None:
        self._call, self._sql = database.call, database.sql

    def acquire(self, key: str, limit: Limit, tokens: int = 0) -> Answer:
        check_request(key, limit, tokens)
        nonce = secrets.token_hex(6)
        return self._change(key, lambda window, now: window.acquire(now, key, limit, tokens, nonce))

    def settle(self, permit: Permit, tokens: int) -> None:
        check_tokens(permit.key, tokens)
        self._change(permit.key, lambda window, _: window.settle(permit, tokens))

    def release(self, permit: Permit, tokens: int | None = None) -> None:
        if tokens is not None:
            check_tokens(permit.key, tokens)

        def decide(window: Window, _: int) -> None:
            if tokens is not None:
                window.settle(permit, tokens)
            window.release(permit)

        self._change(permit.key, decide)

    def renew(self, permit: Permit) -> bool:
        return self._change(permit.key, lambda window, now: window.renew(now, permit))

    def push(self, key: str, seconds: float) -> None:
        self._change(key, lambda window, now: window.push(now, seconds))

    def purge(self) -> None:
        """Drop the windows that no longer matter."""
        self._call(lambda link, _: link.run(self._sql.drop_windows, {}))

    def _change(self, key: str, decide: Callable[[Window, int], T]) -> T:
        def work(link: Link, _: int) -> T:
            with transaction(link):
                # The time is read after the lock is taken: whoever waited for it must not
                # be counted as if it had come before those it waited for.
                ((kept, now),) = link.fetch(self._sql.lock_window, {"name": key})
                window = Window.of(json.loads(kept)) if kept else Window()
                answer = decide(window, round(now * SECOND))
                params = {
                    "name": key,
                    "kept": json.dumps(window.plain(), separators=(",", ":")),
                    "idle_from": window.idle_from / SECOND,
                }
                link.run(self._sql.keep_window, params)
                return answer

        return self._call(work)
