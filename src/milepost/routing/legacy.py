"""A legacy system to start from: jobs in threads of this process, on record in the store.

It survives nothing. A job that is under way when its process ends is lost: its record says so,
as soon as its lease has lapsed and anybody looks. What outlives its process is what Celery is
for; this is what hosts have before, and what tests and examples move away from.
"""

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

from milepost.engine.attempt import begin, carry_on
from milepost.engine.endings import RESULT_NOT_KEPT
from milepost.engine.plan import Checkpoint, Plan
from milepost.engine.recovery import GONE
from milepost.engine.trouble import NOT_RENEWED, Trouble
from milepost.engine.work import Attempt
from milepost.errors import (
    ConfigurationError,
    InvalidTransitionError,
    JobNotFoundError,
    StoreError,
)
from milepost.jobs.protocol import Counts, Handover
from milepost.jobs.report import JobReport, report_on
from milepost.jobs.sending import checked_metadata, id_of_key
from milepost.jobs.waiting import end_of
from milepost.model import Delivery, Granted, Job, JobStatus, NewJob, Settlement, Signal
from milepost.routing.outcomes import counts_of
from milepost.routing.runs import Run
from milepost.runtime import Runtime, runtime_of
from milepost.tasks.carrying import recorded_value
from milepost.tasks.verdict import describe

logger = logging.getLogger("milepost")

TASK = "in-process:"
"""What stands before the job type in the records of these jobs: they are no task's."""

INTERVAL = 0.05
"""Seconds between two looks at a job that is waited for."""

Handler = Callable[..., Any]
Work: TypeAlias = tuple[str, Mapping[str, Any], Checkpoint | None]
"""What there is to do: the job type, its payload, and the checkpoint that came with it."""


