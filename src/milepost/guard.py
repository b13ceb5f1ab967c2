"""The socket for guards: what stands before a call to somebody else.

A guard lets a call pass, makes it wait, or refuses it with a
:class:`~milepost.errors.CallRefusedError` that says when to come again.
"""

from types import TracebackType
from typing import Any, Protocol

from milepost.observer import Emitter
from milepost.store import Store


class Passage(Protocol):
    """One call through a guard: a context manager, for ``with`` and for ``async with``.

    Entering asks the guard, leaving tells it how the call ended. Nothing is locked while
    the call runs, and a passage is used once.
    """

    def __enter__(self) -> Any:
        """Ask to pass; blocks while waiting."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell how the call ended; its error goes on."""
        ...

    async def __aenter__(self) -> Any:
        """Ask to pass, without blocking the event loop."""
        ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell how the call ended, without blocking the event loop."""
        ...


class Guard(Protocol):
    """Something that stands before calls; safe to share between threads and event loops."""

    @property
    def name(self) -> str:
        """What it guards, in the words of those who declared it."""
        ...

    def calling(self) -> Passage:
        """Return the passage for one call.

        Entering it raises :class:`~milepost.errors.CallRefusedError` where the call must
        not be made now.
        """
        ...


class Declaration(Protocol):
    """A guard as a task's class declares it, when there is no store yet."""

    def build(self, store: Store, emit: Emitter) -> Guard:
        """Return the guard; called once per process."""
        ...
