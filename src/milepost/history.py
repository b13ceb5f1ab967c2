"""A job's history: who did what to it and when, as lines that every store can append.

A line is ``<milliseconds since the epoch> TAB act TAB by TAB note``. A history is bounded: its
oldest lines are dropped, so that a job that snoozes for a year does not grow.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from milepost.ciphertext import hide

LONGEST = 8000
"""Characters of a history that are kept."""
MOST = 100
"""Entries that are kept, where they are kept as values."""
NOTE_LENGTH = 200
_GAPS = str.maketrans({"\t": " ", "\n": " ", "\r": " ", "\0": " "})


class Act(StrEnum):
    """What somebody does to a job from outside."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    WAKE = "wake"
    """Start a job now that waits for its moment."""
    RETRY = "retry"
    """Let a job that has failed go on from its checkpoint."""
    RESTART = "restart"
    """Let a job begin again."""


EXPIRED = "expired"
"""What the reason begins with for which a job is cancelled that has not begun in time."""

CRASH = "crash"
"""The act of an attempt whose process died."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a job's history.

    Attributes:
        at: when, in seconds since the epoch on the store's clock.
        act: what: one of :class:`Act`, ``crash``, or the status that an attempt ended with.
        by: who: whoever asked, or the worker.
        note: why, in words.
    """

    at: float
    act: str
    by: str = ""
    note: str = ""


def line(act: str, by: str | None = "", note: str | None = "") -> str:
    """Return an entry without its time, to be appended behind the store's own."""
    return "\t".join(("", act, _short(by), _short(note))) + "\n"


def read(text: str | None) -> tuple[Entry, ...]:
    """Return the entries of a stored history, oldest first."""
    lines = (text or "").split("\n")[:-1]
    parts = [line.split("\t") for line in lines]
    # A store may have cut the first line, and marks that so that no time is read from it.
    return tuple(Entry(int(p[0]) / 1000, *p[1:]) for p in parts if len(p) == 4 and p[0].isdigit())


def written(entries: Sequence[Entry]) -> str:
    """Return entries as :func:`read` reads them, without the oldest if there are too many."""
    text = "".join(f"{round(e.at * 1000)}{line(e.act, e.by, e.note)}" for e in entries)
    if len(text) <= LONGEST:
        return text
    cut = text[-LONGEST:]
    return cut[cut.index("\n") + 1 :]


def with_entry(
    entries: tuple[Entry, ...], at: float, act: str, by: str | None, note: str | None
) -> tuple[Entry, ...]:
    """Return a history with one more entry."""
    return (*entries[1 - MOST :], Entry(at, str(act), _short(by), _short(note)))


def _short(words: str | None) -> str:
    # Ciphertext would be cut here, and no key rotation would reach it.
    text = hide(words or "").translate(_GAPS)[:NOTE_LENGTH]
    return text.encode("utf-8", "replace").decode()
