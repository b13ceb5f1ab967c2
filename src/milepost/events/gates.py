"""What was let through, and what was not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CircuitChanged:
    """A circuit breaker went from one state to another: ``closed``, ``open``, ``half-open``.

    Attributes:
        name: the breaker's key.
        before: the state it was in.
        after: the state it is in.
    """

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class PermissionDecided:
    """The policy was asked whether somebody may do something.

    Attributes:
        principal: who.
        action: what it wants to do: ``pause``, say.
        job_type: of which type; None: jobs of all types.
        job_id: which job; None where there is none yet, or it is about many.
        allowed: whether it may.
        reason: why, in the policy's words.
    """

    principal: str
    action: str
    job_type: str | None
    job_id: str | None
    allowed: bool
    reason: str
