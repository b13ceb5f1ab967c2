from milepost.routing.bundle import Routing, RoutingRuntime, put_together, routing_of
from milepost.routing.flags import EnvironmentFlags, FeatureFlags, FlagSource, StaticFlags
from milepost.routing.legacy import BackgroundJobManager
from milepost.routing.migration import MigrationTracker
from milepost.routing.modes import Engine, Mode, is_shadow
from milepost.routing.outcomes import ErrorLimit
from milepost.routing.rollback import RollbackManager
from milepost.routing.router import JobRouter

__all__ = [
    "BackgroundJobManager",
    "Engine",
    "EnvironmentFlags",
    "ErrorLimit",
    "FeatureFlags",
    "FlagSource",
    "JobRouter",
    "MigrationTracker",
    "Mode",
    "RollbackManager",
    "Routing",
    "RoutingRuntime",
    "StaticFlags",
    "is_shadow",
    "put_together",
    "routing_of",
]
