"""Celery's worker: the keeper's threads, and the truth that only the parent process knows."""

import logging
import os
import threading
import time
import uuid
import weakref
from typing import Any

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined]
from billiard.exceptions import WorkerLostError
from celery import bootsteps
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore, TimeLimitExceeded
from celery.signals import worker_shutdown
from celery.states import READY_STATES
from celery.worker import state as worker_state
from celery.worker.request import Request

from milepost.engine.recovery import BATCH, Keeper
from milepost.errors import StoreError
from milepost.integrations.queues import Queues
from milepost.model import Job, JobStatus
from milepost.runtime import runtime_of
from milepost.tasks.base import resend
from milepost.tasks.carrying import INCARNATION

logger = logging.getLogger("milepost")

WATCH_SECONDS = 0.1
"""How often the parent looks whether a pool process that runs a durable job is still there."""
PURGE_SECONDS = 60.0
"""How often a worker drops records whose retention is over."""
ATTRIBUTE = "milepost_watch"
"""Where a worker's app keeps its :class:`Watch`."""


class DurableRequest(Request):
    """What the worker's main process learns about a durable task, told to the keeper."""

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        super().on_accepted(pid, time_accepted)
        # Only now is it among the active requests, by which the watch sees that it runs.
        watch_of(self.app).accepted(self, pid)

    def on_failure(
        self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False
    ) -> Any:
        error = exc_info.exception
        if isinstance(error, ExceptionWithTraceback):
            error = error.exc
        if isinstance(error, WorkerLostError):
            # Free the lease before the message is requeued: it would be dropped as held.
            watch_of(self.app).lost(self, str(error))
        elif isinstance(error, Ignore):
            watch_of(self.app).stepped_aside(self)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if not soft:
            watch_of(self.app).timed_out(self, timeout)
        return super().on_timeout(soft, timeout)

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> Any:
        watch_of(self.app).revoked(self, reason)
        return super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]


class Watch:
    """The requests of durable tasks that this worker has accepted and not finished."""

    def __init__(self, keeper: Keeper, worker: Any) -> None:
        self.keeper = keeper
        self._worker = worker
        # By request, not by job: a second delivery of a running job is a request too.
        self._accepted: dict[weakref.ref[Any], tuple[str, int]] = {}

    def accepted(self, request: Any, pid: int) -> None:
        self.keeper.started(request.id)
        self._accepted[weakref.ref(request)] = (request.id, pid)

    def lost(self, request: Any, reason: str) -> None:
        """Learn from the pool that a job's process died; Celery puts the message back."""
        pid = self._forget(request) or request.worker_pid
        self.keeper.lost(request.id, pid, f"its process died: {reason}")
        self._go_on(request.id)

    def stepped_aside(self, request: Any) -> None:
        """Learn that a delivery was dropped, or its job suspended: Celery has nothing to do.

        Nothing is finished by that: the job may have ended elsewhere, its callbacks unsent.
        """
        self._forget(request)
        self.keeper.left(request.id)
        self._go_on(request.id)

    def timed_out(self, request: Any, timeout: float) -> None:
        pid = self._forget(request) or request.worker_pid
        self.keeper.killed(request.id, pid, str(TimeLimitExceeded(timeout)), JobStatus.FAILED)

    def revoked(self, request: Any, reason: str) -> None:
        self.keeper.revoked(request.id, self._forget(request), reason)

    def _forget(self, request: Any) -> int | None:
        _, pid = self._accepted.pop(weakref.ref(request), (None, None))
        return pid

    def _go_on(self, job_id: str) -> None:
        """Keep a job's lease alive while another request of this worker carries it."""
        if any(job_id == other for other, _ in list(self._accepted.values())):
            self.keeper.started(job_id)

    def look(self) -> None:
        """Notice what ended, and make the pool notice a dead process now, not in 5 s."""
        ended = []
        for reference, (job_id, pid) in list(self._accepted.items()):
            request = reference()
            if request is None or request not in worker_state.active_requests:
                if self._accepted.pop(reference, None):
                    ended.append(job_id)
            elif pid != os.getpid() and _is_dead(pid) and not self._nudge_pool():
                self._look_after_orphan(reference, job_id, pid)
        if ended:
            self.keeper.ended(ended)

    def _look_after_orphan(self, reference: Any, job_id: str, pid: int) -> None:
        """Be quicker than a pool without an event loop, which waits 10 s to be sure."""
        if self.keeper.lost(job_id, pid, "its process died", resend=True):
            self._accepted.pop(reference, None)

    def _nudge_pool(self) -> bool:
        """Ask a pool that lives in an event loop to look after its processes now."""
        hub, pool = self._worker.hub, self._worker.pool
        if hub is None or not hasattr(pool, "maintain_pool"):
            return False
        hub.call_soon(pool.maintain_pool)
        return True


