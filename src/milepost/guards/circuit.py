"""What a circuit breaker remembers, and what each call's end changes in it.

The states and the counting are pybreaker's: its breaker is set to what is remembered, given
one call's end, and read again. What it does not know is decided here: whose turn the one
probe is, and that a call may end in a way that says nothing about the other side.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import Enum

from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    STATE_OPEN,
    CircuitBreaker,
    CircuitMemoryStorage,
)


class CallEnding(Enum):
    """How a call through a breaker ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    NEUTRAL = "neutral"
    """It says nothing about the other side: cancelled, or never sent."""


@dataclass(frozen=True, slots=True)
class Policy:
    """When a circuit opens and closes.

    Attributes:
        fail_max: failures in a row, of all callers together, that open it.
        reset_timeout: seconds it stays open before one call may probe.
        success_threshold: probes in a row that close it.
        probe_seconds: how long a probe may take before the next one is let through.
    """

    fail_max: int
    reset_timeout: float
    success_threshold: int
    probe_seconds: float


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of one circuit, as all its callers share it.

    Attributes:
        state: ``closed``, ``open`` or ``half-open``.
        failures: how many in a row, while closed.
        successes: how many probes in a row, while half-open.
        opened_at: when it opened, on the store's clock.
        prober: whose probe is under way; empty: nobody's.
        probe_until: when that probe counts as lost, on the store's clock.
    """

    state: str = STATE_CLOSED
    failures: int = 0
    successes: int = 0
    opened_at: float = 0.0
    prober: str = ""
    probe_until: float = 0.0

    @classmethod
    def read(cls, data: bytes) -> "Circuit":
        """Return what :meth:`written` gave; a circuit nobody wrote is closed."""
        return cls(**json.loads(data)) if data else cls()

    def written(self) -> bytes:
        """Return the circuit as bytes."""
        return json.dumps(asdict(self)).encode()

    def closed_for(self, now: float, policy: Policy) -> float:
        """Return how long to stay away; 0: some call may be made.

        Never more than the timeout, wherever the clock was set back to: also a probe, which
        may take longer, has usually ended by then.
        """
        if self.state == STATE_CLOSED:
            return 0.0
        if self.state == STATE_OPEN:
            left = self.opened_at + policy.reset_timeout - now
        else:
            left = self.probe_until - now if self.prober else 0.0
        return min(max(left, 0.0), policy.reset_timeout)

    def probed_by(self, prober: str, now: float, policy: Policy) -> "Circuit":
        """Return the circuit with the one probe under way."""
        until = now + policy.probe_seconds
        successes = self.successes if self.state == STATE_HALF_OPEN else 0
        return Circuit(STATE_HALF_OPEN, self.failures, successes, self.opened_at, prober, until)

    def after(self, ending: CallEnding, prober: str, now: float, policy: Policy) -> "Circuit":
        """Return the circuit after the end of one call.

        Args:
            ending: how it ended.
            prober: what the call probed as; empty: it was no probe.
            now: on the store's clock.
            policy: when it opens and closes.
        """
        if self.state == STATE_CLOSED:
            return self if ending is CallEnding.NEUTRAL else self._counted(ending, now, policy)
        if not prober or self.prober != prober:
            return self  # a call from before it opened, or a probe that took too long
        free = replace(self, prober="", probe_until=0.0)
        return free if ending is CallEnding.NEUTRAL else free._counted(ending, now, policy)

    def _counted(self, ending: CallEnding, now: float, policy: Policy) -> "Circuit":
        """Let pybreaker count one success or failure."""
        storage = CircuitMemoryStorage(self.state)
        for _ in range(self.failures):
            storage.increment_counter()
        for _ in range(self.successes):
            storage.increment_success_counter()
        breaker = CircuitBreaker(
            policy.fail_max,
            success_threshold=policy.success_threshold,
            state_storage=storage,
            throw_new_error_on_trip=False,
        )
        with suppress(RuntimeError), breaker.calling():
            if ending is CallEnding.FAILURE:
                raise RuntimeError("a call that is over")
        opened = storage.state == STATE_OPEN
        return Circuit(
            storage.state, storage.counter, storage.success_counter, now if opened else 0.0
        )
