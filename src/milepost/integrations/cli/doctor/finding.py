"""One thing the doctor has found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    ERROR = "error"
    """Work is lost or stands still."""
    WARNING = "warning"
    """Work is lost, done twice or held up when something goes wrong."""
    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found, why it matters and what to change.

    Attributes:
        level: how bad it is.
        code: its name, for scripts and for the documentation.
        what: what was found.
        why: why it matters, in one line.
        change: what to do.
    """

    level: Level
    code: str
    what: str
    why: str
    change: str


def error(code: str, what: str, why: str, change: str) -> Finding:
    """Return a finding that is an error."""
    return Finding(Level.ERROR, code, what, why, change)


def warning(code: str, what: str, why: str, change: str) -> Finding:
    """Return a finding that is a warning."""
    return Finding(Level.WARNING, code, what, why, change)


def note(code: str, what: str, why: str, change: str) -> Finding:
    """Return a finding that is a note."""
    return Finding(Level.NOTE, code, what, why, change)


def some(names: tuple[str, ...] | list[str], most: int = 5) -> str:
    """Return names as a list for people, not longer than they read."""
    shown = ", ".join(sorted(names)[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
