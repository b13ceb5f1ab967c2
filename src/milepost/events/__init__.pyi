from milepost.events.every import Event
from milepost.events.gates import CircuitChanged, PermissionDecided
from milepost.events.jobs import (
    CheckpointSaved,
    DeliveryDropped,
    JobExpired,
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

__all__ = [
    "CheckpointSaved",
    "CircuitChanged",
    "DeliveryDropped",
    "Event",
    "FlagSourceFailed",
    "JobExpired",
    "JobRecovered",
    "JobRouted",
    "JobSettled",
    "JobStarted",
    "LeaseLost",
    "PermissionDecided",
    "RollbackStepped",
    "ShadowCompared",
    "ShadowFailed",
]
