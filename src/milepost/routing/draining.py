"""Jobs on their way back: each is stopped at its checkpoint and handed to the legacy system.

A job's own record says how far that is, so whoever drains may die at any moment and somebody
else goes on: a paused record is still Celery's, and nobody runs it; one that has ended as
handed over names the id it has now.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from milepost.ciphertext import holds_any
from milepost.engine.migration import as_people_see_it
from milepost.engine.plan import Checkpoint
from milepost.engine.recovery import AGAIN_AFTER
from milepost.errors import InvalidTransitionError, JobNotFoundError, MilepostError
from milepost.history import Act
from milepost.jobs import Adopting, Handover, JobManager
from milepost.jobs.queues import payload_of
from milepost.jobs.sending import Sender
from milepost.model import Job, JobStatus, Signal
from milepost.query import Query, pages
from milepost.registry import registry_of
from milepost.routing import pins, shadows
from milepost.routing.modes import ROUTE
from milepost.runtime import runtime_for, runtime_of
from milepost.stores.readable import readable
from milepost.tasks.discreet import told

logger = logging.getLogger("milepost")

DRAIN = "rollback"
"""How the history names who paused a job that is on its way back."""
OPEN = frozenset(status for status in JobStatus if not status.is_terminal)
PAGE = 500
INTERVAL = 0.1
"""Seconds between two looks at jobs that are still under way."""
SETTLED = 1.5
"""Seconds that pass before nothing being there is believed: another process may go by a flag
for a second that was switched off just now."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What became of the jobs that Celery had.

    Attributes:
        handed: id → the id in the legacy system.
        left: id → why it is still Celery's.
    """

    handed: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        why = "; ".join(f"{job_id}: {reason}" for job_id, reason in [*self.left.items()][:5])
        more = f"; {len(self.left) - 5} more" if len(self.left) > 5 else ""
        return f"{len(self.handed)} handed over, {len(self.left)} left" + (
            f" ({why}{more})" if why else ""
        )


class Drain:
    """Takes a job type's open jobs out of Celery.

    Args:
        app: the Celery app.
        legacy: who gets them. One that can adopt gets each at its checkpoint; another gets
            those that have not begun, and the others are waited for.
    """

    def __init__(self, app: Any, legacy: JobManager | None) -> None:
        self._app, self._sender = app, Sender(app)
        self._legacy: Any = legacy
        self._adopts = isinstance(legacy, Adopting)

    @property
    def adopts(self) -> bool:
        """Whether jobs that have begun are carried on in the legacy system."""
        return self._adopts

    def open_jobs(self, job_type: str) -> Sequence[Job]:
        """Return the jobs of a type that Celery has and that have not ended."""
        task, store = registry_of(self._app).task_name(job_type), runtime_of(self._app).store
        found = pages(store.find, Query(OPEN, task, limit=PAGE))
        return [job for page in found for job in page.jobs if job.message]

    def drain(self, job_type: str, by: str, timeout: float) -> Drained:
        """Hand over every open job of a type, or wait until it has ended.

        Args:
            job_type: which.
            by: who wants it.
            timeout: seconds to wait for those that are still under way.
        """
        clock, drained = runtime_of(self._app).clock, Drained()
        began = clock.monotonic()
        while True:
            drained.left.clear()
            before, waiting = len(drained.handed), False
            for job in self.open_jobs(job_type):
                waiting |= self._move(job, job_type, by, drained)
            self._tell([*drained.handed][before:])
            passed = clock.monotonic() - began
            if (not waiting and passed >= SETTLED) or passed >= max(timeout, SETTLED):
                return drained
            clock.sleep(INTERVAL)

    def _tell(self, handed: Sequence[str]) -> None:
        """Tell Celery which jobs it has no more: somebody may wait for a result of theirs."""
        if handed:
            self._sender.tell_cancelled(*map(runtime_of(self._app).store.get, handed))

    def _move(self, job: Job, job_type: str, by: str, drained: Drained) -> bool:
        """Bring a job one step further; return whether a further step is to be waited for."""
        try:
            if str(job.owner or "").startswith(shadows.OWNER):
                self._end(job, by)
                return False
            if job.status is JobStatus.PAUSED and not is_drained(job):
                drained.left[job.id] = f"paused: {job.reason}"
                return False
            return self._move_on(self._stopped(job, by), job_type, drained)
        except (InvalidTransitionError, JobNotFoundError) as exc:
            drained.left[job.id] = str(exc)
            return True  # it has changed meanwhile: look again

    def _end(self, shadow: Job, by: str) -> None:
        ended = runtime_of(self._app).store.signal(shadow.id, Signal.CANCEL, by=by)
        if ended.status is JobStatus.CANCELLED:
            self._sender.tell_cancelled(ended)

    def _stopped(self, job: Job, by: str) -> Job:
        """Return a job's record after it was asked to stop, where that is what it takes."""
        if job.status is JobStatus.PAUSED:
            return job
        store, running = runtime_of(self._app).store, job.status is JobStatus.RUNNING
        if running and job.lease_until is not None and job.lease_until <= job.read_at:
            store.claim_recovery(job.id, AGAIN_AFTER)  # its worker is dead
        elif not self._adopts and (running or job.attempts):
            return job  # it has begun, and ends here
        elif running and job.signal is not None:
            return job  # it has been asked
        wanted = Signal.CANCEL if job.signal is Signal.CANCEL else Signal.PAUSE
        return store.signal(job.id, wanted, by=f"{DRAIN} {by}".strip())

    def _move_on(self, job: Job, job_type: str, drained: Drained) -> bool:
        if job.status.is_terminal:
            return False
        if job.status is not JobStatus.PAUSED:
            drained.left[job.id] = f"still {job.status}"
            return True
        if job.attempts and not self._adopts:  # begun just before it was asked to wait
            self._sender.send_due(runtime_of(self._app).store.resume(job.id, by=DRAIN))
            drained.left[job.id] = "still running"
            return True
        try:
            drained.handed[job.id] = self._hand_over(job, job_type)
        except InvalidTransitionError:
            raise
        except Exception as exc:  # of the other system: one bad job must not keep the rest here
            hush = _is_foreign(exc) and holds_any(job.message)
            said = type(exc).__name__ if hush else f"{type(exc).__name__}: {exc}"
            why = told(self._app, job.task, said)
            logger.warning("job %s cannot be handed over: %s", job.id, why)
            drained.left[job.id] = f"paused, it cannot be handed over: {why}"
        return False

    def _hand_over(self, job: Job, job_type: str) -> str:
        payload = payload_of(self._app, job)
        if self._adopts:
            metadata = {name: value for name, value in job.metadata.items() if name != ROUTE}
            progress = readable(job, runtime_of(self._app).cipher).progress
            handover = Handover(job.id, job_type, payload, progress, job.owner, metadata)
            native = self._legacy.adopt(handover, self._checkpoint_of(job))
        else:
            key = job.idempotency_key or job.id
            native = self._legacy.create_job(job_type, payload, idempotency_key=key)
        pins.hand_over(runtime_of(self._app).store, job.id, native)
        return str(native)

    def _checkpoint_of(self, job: Job) -> Checkpoint:
        task = self._app.tasks.get(job.task)
        runtime = runtime_of(self._app) if task is None else runtime_for(task)
        return as_people_see_it(runtime.codec, runtime.store.load(job.id))


def _is_foreign(exc: Exception) -> bool:
    """Whether an error has words of another system, which was given what a job has encrypted."""
    return not isinstance(exc, MilepostError)


def is_drained(job: Job) -> bool:
    """Whether a job was paused to be handed over, and not by somebody who wants it to wait."""
    acts = (entry for entry in reversed(job.history) if entry.act in (Act.PAUSE, Act.RESUME))
    asked = next(acts, None)
    return asked is not None and asked.act == Act.PAUSE and asked.by.startswith(DRAIN)
