"""Where a job type stands on its way to Celery, as frozen values."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from milepost.jobs.protocol import Counts
from milepost.routing.modes import Mode
from milepost.routing.shadows import Parity


class State(StrEnum):
    """How far a job type is."""

    LEGACY = "legacy"
    SHADOW = "shadow"
    PERCENTAGE = "percentage"
    MIGRATED = "migrated"
    ROLLED_BACK = "rolled_back"


STATE_OF = {
    Mode.LEGACY: State.LEGACY,
    Mode.SHADOW: State.SHADOW,
    Mode.PERCENTAGE: State.PERCENTAGE,
    Mode.CELERY: State.MIGRATED,
}


@dataclass(frozen=True, slots=True)
class Move:
    """One line of a job type's history.

    Attributes:
        state: where it came to.
        at: when, in seconds since the epoch.
        by: who brought it there.
        version: of the code that was in use.
        note: why.
        share: how many of a hundred of its jobs go to Celery since then.
    """

    state: State
    at: float
    by: str = ""
    version: str = ""
    note: str = ""
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class TypeStatus:
    """Where a job type stands.

    Attributes:
        job_type: which.
        state: as somebody last noted it.
        mode: how its jobs are shared out now, as the flags say.
        share: how many of a hundred go to Celery, or are compared.
        since: when it came to its state; None: nobody has moved it yet.
        by: who brought it there.
        version: of the code that was in use.
        note: why.
        sides: engine → how its jobs stand there; without a system that does not count.
        parity: how its shadow runs compare.
        history: all its moves, the oldest first.
    """

    job_type: str
    state: State
    mode: Mode
    share: float
    since: float | None = None
    by: str = ""
    version: str = ""
    note: str = ""
    sides: Mapping[str, Counts] = field(default_factory=dict)
    parity: Parity = field(default_factory=Parity)
    history: tuple[Move, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it, with the error rate of each side."""
        sides = {
            side: {**asdict(counts), "error_rate": counts.error_rate}
            for side, counts in self.sides.items()
        }
        return {**asdict(self), "sides": sides, "parity": self.parity.as_dict()}


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """How far the whole move is.

    Attributes:
        total: job types there are.
        migrated: those that have moved to Celery for good.
        pending: the others.
        progress: migrated/total, between 0 and 1.
        details: each job type.
    """

    total: int
    migrated: int
    pending: int
    progress: float
    details: tuple[TypeStatus, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**asdict(self), "details": [one.as_dict() for one in self.details]}
