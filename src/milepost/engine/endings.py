"""How carrying a job ended, as the engine tells it to the tasks floor."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from milepost.errors import StoreUnavailableError
from milepost.model import JobStatus, Refused

RESULT_NOT_KEPT = "its result is not kept in the record"
"""The reason on record of a success whose return value is nowhere."""


@dataclass(frozen=True, slots=True)
class Completed:
    """The body returned, and its outcome is recorded."""

    value: Any


@dataclass(frozen=True, slots=True)
class Stopped:
    """The attempt ended without an outcome of its own: suspended, cancelled or superseded."""

    status: JobStatus | None
    reason: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The delivery must not run now; the record says why."""

    refused: Refused


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """The store stayed away before anything ran; the delivery must come again."""

    error: StoreUnavailableError


Ending: TypeAlias = Completed | Stopped | Dropped | Unclaimed
"""How carrying a job ended. An error of the body is raised instead, once it is recorded."""
