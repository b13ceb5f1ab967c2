"""Limits in Redis, for every process that can reach the same server.

Keys, where ``ns`` is the namespace; each expires once it no longer matters::

    ns:limit:{<key>}         hash   the window
    ns:limit:{<key>}:held    zset   permit → when its place lapses (µs)
    ns:limit:{<key>}:open    zset   permit → when it can no longer be settled (µs)
"""

import secrets
from typing import Any

from milepost.limits import Admitted, Answer, Limit, Permit, Wait, check_request, check_tokens
from milepost.stores.redis.record import text
from milepost.stores.redis.wire import Wire
from milepost.stores.windows import BUCKETS, POLL, SECOND


class RedisLimits:
    """The verbs of :class:`milepost.limits.Limits`, each one script.

    Args:
        wire: the way to the server.
        namespace: of all keys.
    """

    is_shared = True

    def __init__(self, wire: Wire, namespace: str) -> None:
        self._wire = wire
        self._prefix = f"{namespace}:limit:{{"

    def acquire(self, key: str, limit: Limit, tokens: int = 0) -> Answer:
        check_request(key, limit, tokens)
        window, nonce = self._window(key), secrets.token_hex(6)
        allowed = (limit.requests, limit.tokens, limit.concurrency)
        reply = self._wire.run(
            "acquire",
            *(3, window, f"{window}:held", f"{window}:open"),
            *(nonce, _ticks(limit.per), BUCKETS, _ticks(POLL), _ticks(limit.lease)),
            *("" if number is None else number for number in allowed),
            tokens,
        )
        if len(reply) == 1:
            return Admitted(Permit(key, f"{text(reply[0])}.{nonce}", tokens, limit.lease))
        return Wait(int(reply[0]) / SECOND, text(reply[1]))

    def settle(self, permit: Permit, tokens: int) -> None:
        check_tokens(permit.key, tokens)
        self._wire.run("settle_permit", *self._settled(permit, tokens))

    def release(self, permit: Permit, tokens: int | None = None) -> None:
        held = f"{self._window(permit.key)}:held"
        if tokens is None:
            self._wire.ask(("ZREM", held, permit.id))
            return
        check_tokens(permit.key, tokens)
        # One round trip for both.
        self._wire.run("settle_permit", *self._settled(permit, tokens, held))

    def renew(self, permit: Permit) -> bool:
        held = f"{self._window(permit.key)}:held"
        return bool(self._wire.run("renew_permit", 1, held, permit.id, _ticks(permit.lease)))

    def push(self, key: str, seconds: float) -> None:
        self._wire.run("push", 1, self._window(key), _ticks(seconds))

    def _settled(self, permit: Permit, tokens: int, *held: str) -> tuple[Any, ...]:
        """Return the script's number of keys, keys and arguments."""
        window, end = self._window(permit.key), permit.id.partition(".")[0]
        keys = (window, f"{window}:open", *held)
        return (len(keys), *keys, permit.id, end, tokens - permit.tokens)

    def _window(self, key: str) -> str:
        return f"{self._prefix}{key}}}"


def _ticks(seconds: float) -> int:
    return round(seconds * SECOND)
