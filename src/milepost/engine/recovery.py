"""The keeper: one per worker. Renews the leases of its jobs, and carries on what others left.

Knows no Celery: it is told what runs, and handed the way to send a job again.
"""

import logging
import threading
from collections.abc import Callable, Iterable

from milepost.engine.aftermath import Aftermath
from milepost.engine.strangers import Knows, Strangers
from milepost.errors import InvalidTransitionError, JobNotFoundError, StoreError
from milepost.events import JobExpired, JobRecovered
from milepost.history import EXPIRED, Act
from milepost.model import (
    Delivery,
    Granted,
    Job,
    JobStatus,
    Recovery,
    Settlement,
    Signal,
)
from milepost.runtime import Runtime

logger = logging.getLogger("milepost")

BATCH = 100
"""Due jobs looked at in one scan; with more, the next scan follows at once."""
AGAIN_AFTER = 10.0
"""Seconds before a job that was sent again, but not claimed, is looked at again."""

RETRY = "retry"
"""How the reason of a job begins whose next message Celery's retry has sent."""

GO_ON = frozenset({Act.RESUME, Act.WAKE, Act.RETRY, Act.RESTART})
"""Acts after which a job needs a new message."""

GONE = "the process that had it is gone, and nothing carries it on"
"""Why a job ends that was never in a message."""

Resend = Callable[[Job, bool], None]
IsLost = Callable[[Job], bool]
Follow = Callable[[Job], Aftermath]
Stop = Callable[[str, str], None]


def stop_nothing(job_id: str, worker: str) -> None:
    """Leave it to the attempt to notice that it may no longer write."""


def knows_all(_: Job) -> bool:
    """Take every job for one of this application's."""
    return True


