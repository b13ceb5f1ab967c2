"""Everything that moves jobs between two systems, put together for one app."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from milepost.errors import ConfigurationError
from milepost.jobs import JobManager
from milepost.jobs.gate import Gate
from milepost.registry import TaskRegistry
from milepost.routing.consumers import Consumers
from milepost.routing.draining import Drain
from milepost.routing.flags import FeatureFlags, FlagSource
from milepost.routing.migration import MigrationTracker
from milepost.routing.outcomes import ErrorLimit
from milepost.routing.overseer import Overseer
from milepost.routing.rollback import RollbackManager
from milepost.routing.router import JobRouter
from milepost.routing.rules import StoredFlags
from milepost.routing.shadows import Compare, Comparer, differ
from milepost.routing.steps import Steps, Traffic
from milepost.runtime import ROUTING, Runtime, attached


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """What a host says of its move from another system of jobs.

    Attributes:
        legacy: the manager of that system, or the name that a plugin gives to it. None: there
            is none, or none any more.
        flags: sources of flags that are asked after what was switched at runtime, or the names
            that plugins give to them.
        fall_back: whether a job goes to the legacy system when Celery's broker is down.
        error_limit: how many jobs of a type may fail before it goes back by itself; None: any.
        compare: says what differs between the two results of a job and its shadow.
        traffic: called in an emergency.
    """

    legacy: JobManager | str | None = None
    flags: Sequence[FlagSource | str] = ()
    fall_back: bool = False
    error_limit: ErrorLimit | None = None
    compare: Compare = differ
    traffic: Traffic | None = None

    def __post_init__(self) -> None:
        if self.legacy is None and (self.fall_back or self.error_limit):
            raise ConfigurationError("there is no legacy system to fall or to go back to")


@dataclass(frozen=True, slots=True)
class RoutingRuntime:
    """One application's routing, as its users and its workers have it."""

    flags: FeatureFlags
    router: JobRouter
    migrations: MigrationTracker
    rollbacks: RollbackManager
    comparer: Comparer
    overseer: Callable[[], Overseer | None]


def put_together(
    app: Any,
    routing: Routing,
    registry: TaskRegistry,
    provide: Callable[[], Runtime],
) -> RoutingRuntime:
    """Return the routing of one app. Nothing is connected by that.

    Args:
        app: the Celery app.
        routing: what its host says; names of plugins' are replaced by now.
        registry: the job types.
        provide: gives the app's runtime.
    """
    legacy, task_of = cast("JobManager | None", routing.legacy), registry.task_name
    sources = cast("Sequence[FlagSource]", routing.flags)
    stored = StoredFlags(lambda: provide().store.documents, lambda: provide().clock)
    flags = FeatureFlags(stored, sources, lambda event: provide().emit(event), Gate(app))
    consumers = Consumers(app)
    tracker = MigrationTracker(
        app,
        provide,
        lambda: [one.name for one in registry.get_all_job_types()],
        task_of,
        registry.get_task,
        flags,
        consumers,
        legacy,
    )
    drain = Drain(app, legacy)
    steps = Steps(provide, flags, tracker, consumers, drain, legacy=legacy, traffic=routing.traffic)
    rollbacks = RollbackManager(app, provide, tracker.job_types, steps)
    comparer = Comparer(app, provide, legacy, routing.compare)
    router = JobRouter(app, provide, flags, registry, legacy=legacy, fall_back=routing.fall_back)

    def overseer() -> Overseer | None:
        if legacy is None:
            return None
        return Overseer(
            provide(), flags, tracker, rollbacks, comparer, task_of, routing.error_limit
        )

    return RoutingRuntime(flags, router, tracker, rollbacks, comparer, overseer)


def routing_of(app: Any) -> RoutingRuntime:
    """Return the routing that ``Milepost(app)`` attached to a Celery app.

    Raises:
        ConfigurationError: nobody did.
    """
    routing: RoutingRuntime = attached(app, ROUTING)()
    return routing
