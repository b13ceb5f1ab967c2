"""The operator's and the caller's side of jobs."""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Protocol

from milepost.engine.attempt import RESULT_NOT_KEPT
from milepost.engine.recovery import AGAIN_AFTER
from milepost.errors import ConfigurationError, InvalidTransitionError
from milepost.model import Job, JobStatus, Signal
from milepost.runtime import runtime_for, runtime_of
from milepost.tasks.base import BaseTask, record, resend
from milepost.tasks.carrying import recorded_value


class JobManager(Protocol):
    """What every manager of jobs can do, whichever system runs them."""

    def create(self, task: Any, payload: Mapping[str, Any] | None = None) -> Job:
        """Record and send a job of *task* with keyword arguments *payload*."""
        ...

    def get(self, job_id: str) -> Job:
        """Return a job's record.

        Raises:
            JobNotFoundError: no such job.
        """
        ...

    def pause(self, job_id: str) -> Job:
        """Ask a job to stop at its next checkpoint and wait."""
        ...

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        ...

    def cancel(self, job_id: str) -> Job:
        """Ask a job to end at its next checkpoint."""
        ...


class CeleryJobManager:
    """Jobs that Celery runs.

    Args:
        app: the Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def create(self, task: Any, payload: Mapping[str, Any] | None = None, **options: Any) -> Job:
        """Record and send a job.

        Args:
            task: a durable task or its registered name.
            payload: keyword arguments of the task.
            options: of Celery's ``apply_async``: ``queue``, ``priority``, ``countdown``,
                ``eta``, ``task_id``, ``link``, …

        Raises:
            ConfigurationError: no durable task of that name is registered, or the app runs
                its tasks eagerly.
            StoreUnavailableError: nothing was recorded, nothing sent.
        """
        name = getattr(task, "name", task)
        found = self._app.tasks.get(name)
        if not isinstance(found, BaseTask) or not found.durable:
            known = sorted(n for n, t in self._app.tasks.items() if getattr(t, "durable", False))
            raise ConfigurationError(
                f"no durable task {name!r}; registered are: {', '.join(known) or 'none'}"
            )
        if self._app.conf.task_always_eager:
            raise ConfigurationError(
                f"task_always_eager is set: {name!r} would run in this process and leave no job. "
                "Call its apply() instead"
            )
        runtime, kwargs = runtime_of(self._app), dict(payload or {})
        job_id = options.setdefault("task_id", str(uuid.uuid4()))
        created = runtime.settings.record_at != "publish" and record(
            found, runtime, (), kwargs, options
        )
        try:
            found.apply_async(kwargs=kwargs, **options)
        except BaseException:
            if created:
                runtime.store.delete(job_id)
            raise
        return self.get(job_id)

    def get(self, job_id: str) -> Job:
        return runtime_of(self._app).store.get(job_id)

    def pause(self, job_id: str) -> Job:
        return runtime_of(self._app).store.signal(job_id, Signal.PAUSE)

    def cancel(self, job_id: str) -> Job:
        return runtime_of(self._app).store.signal(job_id, Signal.CANCEL)

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on: it is sent again at once.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended.
        """
        store = runtime_of(self._app).store
        job = store.resume(job_id)
        if store.claim_recovery(job_id, AGAIN_AFTER) is not None:
            resend(self._app, job)
        return job

    def result(self, job_id: str, timeout: float = 0.0) -> Any:
        """Return what a job's task returned, as kept in its record.

        Args:
            job_id: which job.
            timeout: seconds to wait for its end.

        Raises:
            JobFailedError: it failed.
            InvalidTransitionError: it was cancelled, or its result was not kept.
            TimeoutError: it has not ended in time.
            JobNotFoundError: no such job.
        """
        job = self.wait(job_id, timeout)
        if job.status is JobStatus.CANCELLED or job.reason == RESULT_NOT_KEPT:
            status = f"{job.status}: {job.reason}"
            raise InvalidTransitionError(job_id, status, "give its result")
        task = self._app.tasks.get(job.task)
        runtime = runtime_of(self._app) if task is None else runtime_for(task)
        return recorded_value(runtime, job)

    def wait(self, job_id: str, timeout: float | None = None, interval: float = 0.1) -> Job:
        """Return the record once the job has ended.

        Args:
            job_id: which job.
            timeout: seconds to wait at most; None: for ever.
            interval: seconds between two looks.

        Raises:
            TimeoutError: it has not ended in time.
            JobNotFoundError: no such job.
        """
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while not (job := self.get(job_id)).status.is_terminal:
            if give_up_at is not None and time.monotonic() > give_up_at:
                raise TimeoutError(f"job {job_id!r} is still {job.status} after {timeout} s")
            time.sleep(interval)
        return job