class Keeper:
    """Keeps the jobs of one worker alive and recovers those of dead ones.

    Args:
        runtime: the application's.
        incarnation: the name under which this worker's processes claim.
        resend: sends a job again; its second argument says that only what follows the
            body is left to do.
        is_lost: whether a job that nobody started has lost its message.
        aftermath: how far Celery is with what follows the body.
        stop: ends the attempt of a job that was cancelled by force; told the job and who
            had it.
        knows: whether this application has a job's task; others are left to other keepers.
    """

    def __init__(
        self,
        runtime: Runtime,
        incarnation: str,
        *,
        resend: Resend,
        is_lost: IsLost,
        aftermath: Follow,
        stop: Stop = stop_nothing,
        knows: Knows = knows_all,
    ) -> None:
        self._runtime = runtime
        self._incarnation = incarnation
        self._resend, self._is_lost, self._aftermath = resend, is_lost, aftermath
        self._stop = stop
        self._strangers = Strangers(runtime.store, knows)
        self._running: set[str] = set()
        self._ended: set[str] = set()
        self._failed: set[str] = set()
        self._orphans: list[str] = []
        self._lock = threading.Lock()

    def started(self, job_id: str) -> None:
        """Learn that a process of this worker is about to run a job."""
        with self._lock:
            self._running.add(job_id)
            self._ended.discard(job_id)

    def ended(self, job_ids: Iterable[str]) -> None:
        """Learn that Celery has done all it had to do for these jobs."""
        with self._lock:
            for job_id in job_ids:
                self._running.discard(job_id)
                self._ended.add(job_id)

    def failed(self, job_id: str) -> None:
        """Learn that Celery takes a job for failed, and has done what follows a failure.

        If the record says that it has succeeded, it was what follows a success that failed:
        then the recovery does it again.
        """
        with self._lock:
            self._running.discard(job_id)
            self._failed.add(job_id)

    def told(self, job_id: str) -> None:
        """Learn that Celery knows of a job's end, whichever request of it may still run here."""
        with self._lock:
            self._ended.add(job_id)

    def left(self, job_id: str) -> None:
        """Learn that this worker no longer runs a job, whatever has become of it."""
        with self._lock:
            self._running.discard(job_id)

    def lost(self, job_id: str, process: int, reason: str, *, resend: bool = False) -> bool:
        """Learn that the process that ran a job is dead: free the lease at once.

        Args:
            job_id: which job.
            process: the id of the dead process.
            reason: how it died, for the record.
            resend: whether nobody else brings the job's message back soon.

        Returns:
            Whether the job was still running there.
        """
        was_running = self._conclude(job_id, process, reason, JobStatus.INTERRUPTED)
        if was_running and resend:
            with self._lock:
                self._orphans.append(job_id)
        return was_running

    def is_wanted(self, job_id: str) -> bool:
        """Whether a job is to run however long its message has waited.

        It has begun before, or somebody has let it go on. So it is too where the store does
        not say: a claim will.
        """
        try:
            job = self._runtime.store.get(job_id)
        except JobNotFoundError:
            return False
        except StoreError:
            return True
        return job.attempts > 0 or was_let_go(job)

    def killed(self, job_id: str, process: int, reason: str, status: JobStatus) -> None:
        """Learn that this worker ended a job itself: for good, with that status."""
        self._conclude(job_id, process, reason, status)

    def revoked(self, job_id: str, process: int | None, reason: str) -> None:
        """Learn that Celery has discarded a job's message, or killed what ran it."""
        if process is not None:
            self.killed(job_id, process, reason, JobStatus.CANCELLED)
        try:
            job = self._runtime.store.signal(job_id, Signal.CANCEL, reason=reason)
            if job.status is JobStatus.CANCELLED and reason.startswith(EXPIRED):
                self._runtime.emit(JobExpired(job_id, job.task, reason))
        except (JobNotFoundError, InvalidTransitionError):
            pass  # never recorded, or at its end by other means: nothing is left to cancel
        except StoreError as exc:
            logger.warning("job %s was revoked, but its record is not: %s", job_id, exc)

    def _conclude(self, job_id: str, process: int, reason: str, status: JobStatus) -> bool:
        self.left(job_id)
        owner = f"{self._incarnation}:{process}"
        try:
            return self._runtime.store.release(job_id, owner, reason, status)
        except StoreError as exc:
            logger.warning("job %s: its lease is not freed and has to lapse: %s", job_id, exc)
            return False

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to renew or to finish."""
        with self._lock:
            return not (self._running or self._ended or self._failed)

    def renew(self) -> None:
        """Renew the leases of all running jobs and take ended ones out of the recovery.

        Raises:
            StoreError: nothing was renewed; ask again soon.
        """
        with self._lock:
            running, ended = frozenset(self._running), frozenset(self._ended)
        if running:
            renewed = self._runtime.store.renew(self._incarnation, running)
            for job_id in running - renewed:
                self._look_why_not(job_id)
        ended |= self._settle_failed()
        if ended:
            self._runtime.store.finish(ended)
            with self._lock:
                self._ended -= ended

    def _settle_failed(self) -> frozenset[str]:
        """Return those of the jobs Celery takes for failed that need nothing more."""
        with self._lock:
            failed, self._failed = self._failed, set()
        try:
            return frozenset(job_id for job_id in failed if not self._has_succeeded(job_id))
        except StoreError:
            with self._lock:
                self._failed |= failed
            raise

    def _has_succeeded(self, job_id: str) -> bool:
        try:
            return self._runtime.store.get(job_id).status is JobStatus.SUCCEEDED
        except JobNotFoundError:
            return False

    def _look_why_not(self, job_id: str) -> None:
        """Stop what runs on here after somebody cancelled it by force.

        Most jobs that are not renewed have just ended, or are not claimed yet.
        """
        try:
            job = self._runtime.store.get(job_id)
        except JobNotFoundError:
            return
        worker = job.worker or ""
        if job.status is JobStatus.CANCELLED and worker.startswith(f"{self._incarnation}:"):
            self._stop(job_id, worker)

    def recover(self) -> int:
        """Look for jobs to carry on, and send each again that this keeper wins.

        Returns:
            How many due ones were looked at; BATCH means there may be more.

        Raises:
            StoreError: the store did not answer; nothing is lost.
        """
        self._adopt_orphans()
        due = self._strangers.without(self._runtime.store.due(BATCH + self._strangers.number))
        own = self._renew_own(due)
        for job_id in due:
            if job_id not in own and not self._strangers.leaves(job_id):
                self._recover(job_id)
        return len(due)

    def _recover(self, job_id: str) -> None:
        recovery = self._runtime.store.claim_recovery(job_id, AGAIN_AFTER)
        if recovery is not None:
            self._carry_on(recovery)

    def _renew_own(self, due: Iterable[str]) -> frozenset[str]:
        """Renew what fell due while this whole worker was held up, and nobody took over."""
        with self._lock:
            running = self._running.intersection(due)
        return self._runtime.store.renew(self._incarnation, running) if running else frozenset()

    def _adopt_orphans(self) -> None:
        """Send jobs again whose process here died; should that fail, they fall due anyway."""
        with self._lock:
            orphans, self._orphans = self._orphans, []
        for job_id in orphans:
            try:
                job = self._runtime.store.get(job_id)
            except JobNotFoundError:
                continue
            if job.status is JobStatus.INTERRUPTED:
                self._carry_on(Recovery(job, finishing=False))

    def purge(self) -> None:
        """Drop records past their retention, where the store does not do so itself.

        Raises:
            StoreError: the store did not answer.
        """
        dropped = self._runtime.store.purge()
        if dropped:
            logger.info("%d jobs past their retention were dropped", dropped)

    def _carry_on(self, recovery: Recovery) -> None:
        job = recovery.job
        try:
            if not job.message:
                self._give_up(job)
                return
            if recovery.finishing and self._needs_no_message(job):
                return
            if awaits_own_message(job) and not self._is_lost(job):
                return
            self._resend(job, recovery.finishing)
        except Exception:
            # One bad message must not keep the keeper from the other jobs; this one comes
            # up again after its wait.
            logger.exception("job %s could not be sent again", job.id)
            return
        logger.info("job %s sent again: %s", job.id, job.reason or job.status)
        self._runtime.emit(JobRecovered(job.id, job.task, job.crashes, recovery.finishing))

    def _needs_no_message(self, job: Job) -> bool:
        """Whether what follows a job's body is done, or not to be done now."""
        found = self._aftermath(job)
        if found is Aftermath.DONE:
            self._runtime.store.finish([job.id])
        return found is not Aftermath.OPEN

    def _give_up(self, job: Job) -> None:
        """End a job that can be sent to nobody: it was in the hands of one process, now gone."""
        store = self._runtime.store
        if job.status.is_terminal:
            store.finish([job.id])
        elif job.status is JobStatus.PENDING and job.read_at - (job.due_at or 0.0) < AGAIN_AFTER:
            return  # just let go on: its process is about to claim it
        elif job.attempts == 0:
            store.delete(job.id)  # nobody was told of it
        else:
            self._end_as_gone(job)

    def _end_as_gone(self, job: Job) -> None:
        store = self._runtime.store
        claim = store.claim(Delivery(job.id, job.task, job.delivery), self._incarnation, 1.0)
        if isinstance(claim, Granted):
            store.settle(claim.lease, Settlement(JobStatus.FAILED, GONE, error=GONE))


def was_let_go(job: Job) -> bool:
    """Whether the last that happened to a job is that somebody let it go on."""
    return bool(job.history) and job.history[-1].act in GO_ON


def awaits_own_message(job: Job) -> bool:
    """Whether a message of its own should already be on its way to start the job.

    If so, a full queue is the likelier explanation for its not having started, and another
    message would only make the queue longer. One that somebody has let go on may have lost
    its message while it was not to run.
    """
    if was_let_go(job):
        return False
    if job.status is JobStatus.SCHEDULED:
        return job.attempts == 0 or (job.reason or "").startswith(RETRY)
    return job.status is JobStatus.PENDING and job.attempts == 0
