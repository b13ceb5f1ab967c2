"""Two systems of jobs side by side: which one a job goes to, and the way there and back."""

from milepost.face import face

_HOMES = {
    "bundle": ("Routing", "RoutingRuntime", "put_together", "routing_of"),
    "flags": ("EnvironmentFlags", "FeatureFlags", "FlagSource", "StaticFlags"),
    "legacy": ("BackgroundJobManager",),
    "migration": ("MigrationTracker",),
    "modes": ("Engine", "Mode", "is_shadow"),
    "outcomes": ("ErrorLimit",),
    "rollback": ("RollbackManager",),
    "router": ("JobRouter",),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
