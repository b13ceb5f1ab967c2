"""What stands before a task's calls to models: the shared limit and the circuit breaker."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from milepost.budget import Estimate
from milepost.errors import ConfigurationError
from milepost.guards.breaker import MODEL_DOWN, BreakerGuard
from milepost.guards.declared import Breaker
from milepost.guards.rate import RateGuard, RatePassage
from milepost.limits import Limit
from milepost.runtime import Runtime

NO_ESTIMATE = Estimate()
STANDARD: Mapping[str, Any] = MappingProxyType({})
MOST_GATES = 1000
MOST_WAIT = 1.0
"""Seconds a guard waits by itself; in a longer wait the job looks for signals each second."""


class Gate:
    """The guards before one provider's model, for one tenant.

    Args:
        runtime: the application's.
        key: ``llm/<provider>/<model>[/<tenant>]``.
        limit: what all workers together may ask; None: anything.
        breaker: options of the circuit breaker; None: there is none.
    """

    def __init__(
        self, runtime: Runtime, key: str, limit: Limit | None, breaker: Mapping[str, Any] | None
    ) -> None:
        store = runtime.store
        self.rate = (
            None if limit is None else RateGuard(store.limits, key, limit, max_wait=MOST_WAIT)
        )
        self._breaker = (
            None
            if breaker is None
            else BreakerGuard(
                store.documents, key, is_failure=is_down, emit=runtime.emit, **breaker
            )
        )

    @asynccontextmanager
    async def passing(self, tokens: int) -> AsyncIterator[RatePassage | None]:
        """Let one call pass.

        Args:
            tokens: what it will take, by estimate.

        Returns:
            What wants to know how many it really took; None: nobody does.

        Raises:
            CallRefusedError: not now.
            LimitExceededError: never.
        """
        async with AsyncExitStack() as stack:
            if self._breaker is not None:  # first: what it refuses takes nothing of the limit
                await stack.enter_async_context(self._breaker.calling())
            passage = None
            if self.rate is not None:
                entered = await stack.enter_async_context(self.rate.calling(tokens))
                passage = None if self.rate.limit.tokens is None else entered
            yield passage


@dataclass(slots=True)
class Admission:
    """One call that was let pass.

    Attributes:
        passage: wants to know how many tokens it took; None: nobody does.
        used: what it has really cost.
    """

    passage: RatePassage | None = None
    used: Estimate = NO_ESTIMATE

    def settle(self, used: Estimate) -> None:
        """Say what the call has really cost."""
        self.used = used
        if self.passage is not None:
            self.passage.settle(used.tokens)


def check_breaker(owner: str, breaker: Mapping[str, Any] | None) -> None:
    """Refuse options that a circuit breaker does not have, or that make no sense.

    Raises:
        ConfigurationError: there are some.
    """
    try:
        Breaker(owner, **(breaker or {}))
    except (TypeError, ConfigurationError) as exc:
        raise ConfigurationError(f"{owner}: llm_breaker={breaker!r}: {exc}") from None


def is_down(error: BaseException) -> bool:
    """Whether an error says that the provider is down."""
    return isinstance(error, MODEL_DOWN)


def gate_of(
    runtime: Runtime, key: str, limit: Limit | None, breaker: Mapping[str, Any] | None
) -> Gate:
    """Return this process's gate for *key*; the first task that asks declares it."""
    gates: dict[str, Gate] = runtime.gates
    declared = f"{key} {limit} {breaker}"
    gate = gates.get(declared)
    if gate is None:
        if len(gates) >= MOST_GATES:
            gates.clear()
        gate = gates.setdefault(declared, Gate(runtime, key, limit, breaker))
    return gate
