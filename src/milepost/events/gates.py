"""What was let through, and what was not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """A circuit breaker went from one state to another: ``closed``, ``open``, ``half-open``."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PermissionDecided:
    """The policy was asked whether somebody may do something."""

    principal: str
    action: str
    job_type: str | None
    job_id: str | None
    allowed: bool
    reason: str
