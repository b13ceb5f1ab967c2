"""Who may do what to which jobs: the policy, and the one place that asks it.

Without a policy everybody may do everything. With one, nobody may do anything that it does not
allow; that includes a policy that fails.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from milepost.errors import ConfigurationError, PermissionDeniedError
from milepost.events import PermissionDecided
from milepost.jobtype import JobType
from milepost.model import Job
from milepost.observer import Emitter

DECISIONS = "milepost.permissions"
"""The logger that every decision is written to: refusals as warnings."""
logger = logging.getLogger(DECISIONS)


class Action(StrEnum):
    """What can be done to jobs, as policies tell it apart."""

    CREATE = "create"
    LIST = "list"
    """Find and count jobs: of one job type, or of all."""
    SEE = "see"
    """Look at a job's record: status, progress, history, and why it waits."""
    READ = "read"
    """Read what a job holds: its checkpoint and its result."""
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    WAKE = "wake"
    RETRY = "retry"
    RESTART = "restart"
    ROUTE = "route"
    """Change which system does the work of a job type."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who asks for something.

    Attributes:
        name: who that is; empty: nobody has said.
        roles: what they are, as whoever authenticated them says.
    """

    name: str
    roles: frozenset[str] = frozenset()


NOBODY = Principal("")
"""Who asks where nobody has said."""

Who: TypeAlias = Principal | str | None
"""A principal, or just their name."""


def principal_of(who: Who) -> Principal:
    """Return who that is; one of no name where nobody has said.

    Raises:
        ConfigurationError: it is neither a principal nor a name.
    """
    if isinstance(who, Principal):
        return who
    given: object = who
    if given is None or isinstance(given, str):
        return Principal(given) if given else NOBODY
    raise ConfigurationError(f"principal = {given!r}: a Principal, or a name")


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says.

    Attributes:
        allowed: whether it may be done.
        reason: why, in words that may be shown to whoever asked.
    """

    allowed: bool
    reason: str


class Policy(Protocol):
    """Decides who may do what.

    It is asked in the process and thread where something is asked for, each time; it must be
    thread-safe, and quick. What it raises counts as a no.
    """

    def may(
        self, principal: Principal, action: Action, job_type: JobType | None, job: Job | None
    ) -> Decision:
        """Decide.

        Args:
            principal: who asks; of no name where the caller has not said.
            action: what for.
            job_type: for jobs of which type; None: for those of all (``list``).
            job: for which job, as it was just read; None where there is none yet.
        """
        ...


class Permissions:
    """Asks the policy, writes down what it says, and stops what it does not allow.

    Args:
        policy: whom to ask. None: everything is allowed, and nothing written down.
        emit: told of each decision.
    """

    def __init__(self, policy: Policy | None = None, emit: Emitter | None = None) -> None:
        self._policy = policy
        self._emit = emit or Emitter()

    @property
    def are_set(self) -> bool:
        """Whether there is a policy."""
        return self._policy is not None

    def check(
        self,
        principal: Principal,
        action: Action,
        job_type: JobType | None,
        job: Job | None = None,
    ) -> None:
        """Ask whether somebody may do something.

        Raises:
            PermissionDeniedError: they may not.
        """
        if self._policy is None:
            return
        decision = _ask(self._policy, principal, action, job_type, job)
        subject = _subject(job_type, job)
        logger.log(
            logging.INFO if decision.allowed else logging.WARNING,
            "%r %s %s %s: %s",
            principal.name,
            "may" if decision.allowed else "may not",
            action,
            subject,
            decision.reason,
        )
        self._emit(
            PermissionDecided(
                principal.name,
                str(action),
                None if job_type is None else job_type.name,
                None if job is None else job.id,
                decision.allowed,
                decision.reason,
            )
        )
        if not decision.allowed:
            raise PermissionDeniedError(principal.name, str(action), subject, decision.reason)


ALL_ALLOWED = Permissions()
"""No policy is set."""


def _ask(
    policy: Policy,
    principal: Principal,
    action: Action,
    job_type: JobType | None,
    job: Job | None,
) -> Decision:
    """Return what the policy decides; one that cannot, refuses."""
    try:
        decision: object = policy.may(principal, action, job_type, job)
    except Exception:  # the host's own code: whatever it is, nothing is allowed by it
        logger.exception("policy %r failed", policy)
        return Decision(False, "the policy failed")
    if not isinstance(decision, Decision):
        logger.error("policy %r gave %r: it must be a Decision", policy, decision)
        return Decision(False, "the policy gave no decision")
    return decision


def _subject(job_type: JobType | None, job: Job | None) -> str:
    kind = "jobs of all types" if job_type is None else repr(job_type.name)
    return kind if job is None else f"{kind} (job {job.id})"
