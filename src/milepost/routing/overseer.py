"""The rounds that somebody has to make while a move is under way.

Shadow runs are compared, and a job type whose jobs fail too often goes back. Every worker is
ready to do it; one at a time does.
"""

import logging
import threading
import uuid
from collections.abc import Sequence
from typing import Any

from milepost.engine.trouble import Trouble
from milepost.errors import MilepostError
from milepost.routing import shared
from milepost.routing.flags import FeatureFlags
from milepost.routing.migration import MigrationTracker
from milepost.routing.modes import celery_flag, shadow_flag
from milepost.routing.outcomes import ErrorLimit, latest
from milepost.routing.rollback import Rollback, RollbackManager
from milepost.routing.shadows import Comparer
from milepost.routing.standing import Move, State
from milepost.routing.steps import Plan
from milepost.runtime import Runtime

logger = logging.getLogger("milepost")

DOCUMENT = "overseer"
AUTOMATIC = "automatic"
"""Who the history says has rolled a job type back, where no person did."""
EVERY = 5.0
"""Seconds between two rounds."""
STRAGGLERS = 86400.0
"""Seconds after a type's time in the shadow in which a shadow may still end."""


class Overseer:
    """Makes the rounds.

    Args:
        runtime: the application's.
        flags: the feature flags.
        tracker: knows the job types, and since when each is where it is.
        rollbacks: the way back.
        comparer: compares shadow runs.
        task_of: gives the name of the task for a job type.
        limit: how many jobs of a type may fail. None: it never goes back by itself.
    """

    def __init__(
        self,
        runtime: Runtime,
        flags: FeatureFlags,
        tracker: MigrationTracker,
        rollbacks: RollbackManager,
        comparer: Comparer,
        task_of: Any,
        limit: ErrorLimit | None,
    ) -> None:
        self._runtime, self._flags, self._tracker = runtime, flags, tracker
        self._rollbacks, self._comparer, self._task_of = rollbacks, comparer, task_of
        self._limit = limit
        self._name = uuid.uuid4().hex

    def run(self, stopping: threading.Event) -> None:
        """Make a round every few seconds, until told to stop. For a thread of its own."""
        what, clock = "no round of the migration for now", self._runtime.clock
        asking, making = Trouble(what, clock), Trouble(what, clock)
        while not stopping.wait(EVERY):
            mine = False
            with asking:
                mine = self.is_mine()
            if mine:  # else no round is made, and no trouble of rounds is over by that
                with making:
                    self.make_round()

    def is_mine(self) -> bool:
        """Whether it is this one's turn: whoever made the last round goes on while it lives."""
        now = self._runtime.clock.now()

        def edit(said: dict[str, Any]) -> dict[str, Any] | None:
            taken = said.get("name") not in (None, self._name) and said["until"] > now
            return None if taken else {"name": self._name, "until": now + 4 * EVERY}

        said = shared.change(self._runtime.store.documents, DOCUMENT, edit)
        return bool(said["name"] == self._name)

    def make_round(self) -> tuple[Rollback, ...]:
        """Compare what has ended, and roll back what fails too often; return what went back.

        A rollback of an overseer that died is ended too.
        """
        begun = self._rollbacks.unfinished()
        gone_back = []
        for job_type in self._tracker.job_types():
            try:
                done = self._look_after(job_type, begun.get(job_type))
            except MilepostError as exc:
                logger.warning("job type %s: %s", job_type, exc)
                continue
            except Exception:  # of the host's own code: the others are to be looked after
                logger.exception("job type %s", job_type)
                continue
            if done is not None:
                gone_back.append(done)
        return tuple(gone_back)

    def _look_after(self, job_type: str, begun: Plan | None) -> Rollback | None:
        moves = self._tracker.history(job_type)
        if self._may_have_shadows(job_type, moves):
            self._comparer.compare(job_type)
        if begun is not None and begun.by == AUTOMATIC:
            return self._rollbacks.go_back(job_type, reason=begun.reason, by=AUTOMATIC)
        return self._judge(job_type, moves)

    def _may_have_shadows(self, job_type: str, moves: Sequence[Move]) -> bool:
        """Whether it is worth a walk over the store: it casts shadows, or did of late."""
        if self._flags.share(shadow_flag(job_type)) > 0:
            return True
        if not any(move.state is State.SHADOW for move in moves[-2:]):
            return False
        return self._runtime.clock.now() - moves[-1].at < STRAGGLERS

    def _judge(self, job_type: str, moves: Sequence[Move]) -> Rollback | None:
        """Roll a job type back if too many of its jobs fail since it is where it is."""
        limit = self._limit
        if limit is None or self._flags.share(celery_flag(job_type)) <= 0:
            return None
        since = self._runtime.clock.now() - limit.window
        since = max(since, moves[-1].at if moves else since)
        counts = latest(self._runtime.store, self._task_of(job_type), since)
        if not limit.is_passed_by(counts):
            return None
        reason = f"{counts.failed} of the latest {counts.ended} jobs failed"
        logger.error("job type %s goes back to the legacy system: %s", job_type, reason)
        return self._rollbacks.go_back(job_type, reason=reason, by=AUTOMATIC)
