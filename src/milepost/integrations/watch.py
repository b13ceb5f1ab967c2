"""What only the worker's main process learns of its durable tasks, told to the keeper."""

import os
import weakref
from datetime import UTC, datetime
from typing import Any, Literal

from billiard.einfo import ExceptionWithTraceback  # type: ignore[attr-defined]
from billiard.exceptions import WorkerLostError
from celery.concurrency.base import BasePool
from celery.exceptions import Ignore, Reject, Retry, TimeLimitExceeded
from celery.worker import state as worker_state
from celery.worker.request import Request

from milepost.engine.recovery import Keeper
from milepost.errors import ConfigurationError
from milepost.history import EXPIRED
from milepost.model import JobStatus

ATTRIBUTE = "milepost_watch"
"""Where a worker's app keeps its :class:`Watch`."""


class DurableRequest(Request):
    """What the worker's main process learns about a durable task, told to the keeper."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        watch_of(self.app).holds(self)

    def on_accepted(self, pid: Any, time_accepted: float) -> None:
        super().on_accepted(pid, time_accepted)
        # Only now is it among the active requests, by which the watch sees that it runs.
        watch_of(self.app).accepted(self, pid)

    def maybe_expire(self) -> Literal[True] | None:
        """Say whether the message came too late: its job is to begin by then, not to end.

        Celery's list of revoked ids is left without it, or a retry would never start here.
        """
        if not super().maybe_expire():
            return None
        worker_state.revoked.discard(self.id)
        return None if watch_of(self.app).keeper.is_wanted(self.id) else True

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
        elif not isinstance(error, (Reject, Retry)):
            watch_of(self.app).failed(self)
        return super().on_failure(exc_info, send_failed_event, return_ok)

    def on_timeout(self, soft: bool, timeout: float) -> Any:
        if not soft:
            watch_of(self.app).timed_out(self, timeout)
        return super().on_timeout(soft, timeout)

    def terminate(self, pool: Any, signal: Any = None) -> Any:
        if can_kill(pool):
            return super().terminate(pool, signal)
        # Threads cannot be killed: the job stops at its next checkpoint instead.
        return watch_of(self.app).keeper.revoked(self.id, None, "terminated")

    def _announce_revoked(self, reason: str, terminated: bool, signum: Any, expired: bool) -> Any:
        watch = watch_of(self.app)
        watch.revoked(self, _too_late(self.expires) if expired else reason)
        super()._announce_revoked(reason, terminated, signum, expired)  # type: ignore[misc]
        watch.keeper.told(self.id)


class Watch:
    """The requests of durable tasks that this worker has, and has accepted and not finished.

    Attributes:
        keeper: is told what becomes of them.
    """

    keeper: Keeper

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        # By request, not by job: a second delivery of a running job is a request too.
        self._accepted: dict[weakref.ref[Any], tuple[str, int]] = {}
        self._held: set[weakref.ref[Any]] = set()

    def holds(self, request: Any) -> None:
        """Learn that this worker has a message, be it to run it now or at its ETA."""
        self._held.add(weakref.ref(request, self._held.discard))

    def delivery_tags(self) -> list[str]:
        """Return the broker's tags of the messages this worker has and has not acknowledged."""
        held = [reference() for reference in list(self._held)]
        return [r.message.delivery_tag for r in held if r is not None and not r.acknowledged]

    def accepted(self, request: Any, pid: int) -> None:
        if self._worker.pool.is_green:
            pid = os.getpid()  # what such a pool tells is the greenlet
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

    def failed(self, request: Any) -> None:
        """Learn that Celery counts a request as failed, be it for what came after the body."""
        if self._accepted.pop(weakref.ref(request), None):
            self.keeper.failed(request.id)
            self._go_on(request.id)

    def timed_out(self, request: Any, timeout: float) -> None:
        pid = self._forget(request) or request.worker_pid
        self.keeper.killed(request.id, pid, str(TimeLimitExceeded(timeout)), JobStatus.FAILED)

    def revoked(self, request: Any, reason: str) -> None:
        self.keeper.revoked(request.id, self._forget(request), reason)

    def stop(self, job_id: str, worker: str) -> None:
        """End the request of a job that was cancelled by force, and its process if it has one.

        Args:
            job_id: which job.
            worker: who had it when it was cancelled: ``<incarnation>:<process>``.
        """
        for reference, (other, pid) in list(self._accepted.items()):
            request = reference()
            if request is None or other != job_id or not worker.endswith(f":{pid}"):
                continue
            hub = self._worker.hub
            if hub is None:
                _end(request, self._worker.pool)
            else:  # what it has to say to the broker is said in the thread that owns the connection
                hub.call_soon(_end, request, self._worker.pool)

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
    """Return the watch of the worker that runs in this process.

    Raises:
        ConfigurationError: its app had no milepost when it started.
    """
    watch: Watch | None = getattr(app, ATTRIBUTE, None)
    if watch is None:
        raise ConfigurationError(
            f"this worker cannot run durable tasks: the Celery app {app.main!r} had no milepost "
            "when it started. Write `milepost = Milepost(app)` next to where the app is made"
        )
    return watch


def can_kill(pool: Any) -> bool:
    """Whether a pool can end one task of its own by force."""
    return type(pool).terminate_job is not BasePool.terminate_job


def _end(request: Any, pool: Any) -> None:
    if request not in worker_state.active_requests:
        return  # it has ended meanwhile
    if can_kill(pool):
        request.terminate(pool, "KILL")
    else:
        request._announce_revoked("cancelled by force", True, None, False)


def _too_late(expires: datetime) -> str:
    moment = expires.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"{EXPIRED}: it had not begun by {moment}"


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
