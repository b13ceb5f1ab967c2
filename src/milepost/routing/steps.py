"""What is done in each step of a rollback, and what would be."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from milepost.errors import ConfigurationError
from milepost.jobs import JobManager
from milepost.routing.consumers import Consumers
from milepost.routing.draining import Drain, Drained
from milepost.routing.flags import FeatureFlags
from milepost.routing.migration import MigrationTracker
from milepost.routing.modes import CELERY_FLAG, SHADOW_FLAG, celery_flag, shadow_flag
from milepost.routing.rules import Rule
from milepost.routing.standing import State
from milepost.runtime import Runtime

EVERYTHING = "*"
"""The name of the plan that rolls back every job type."""

Traffic: TypeAlias = Callable[[str], None]
"""Called in an emergency with its reason, to turn traffic away from Celery: a load balancer's
switch, a maintenance page. It may be called twice."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A rollback, as its document has it until it is done.

    Attributes:
        name: the job type, or EVERYTHING.
        by: who wants it.
        reason: why.
        steps: all there are, in order.
        done: those that were taken, with their outcomes.
        begun: the one that was begun last.
    """

    name: str
    by: str
    reason: str
    steps: Sequence[str]
    done: Mapping[str, str] = field(default_factory=dict)
    begun: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One step of a plan that is about to be taken.

    Attributes:
        step: its name, with ``:<job type>`` behind it in a plan for all types.
        plan: the whole.
        timeout: seconds it may wait.
        drained: what has become of jobs so far; the step adds to it.
    """

    step: str
    plan: Plan
    timeout: float
    drained: Drained

    @property
    def kind(self) -> str:
        return self.step.partition(":")[0]

    @property
    def job_type(self) -> str:
        return self.step.partition(":")[2] or self.plan.name

    @property
    def flags(self) -> Sequence[str]:
        """Return the names, or patterns, of the flags that send its jobs to Celery."""
        if self.plan.name == EVERYTHING:
            return [template.format(EVERYTHING) for template in (CELERY_FLAG, SHADOW_FLAG)]
        return [celery_flag(self.plan.name), shadow_flag(self.plan.name)]


class Steps:
    """Takes steps, each of which may be taken twice.

    Args:
        runtime: gives the application's runtime.
        flags: the feature flags.
        tracker: where it is noted.
        consumers: the workers.
        drain: takes the jobs that are under way out of Celery.
        legacy: the other system's manager; None: there is nowhere to go back to.
        traffic: called in an emergency.
    """

    def __init__(
        self,
        runtime: Callable[[], Runtime],
        flags: FeatureFlags,
        tracker: MigrationTracker,
        consumers: Consumers,
        drain: Drain,
        *,
        legacy: JobManager | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._provide, self._flags, self._tracker = runtime, flags, tracker
        self._consumers, self._drain = consumers, drain
        self._legacy, self._traffic = legacy, traffic
        self._ways: dict[str, tuple[Callable[[Turn], str], Callable[[Turn], str]]] = {
            "flags": (self._switch_off, self._would_switch_off),
            "traffic": (self._turn_traffic, self._would_turn_traffic),
            "workers": (self._shut_down, lambda _: "shut down all workers warmly"),
            "consumers": (self._cancel_consumers, self._would_cancel_consumers),
            "jobs": (self._drain_jobs, self._would_drain_jobs),
            "tracker": (self._note, lambda turn: f"note that {turn.job_type} has gone back"),
        }

    def check(self) -> None:
        """Fail where there is nowhere to go back to.

        Raises:
            ConfigurationError: there is no legacy system.
        """
        if self._legacy is None:
            raise ConfigurationError(
                "there is no legacy system to go back to: give Milepost(app, "
                "routing=Routing(legacy=…))"
            )

    def of_one(self) -> Sequence[str]:
        """Return the steps back for one job type.

        A legacy system that cannot adopt leaves what has begun to the workers, so these go on
        consuming until that has ended: a retry comes through the queue.
        """
        order = ("consumers", "jobs") if self._drain.adopts else ("jobs", "consumers")
        return ["flags", *order, "tracker"]

    def of_all(self, job_types: Iterable[str]) -> Sequence[str]:
        """Return the steps back for all job types."""
        each = [(f"jobs:{job_type}", f"tracker:{job_type}") for job_type in job_types]
        return ["flags", "traffic", "workers", *(step for pair in each for step in pair)]

    def take(self, turn: Turn) -> str:
        """Take a step; say what came of it."""
        return self._ways[turn.kind][0](turn)

    def foretell(self, turn: Turn) -> str:
        """Say what would be done; change nothing."""
        return self._ways[turn.kind][1](turn)

    def _switch_off(self, turn: Turn) -> str:
        self._flags.add(Rule.make(flag, 0.0, turn.plan.by) for flag in turn.flags)
        return f"{', '.join(turn.flags)} are off"

    def _would_switch_off(self, turn: Turn) -> str:
        return f"switch off {', '.join(turn.flags)}"

    def _turn_traffic(self, turn: Turn) -> str:
        if self._traffic is None:
            return "no hook is set"
        self._traffic(turn.plan.reason)
        return "turned"

    def _would_turn_traffic(self, _: Turn) -> str:
        return "no hook is set" if self._traffic is None else "call the hook"

    def _shut_down(self, turn: Turn) -> str:
        return self._consumers.shut_down(self._provide().clock, turn.timeout)

    def _cancel_consumers(self, turn: Turn) -> str:
        if not self._drain.adopts and self._drain.open_jobs(turn.job_type):
            return "left as they are: jobs that have begun still need them"
        return self._consumers.cancel(turn.job_type)

    def _would_cancel_consumers(self, turn: Turn) -> str:
        queue = self._consumers.queue_of(turn.job_type)
        sharers = self._consumers.sharers(turn.job_type)
        if sharers:
            return f"leave queue {queue!r} alone: {', '.join(sharers)} use it too"
        return f"let no worker consume queue {queue!r}"

    def _drain_jobs(self, turn: Turn) -> str:
        found = self._drain.drain(turn.job_type, turn.plan.by, turn.timeout)
        turn.drained.handed.update(found.handed)
        turn.drained.left.update(found.left)
        return str(found)

    def _would_drain_jobs(self, turn: Turn) -> str:
        jobs = self._drain.open_jobs(turn.job_type)
        if not jobs:
            return "no jobs are open"
        if self._drain.adopts:
            return f"hand over {len(jobs)} open jobs, at their checkpoints"
        begun = sum(job.attempts > 0 for job in jobs)
        return f"hand over {len(jobs) - begun} open jobs, wait for {begun} that have begun"

    def _note(self, turn: Turn) -> str:
        self._tracker.note(turn.job_type, State.ROLLED_BACK, by=turn.plan.by, why=turn.plan.reason)
        return "noted"
