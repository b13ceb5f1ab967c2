"""The lean way to Redis: one connection per thread, one packed command, one reply.

It stands on redis-py's own ``Connection`` (sockets, TLS, authentication, parsing) and leaves
out what costs more than the round trip itself: the pool, the retry policy, the metrics and
the response callbacks of a full client.
"""

import re
import threading
import time
import weakref
from collections.abc import Callable
from os import getpid
from typing import Any, NoReturn, TypeAlias

from redis import exceptions
from redis.exceptions import NoScriptError, RedisError, ResponseError

from milepost import extras
from milepost.errors import StoreError, StoreUnavailableError
from milepost.stores.redis import lua
from milepost.stores.redis.address import read_address

Command: TypeAlias = tuple[Any, ...]
Doubt: TypeAlias = Callable[[Command], Command]

_pack: Any = getattr(extras.find("hiredis"), "pack_command", None)

_BROKEN = (exceptions.ConnectionError, exceptions.TimeoutError)
_CLUSTER = (
    exceptions.AskError,
    exceptions.ClusterCrossSlotError,
    exceptions.ClusterDownError,
    exceptions.MovedError,
)
_CODES = {
    exceptions.OutOfMemoryError: "OOM",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.NoPermissionError: "NOPERM",
}
"""The codes that redis-py before 8 cuts off its errors."""
_REFUSALS = re.compile(
    r"\b(OOM|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|LOADING|BUSY|TRYAGAIN|NOPERM|NOAUTH)\b"
)
"""Codes of a server that answers, but cannot serve now; inside a script's error in Redis 6."""
_MOVED_ON = re.compile(r"\b(READONLY|MASTERDOWN)\b")


class _Slot(threading.local):
    """What a thread keeps: a connection that is not in use, and where it was opened."""

    connection: Any = None
    pid: int = 0


class Wire:
    """Commands to one Redis, from any thread of any process.

    A connection leaves its thread's slot while it is in use and comes back with its reply
    read to the end. Whatever interrupts a command (a time limit's exception, a fork, another
    command from a signal handler) therefore never leaves a half-read reply to the next one.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        timeout: seconds a command may wait for its reply, and before that for a connection.

    Attributes:
        name: the URL without user, password and options.
    """

    def __init__(self, url: str, timeout: float) -> None:
        self._address = read_address(url)
        self._timeout = min(timeout, self._address.timeout or timeout)
        self.name = self._address.name
        self._slot = _Slot()
        self._opened: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def ask(self, command: Command, in_doubt: Doubt | None = None) -> Any:
        """Send a command and return its reply.

        A connection that breaks is replaced, and the command sent once more if there is time.

        Args:
            command: its words: text, bytes or integers.
            in_doubt: told the command when nobody knows whether it was executed; returns
                what to send in its place. None: the same again is right.

        Raises:
            StoreUnavailableError: no answer in time, or the server cannot serve now.
            StoreError: the server refuses the command.
        """
        slot = self._slot
        connection, slot.connection = slot.connection, None
        started = time.monotonic()
        if connection is None or slot.pid != getpid():
            connection = self._open(self._timeout)
        try:
            reply = self._talk(connection, command)
        except ResponseError as exc:
            if not _MOVED_ON.search(_words_of(exc)):
                slot.connection = connection
            self._fail(exc)
        except _BROKEN as exc:
            return self._ask_again(command, in_doubt, started + self._timeout, exc)
        except BaseException:
            if in_doubt:
                in_doubt(command)
            raise
        slot.connection = connection
        return reply

    def run(self, verb: str, *rest: Any) -> Any:
        """Run the script of a verb; *rest* is its number of keys, the keys, the arguments."""
        return self.ask(("EVALSHA", lua.script(verb).sha, *rest))

    def close(self) -> None:
        """Close the connections of all threads of this process; later commands open them again."""
        for reference in list(self._opened.valuerefs()):
            connection = reference()
            if connection is not None and connection.pid == getpid():
                connection.disconnect()

    def _open(self, timeout: float) -> Any:
        connection = self._address.connection(timeout)
        try:
            connection.connect()
        except RedisError as exc:
            self._fail(exc)
        self._slot.pid = getpid()
        self._opened[id(connection)] = connection
        return connection

    def _ask_again(
        self, command: Command, in_doubt: Doubt | None, deadline: float, first: RedisError
    ) -> Any:
        if in_doubt:
            command = in_doubt(command)
        left = deadline - time.monotonic()
        if left <= 0:
            self._fail(first)
        # Its timeout is what the first sending left over, so it serves this one command only.
        connection = self._open(left)
        try:
            return self._talk(connection, command)
        except RedisError as exc:
            if in_doubt:
                in_doubt(command)
            self._fail(exc)
        finally:
            connection.disconnect()

    def _talk(self, connection: Any, command: Command) -> Any:
        connection.send_packed_command(_packed(connection, command), check_health=False)
        try:
            return connection.read_response()
        except NoScriptError:
            # A new, restarted or flushed server: nothing of the script was executed. The
            # connection is renewed because fakeredis hangs up after an error.
            connection.disconnect()
            self._talk(connection, ("SCRIPT", "LOAD", lua.text_of(command[1])))
            connection.send_packed_command(_packed(connection, command), check_health=False)
            return connection.read_response()

    def _fail(self, exc: RedisError) -> NoReturn:
        """Raise the store's word for an error of the driver: the only place that does."""
        words = _words_of(exc)
        if isinstance(exc, _CLUSTER):
            raise StoreError(
                f"store {self.name} is a Redis Cluster: the Redis store needs a standalone "
                f"server or a Sentinel's master ({words})"
            ) from exc
        if isinstance(exc, _BROKEN) or _REFUSALS.search(words):
            raise StoreUnavailableError(self.name, words) from exc
        raise StoreError(f"store {self.name} refused a command: {words}") from exc


def _words_of(exc: RedisError) -> str:
    code = getattr(exc, "status_code", None) or _CODES.get(type(exc))
    return f"{code} {exc}" if code else f"{exc}" or type(exc).__name__


def _packed(connection: Any, command: Command) -> Any:
    try:
        return [_pack(command)] if _pack else connection.pack_command(*command)
    except UnicodeEncodeError:
        # Names made from file names may hold what strict UTF-8 refuses.
        return _packed(connection, tuple(_encoded(word) for word in command))


def _encoded(word: Any) -> Any:
    return word.encode("utf-8", "surrogatepass") if isinstance(word, str) else word
