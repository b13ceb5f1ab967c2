"""What the journal saves, as it sees it: the task's own state, and loops that are open."""

from collections.abc import Mapping
from typing import Protocol

from milepost.engine.scope import Scope


class Savable(Protocol):
    """Something that changes between checkpoints and knows how to put that into fields."""

    def unsaved(self) -> Mapping[str, bytes]:
        """Return the fields to write (empty if nothing changed)."""
        ...

    def saved(self) -> None:
        """Learn that what :meth:`unsaved` last returned is in the store."""
        ...


class OwnState(Savable, Protocol):
    """The task's own state.

    Attributes:
        noted: what the next checkpoint saves of it, encoded.
    """

    noted: bytes | None

    def take_in(self) -> None:
        """Let the state as it is now be what the next checkpoint saves."""
        ...

    def check_unchanged(self, path: str) -> None:
        """Refuse a change since the current item of a loop was recorded as done."""
        ...


class OpenLoop(Savable, Protocol):
    """A loop whose body may be running.

    Attributes:
        path: where in the code it stands.
        scope: the names used in its current item, or None while there are none.
        done: items finished.
        total: items there are, where that is known.
        ahead: whether its current item is not to be counted when it ends: it is recorded as
            done already, or the body is to stop.
        seconds: how long it may go without a checkpoint.
    """

    path: str
    scope: Scope | None
    done: int
    total: int | None
    ahead: bool
    seconds: float

    @property
    def item_prefix(self) -> str:
        """Return what the fields of its current item begin with, after their kind."""
        ...
