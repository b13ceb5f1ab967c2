"""All that can happen, as one type."""

from typing import TypeAlias

from milepost.events.gates import (
    CircuitChanged,
    PermissionDecided,
)
from milepost.events.jobs import (
    CheckpointSaved,
    DeliveryDropped,
    JobRecovered,
    JobSettled,
    JobStarted,
    LeaseLost,
)
from milepost.events.moves import (
    FlagSourceFailed,
    JobRouted,
    RollbackStepped,
    ShadowCompared,
    ShadowFailed,
)

Event: TypeAlias = (
    JobStarted
    | CheckpointSaved
    | JobSettled
    | LeaseLost
    | DeliveryDropped
    | JobRecovered
    | CircuitChanged
    | PermissionDecided
    | JobRouted
    | FlagSourceFailed
    | ShadowCompared
    | ShadowFailed
    | RollbackStepped
)