def watch_of(app: Any) -> Watch:
    """Return the watch of the worker that runs in this process."""
    watch: Watch = getattr(app, ATTRIBUTE)
    return watch


def _is_dead(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # the pool was quicker to bury it, or it is no child of ours
        return not _exists(pid)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class KeeperStep(bootsteps.StartStopStep):
    """Starts the keeper with the worker, after the pool has its processes.

    Two daemon threads: one renews leases and watches processes, the other recovers. They are
    apart because sending a job again may block for as long as the broker does, and a lease
    must not lapse meanwhile.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        self._runtime = runtime_of(worker.app)
        self._stopping = threading.Event()
        self._incarnation = uuid.uuid4().hex
        # Known before the pool forks; the environment reaches processes that are spawned.
        setattr(worker.app, INCARNATION, self._incarnation)
        os.environ[INCARNATION.upper()] = self._incarnation

    def start(self, worker: Any) -> None:
        app = worker.app
        keeper = Keeper(
            self._runtime,
            self._incarnation,
            resend=lambda job, finishing: resend(app, job, finishing=finishing),
            is_lost=Queues(app).is_empty_for,
            is_finished=lambda job: result_is_stored(app, job),
        )
        watch = Watch(keeper, worker)
        setattr(app, ATTRIBUTE, watch)
        for name, run in (("lease", self._renew), ("recovery", self._recover)):
            threading.Thread(
                target=run, args=(watch,), name=f"milepost-{name}", daemon=True
            ).start()
        worker_shutdown.connect(lambda **_: self._finish_all(watch), sender=worker, weak=False)

    def stop(self, parent: Any) -> None:
        # Recovery ends here; leases are renewed until the last running job has ended, which
        # in a warm shutdown is after this.
        self._stopping.set()

    def terminate(self, parent: Any) -> None:
        self.stop(parent)

    def _renew(self, watch: Watch) -> None:
        renew_at = 0.0
        while not (self._stopping.is_set() and watch.keeper.is_idle):
            try:
                watch.look()
                if time.monotonic() >= renew_at:
                    watch.keeper.renew()
                    renew_at = time.monotonic() + self._runtime.settings.renew_seconds
            except StoreError as exc:
                logger.warning("leases are not renewed: %s", exc)
            except Exception:  # whatever it is, the next round may go well
                logger.exception("leases are not renewed")
            time.sleep(WATCH_SECONDS)

    def _finish_all(self, watch: Watch) -> None:
        """Say once more what has ended: another worker would else look whether it was all done.

        It would find the stored result; where results are ignored, it could only do it again.
        """
        try:
            watch.look()
            watch.keeper.renew()
        except StoreError as exc:
            logger.warning("the jobs that ended last are not marked as finished: %s", exc)

    def _recover(self, watch: Watch) -> None:
        purge_at = 0.0
        while not self._stopping.is_set():
            more = False
            try:
                more = watch.keeper.recover() >= BATCH
                if time.monotonic() >= purge_at:
                    purge_at = time.monotonic() + PURGE_SECONDS
                    watch.keeper.purge()
            except StoreError as exc:
                logger.warning("no recovery for now: %s", exc)
            except Exception:  # as above
                logger.exception("no recovery for now")
            if not more:
                self._stopping.wait(self._runtime.settings.scan_seconds)


def result_is_stored(app: Any, job: Job) -> bool:
    """Whether Celery has an outcome for a job: it stores it after it has sent callbacks."""
    if isinstance(app.backend, DisabledBackend):
        return False
    return app.AsyncResult(job.id).state in READY_STATES
