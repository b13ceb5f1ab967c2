"""What happened, as frozen facts. Observers get these and nothing they could poke."""

from milepost.face import face

_HOMES = {
    "every": ("Event",),
    "gates": ("CircuitChanged", "PermissionDecided"),
    "jobs": (
        "CheckpointSaved",
        "DeliveryDropped",
        "JobExpired",
        "JobRecovered",
        "JobSettled",
        "JobStarted",
        "LeaseLost",
    ),
    "moves": ("FlagSourceFailed", "JobRouted", "RollbackStepped", "ShadowCompared", "ShadowFailed"),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