class BackgroundJobManager:
    """Jobs in a pool of threads of this process.

    They are on record like all others, with a heartbeat, and can be cancelled and paused where
    they save; a paused one goes on only in the process that has it.

    Args:
        app: the Celery app whose milepost keeps the records; no task of it is involved.
        threads: how many jobs run at once.
    """

    def __init__(self, app: Any, *, threads: int = 4) -> None:
        self._app = app
        self._handlers: dict[str, tuple[Handler, bool]] = {}
        self._threads = threads
        self._incarnation = uuid.uuid4().hex
        self._pool: ThreadPoolExecutor | None = None
        self._held: dict[str, Work] = {}
        self._running: dict[str, int] = {}  # job id → the fence of its run here
        self._starting = 0
        self._lock = threading.Condition()
        self._closing = threading.Event()

    def job_type(self, name: str, *, bind: bool = False) -> Callable[[Handler], Handler]:
        """Let the decorated function do the jobs of a type; its payload are its arguments.

        Args:
            name: of the job type.
            bind: whether it wants its :class:`Run` first.
        """

        def declare(handler: Handler) -> Handler:
            self._handlers[name] = (handler, bind)
            return handler

        return declare

    # -- making ------------------------------------------------------------------------------

    def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Take up a job, to run as soon as a thread is free, and return its id.

        Raises:
            ConfigurationError: nobody has declared that job type, or this manager is closed.
            StoreUnavailableError: nothing was recorded.
        """
        task = self._task(job_type)
        job_id = str(uuid.uuid4()) if idempotency_key is None else id_of_key(task, idempotency_key)
        new = NewJob(
            *(job_id, task, b""),
            owner=owner,
            idempotency_key=idempotency_key,
            metadata=checked_metadata(metadata),
        )
        return self._take_up(new, job_type, payload or {}, None)

    def adopt(self, job: Handover, checkpoint: Checkpoint) -> str:
        """Carry a job on that another system has begun; see :class:`~milepost.jobs.Adopting`."""
        task = self._task(job.job_type)
        new = NewJob(
            *(id_of_key(task, f"adopted {job.job_id}"), task, b""),
            owner=job.owner,
            metadata={"adopted": job.job_id},
        )
        return self._take_up(new, job.job_type, job.payload, checkpoint)

    # -- looking -----------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """Return a job's record; one whose process is gone has ended by that.

        Raises:
            JobNotFoundError: no such job of this kind.
        """
        store = self._runtime.store
        job = store.get(job_id)
        if not job.task.startswith(TASK):
            raise JobNotFoundError(job_id)
        if job.status is JobStatus.RUNNING and (job.lease_until or 0.0) < job.read_at:
            claim = store.claim(Delivery(job.id, job.task), self._incarnation, 1.0)
            if isinstance(claim, Granted):
                store.settle(claim.lease, Settlement(JobStatus.FAILED, GONE, error=GONE))
            return store.get(job_id)
        return job

    def get_job_status(self, job_id: str) -> JobReport:
        """Return how a job is doing; one that waits for a thread is pending.

        Raises:
            JobNotFoundError: no such job of this kind.
        """
        job = self.get(job_id)
        waits = job.status is JobStatus.RUNNING and job.moved_at is None
        job_type = job.task.removeprefix(TASK)
        report = report_on(job, self._runtime.settings.stalled_after, job_type)
        return replace(report, status=JobStatus.PENDING if waits else job.status)

    def result(self, job_id: str, timeout: float = 0.0) -> Any:
        """Return what a job's function returned, as kept in its record.

        Args:
            job_id: which job.
            timeout: seconds to wait for its end.

        Raises:
            JobFailedError: it failed.
            InvalidTransitionError: it was cancelled, or its result was not kept.
            TimeoutError: it has not ended in time.
            JobNotFoundError: no such job of this kind.
        """
        job = end_of(lambda: self.get(job_id), timeout, INTERVAL)
        if job.status is JobStatus.CANCELLED or job.reason == RESULT_NOT_KEPT:
            wanted = JobStatus.SUCCEEDED if job.status is JobStatus.CANCELLED else "read"
            raise InvalidTransitionError(job_id, job.status, wanted, job.reason or "")
        return recorded_value(self._runtime, job)

    def counts(self, job_type: str) -> Counts:
        """Return how many jobs of a type stand how, of those on record."""
        return counts_of(self._runtime.store.tally(), f"{TASK}{job_type}")

    # -- steering ----------------------------------------------------------------------------

    def pause(self, job_id: str, *, by: str = "") -> Job:
        """Ask a job to stop where it next saves, and wait.

        Raises:
            JobNotFoundError: no such job of this kind.
            InvalidTransitionError: it has ended.
        """
        self.get(job_id)
        return self._runtime.store.signal(job_id, Signal.PAUSE, by=by)

    def resume(self, job_id: str, *, by: str = "") -> Job:
        """Let a paused job go on, in the process that has it.

        Raises:
            JobNotFoundError: no such job of this kind.
            InvalidTransitionError: it has ended, or another process has it.
            ConfigurationError: this manager is closed; the job stays paused.
        """
        job = self.get(job_id)
        with self._lock:
            held = self._held.get(job_id)
        if held is None and not job.status.is_terminal:
            advice = "only the process that has it can resume it"
            raise InvalidTransitionError(job_id, job.status, JobStatus.RUNNING, advice)
        with self._open_for_more():
            job = self._runtime.store.resume(job_id, by=by)
            if held is not None and job.status is JobStatus.PENDING:
                self._start(job, held)
        return self._runtime.store.get(job_id)

    def cancel(self, job_id: str, *, by: str = "") -> Job:
        """End a job where it next saves; one that waits for a thread, or is paused, at once.

        Raises:
            JobNotFoundError: no such job of this kind.
            InvalidTransitionError: it has ended.
        """
        job = self.get(job_id)
        store = self._runtime.store
        job = store.signal(job_id, Signal.CANCEL, by=by, force=job.moved_at is None)
        if job.status.is_terminal:
            store.finish([job_id])
        return job

    def close(self) -> None:
        """Take no more jobs, and wait for those that are here; paused ones stay paused."""
        self._closing.set()
        with self._lock:
            self._lock.wait_for(lambda: not self._starting)
        if self._pool is not None:
            self._pool.shutdown(wait=True)

    # -- running -----------------------------------------------------------------------------

    @property
    def _runtime(self) -> Runtime:
        return runtime_of(self._app)

    def _task(self, job_type: str) -> str:
        if job_type not in self._handlers:
            raise ConfigurationError(
                f"nobody does jobs of type {job_type!r} in this process; known are: "
                f"{', '.join(sorted(self._handlers)) or 'none'}"
            )
        return f"{TASK}{job_type}"

    @contextmanager
    def _open_for_more(self) -> Iterator[None]:
        """Keep :meth:`close` waiting while a job is put on record and started."""
        with self._lock:
            if self._closing.is_set():
                raise ConfigurationError("this manager of jobs is closed")
            self._starting += 1
        try:
            yield
        finally:
            with self._lock:
                self._starting -= 1
                self._lock.notify_all()

    def _take_up(
        self, new: NewJob, job_type: str, payload: Mapping[str, Any], adopted: Checkpoint | None
    ) -> str:
        """Put a job on record and start it, also where a call that died has only recorded it."""
        store = self._runtime.store
        with self._open_for_more():
            store.create(new)
            job = store.get(new.id)
            if job.status is JobStatus.PENDING and not job.attempts:
                self._start(job, (job_type, payload, adopted))
        return new.id

    def _start(self, job: Job, work: Work) -> None:
        """Claim a job and give it to the pool: from now on its lease says that it lives."""
        runtime, plan = self._runtime, self._plan()
        attempt = begin(runtime, plan, Delivery(job.id, job.task), bytes)
        if not isinstance(attempt, Attempt):
            return
        with self._lock:
            self._running[job.id] = attempt.job.fence
            self._held[job.id] = work
            pool = self._pool = self._pool or self._open()
        pool.submit(self._carry, attempt, plan, work)

    def _carry(self, attempt: Attempt, plan: Plan, work: Work) -> None:
        job_id, (job_type, payload, adopted) = attempt.job.id, work
        handler, bind = self._handlers[job_type]
        run = Run(attempt, adopted)
        bound = (run,) if bind else ()

        def body(attempt: Attempt) -> Any:
            if attempt.job.moved_at is None:
                run.save(None)
            return handler(*bound, **payload)

        try:
            carry_on(attempt, plan, body)
        except Exception:
            logger.warning("job %s failed", job_id, exc_info=True)
        finally:
            with self._lock:
                if self._running.get(job_id) == attempt.job.fence:  # else it was resumed
                    del self._running[job_id]
            self._forget_if_ended(job_id)

    def _forget_if_ended(self, job_id: str) -> None:
        try:
            if not self._runtime.store.get(job_id).status.is_terminal:
                return
        except StoreError:
            return
        with self._lock:
            self._held.pop(job_id, None)

    def _plan(self) -> Plan:
        settings = self._runtime.settings
        return Plan(
            owner=f"{self._incarnation}:{os.getpid()}",
            judge=_judge,
            lease_seconds=settings.lease_seconds,
            checkpoint_every=settings.checkpoint_every,
            max_crashes=settings.max_crashes,
        )

    def _open(self) -> ThreadPoolExecutor:
        threading.Thread(target=self._renew, name="milepost-legacy", daemon=True).start()
        return ThreadPoolExecutor(self._threads, thread_name_prefix="milepost-legacy")

    def _renew(self) -> None:
        """Keep the leases of what runs and waits here, for as long as this process lives."""
        settings, trouble = self._runtime.settings, Trouble(NOT_RENEWED, self._runtime.clock)
        while self._running or not self._closing.is_set():
            with self._lock:
                running = tuple(self._running)
            if running:  # else nothing is asked, and no trouble is over by that
                with trouble:
                    self._runtime.store.renew(self._incarnation, running)
            time.sleep(settings.renew_seconds)


def _judge(exc: BaseException) -> Settlement:
    return Settlement(JobStatus.FAILED, error=describe(exc))
