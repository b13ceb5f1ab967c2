"""Guards as a task's class declares them: ``guards = (Breaker("mail"), Rate("mail", limit))``."""

from dataclasses import asdict, dataclass

from milepost.guards.breaker import BreakerGuard, check_breaker
from milepost.guards.circuit import Policy
from milepost.guards.rate import RateGuard, check_rate
from milepost.limits import Limit
from milepost.observer import Emitter
from milepost.store import Store


@dataclass(frozen=True, slots=True)
class Rate:
    """A :class:`~milepost.guards.rate.RateGuard` before a task's body.

    Attributes:
        key: what each body counts under.
        limit: what is allowed there.
        max_wait: seconds a body waits in its slot before it gives the slot up.

    Raises:
        ConfigurationError: *max_wait* is below 0, or *key* is empty.
    """

    key: str
    limit: Limit
    max_wait: float = 0.0

    def __post_init__(self) -> None:
        check_rate(self.key, self.max_wait)

    def build(self, store: Store, emit: Emitter) -> RateGuard:  # noqa: ARG002
        """Return the guard on a store."""
        return RateGuard(store.limits, self.key, self.limit, max_wait=self.max_wait)


@dataclass(frozen=True, slots=True)
class Breaker:
    """A :class:`~milepost.guards.breaker.BreakerGuard` before a task's body.

    Attributes:
        name: what the body calls.
        fail_max: failures in a row that open it.
        reset_timeout: seconds it stays open before one body may probe.
        success_threshold: successful probes in a row that close it.
        probe_seconds: how long a probe may take.
        refresh: seconds a process relies on what it has read of it.

    Raises:
        ConfigurationError: a number that makes no sense, or no name.
    """

    name: str
    fail_max: int = 5
    reset_timeout: float = 30.0
    success_threshold: int = 1
    probe_seconds: float = 60.0
    refresh: float = 1.0

    def __post_init__(self) -> None:
        policy = Policy(
            self.fail_max, self.reset_timeout, self.success_threshold, self.probe_seconds
        )
        check_breaker(self.name, policy, self.refresh)

    def build(self, store: Store, emit: Emitter) -> BreakerGuard:
        """Return the guard on a store."""
        return BreakerGuard(store.documents, emit=emit, **asdict(self))
