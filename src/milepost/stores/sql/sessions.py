"""One connection per thread and process: opened on first use, never shared, safe to fork."""

import itertools
import os
import secrets
import threading
from collections.abc import Callable, Iterator

from milepost.stores.sql.dialect import Link


def draw() -> int:
    """Return a number that no other call is likely to have."""
    return secrets.randbits(62)


class Session:
    """A thread's connection.

    Attributes:
        link: the connection.
        lock: held while the link is in use, so that :meth:`Sessions.close` can wait for it.
        calls: numbers for calls, unlike those of any other session.
        closed: whether it was given back.
    """

    __slots__ = ("calls", "closed", "link", "lock", "pid", "thread")

    def __init__(self, link: Link) -> None:
        self.link = link
        self.lock = threading.Lock()
        self.calls: Iterator[int] = itertools.count(draw())
        self.closed = False
        self.pid = os.getpid()
        self.thread = threading.current_thread()

    def close(self) -> None:
        """Give the connection back; the caller holds the lock or owns the thread."""
        if not self.closed:
            self.closed = True
            self.link.close()


class Sessions:
    """The sessions of one store.

    Args:
        connect: opens a link that is ready for use.
    """

    def __init__(self, connect: Callable[[], Link]) -> None:
        self._connect = connect
        self._local = threading.local()
        # By process: what a fork brought along stays referenced under its parent's id, so
        # that nothing in the child ever closes it.
        self._open: dict[int, list[Session]] = {}

    def get(self) -> Session:
        """Return this thread's session, opened now if there is none."""
        session: Session | None = getattr(self._local, "session", None)
        if session is None or session.closed or session.pid != os.getpid():
            session = self._local.session = self._enter()
        return session

    def _enter(self) -> Session:
        mine = self._open.setdefault(os.getpid(), [])
        for old in tuple(mine):
            if old.closed or not old.thread.is_alive():
                self._leave(mine, old)
        session = Session(self._connect())
        mine.append(session)
        return session

    def close(self) -> None:
        """Close every connection of this process, each after its current statement."""
        mine = self._open.get(os.getpid(), [])
        for session in tuple(mine):
            with session.lock:
                self._leave(mine, session)

    @staticmethod
    def _leave(mine: list[Session], session: Session) -> None:
        if session in mine:
            mine.remove(session)
        session.close()
