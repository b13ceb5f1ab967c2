"""The way back: a job type, or all of them, returned to the legacy system step by step.

What is to be done stands in a document before it is begun, and each step there before and
after it is taken. Every step may be taken twice. So whoever rolls back may die at any moment:
the same call, by anybody, goes on where it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from milepost.events import RollbackStepped
from milepost.jobs.gate import Gate
from milepost.routing import shared
from milepost.routing.draining import Drained
from milepost.routing.migration import ROLLBACKS
from milepost.routing.steps import EVERYTHING, Plan, Steps, Turn
from milepost.runtime import Runtime
from milepost.security.permissions import Action, Who

TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a rollback.

    Attributes:
        name: ``flags``, ``traffic``, ``workers``, ``consumers``, ``jobs`` or ``tracker``, with
            ``:<job type>`` behind it where all types are rolled back.
        outcome: what came of it; in a dry run, what would.
    """

    name: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Rollback:
    """What a rollback has done, or would do.

    Attributes:
        job_type: which was rolled back; ``*``: all.
        steps: in the order in which they were taken.
        dry_run: nothing was done.
        handed: id in Celery → id in the legacy system, of the jobs that were handed over by
            this call.
        left: id → why it is still Celery's. Roll back again to take up those too.
    """

    job_type: str
    steps: tuple[Step, ...]
    dry_run: bool = False
    handed: Mapping[str, str] = field(default_factory=dict)
    left: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return asdict(self)


class RollbackManager:
    """Returns job types to the legacy system.

    Args:
        app: the Celery app.
        runtime: gives the application's runtime.
        job_types: gives the names of all job types.
        steps: what is done in each.
    """

    def __init__(
        self,
        app: Any,
        runtime: Callable[[], Runtime],
        job_types: Callable[[], Sequence[str]],
        steps: Steps,
    ) -> None:
        self._gate = Gate(app)
        self._provide, self._job_types, self._steps = runtime, job_types, steps

    def rollback_job_type(
        self,
        job_type: str,
        *,
        reason: str = "",
        by: str = "",
        timeout: float = TIMEOUT,
        dry_run: bool = False,
        principal: Who = None,
    ) -> Rollback:
        """Return one job type to the legacy system.

        Its flags are switched off, so that new jobs go there; its queue is consumed no more,
        unless other tasks use it; its open jobs are stopped at their checkpoints and handed
        over, or waited for; the tracker is told. A rollback that was begun and not ended goes
        on where it was.

        Args:
            job_type: which.
            reason: why, for the history.
            by: who wants it.
            timeout: seconds to wait for jobs that are under way.
            dry_run: change nothing; say what would be done.
            principal: who asks, for the policy.

        Raises:
            ConfigurationError: there is no legacy system.
            PermissionDeniedError: the principal may not route jobs of that type.
            StoreUnavailableError: what was done until then is on record.
        """
        kind = self._gate.type_named(job_type)
        self._gate.check(principal, Action.ROUTE, kind)
        job_type, by = kind.name, self._gate.named(principal, by)
        if not dry_run:
            return self.go_back(job_type, reason=reason, by=by, timeout=timeout)
        self._steps.check()
        return self._dry(Plan(job_type, by, reason, self._steps.of_one()))

    def go_back(self, job_type: str, *, reason: str, by: str, timeout: float = TIMEOUT) -> Rollback:
        """Roll a job type back as above, without asking the policy: for the overseer."""
        self._steps.check()
        plan = Plan(job_type, by, reason, self._steps.of_one())
        return self._carry_out(self._begun(plan), timeout)

    def emergency_rollback_all(
        self,
        *,
        reason: str = "",
        by: str = "",
        timeout: float = TIMEOUT,
        dry_run: bool = False,
        principal: Who = None,
    ) -> Rollback:
        """Return everything to the legacy system, and let the workers go.

        Every flag of a job type is switched off, known or not; traffic is turned away by the
        hook, if there is one; all workers are shut down warmly; then the open jobs of each
        job type are handed over.

        Args:
            reason: why, for the history and the hook.
            by: who wants it.
            timeout: seconds to wait for the workers, and for the jobs of each type.
            dry_run: change nothing; say what would be done.
            principal: who asks, for the policy.

        Raises:
            As for :meth:`rollback_job_type`.
        """
        self._gate.check(principal, Action.ROUTE, None)
        self._steps.check()
        by = self._gate.named(principal, by)
        plan = Plan(EVERYTHING, by, reason, self._steps.of_all(self._job_types()))
        return self._dry(plan) if dry_run else self._carry_out(self._begun(plan), timeout)

    def unfinished(self) -> Mapping[str, Plan]:
        """Return the rollbacks that were begun and not ended, by job type; ``*`` is all."""
        documents = self._provide().store.documents.read_all(ROLLBACKS)
        plans = [Plan(**shared.said_by(document)) for document in documents]
        return {plan.name: plan for plan in plans}

    # -- the plan ----------------------------------------------------------------------------

    def _begun(self, plan: Plan) -> Plan:
        """Put a plan on record, or return the one of that name that is on record already."""
        said = shared.change(
            self._provide().store.documents,
            ROLLBACKS + plan.name,
            lambda said: None if said else asdict(plan),
        )
        return Plan(**said)

    def _carry_out(self, plan: Plan, timeout: float) -> Rollback:
        done, drained = dict(plan.done), Drained()
        for step in plan.steps:
            if step in done:
                continue
            self._note(plan, begun=step)
            done[step] = self._steps.take(Turn(step, plan, timeout, drained))
            self._note(plan, done=done)
            self._provide().emit(RollbackStepped(plan.name, step, done[step]))
        shared.clear(self._provide().store.documents, ROLLBACKS + plan.name)
        steps = tuple(Step(step, done[step]) for step in plan.steps)
        return Rollback(plan.name, steps, handed=drained.handed, left=drained.left)

    def _note(self, plan: Plan, **news: object) -> None:
        """Write down how far a plan is; one that somebody else has ended stays so."""
        shared.change(
            self._provide().store.documents,
            ROLLBACKS + plan.name,
            lambda said: {**said, **news} if said else None,
        )

    def _dry(self, plan: Plan) -> Rollback:
        return Rollback(plan.name, tuple(self._foretold(plan)), dry_run=True)

    def _foretold(self, plan: Plan) -> Iterator[Step]:
        begun = self.unfinished().get(plan.name)
        if begun is not None:
            yield Step(
                "plan", f"one that was begun would go on, at {begun.begun or 'its first step'}"
            )
        for step in plan.steps:
            yield Step(step, self._steps.foretell(Turn(step, plan, 0.0, Drained())))
