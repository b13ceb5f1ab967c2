"""The jobs that Celery runs, as operators and callers handle them."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from milepost.budget import Budget
from milepost.engine.attempt import RESULT_NOT_KEPT
from milepost.engine.migration import as_people_see_it
from milepost.engine.plan import Checkpoint
from milepost.engine.scope import without_books, without_loops
from milepost.errors import ConfigurationError, InvalidTransitionError
from milepost.history import Act
from milepost.jobs.bulk import ACT_OPTIONS, Bulk, on_each
from milepost.jobs.explain import Explanation, explain
from milepost.jobs.filters import Since, Statuses, moment_of, statuses_of
from milepost.jobs.granting import resume_with
from milepost.jobs.queues import consumers_for
from milepost.jobs.report import JobReport, report_on
from milepost.jobs.sending import Sender
from milepost.model import Job, JobStatus, Signal
from milepost.query import Page, Query
from milepost.runtime import Runtime, runtime_for, runtime_of
from milepost.tasks.carrying import recorded_value


class CeleryJobManager:
    """Jobs that Celery runs.

    Every act takes ``by``, the name of whoever asks for it; the job's history keeps it.

    Args:
        app: the Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._sender = Sender(app)

    @property
    def _runtime(self) -> Runtime:
        return runtime_of(self._app)

    # -- making ------------------------------------------------------------------------------

    def create(
        self,
        task: Any,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Job:
        """Record and send a job.

        Args:
            task: a durable task or its registered name.
            payload: keyword arguments of the task.
            idempotency_key: the same key for the same task gives the same job, for as long
                as that is on record; only the first call makes one. Should its sending fail,
                the record stays, and the keeper of a worker sends it later.
            owner: whose job it is; :meth:`find` can look for it.
            metadata: what else to remember, as JSON has it. It is kept in the clear.
            options: of Celery's ``apply_async``: ``queue``, ``priority``, ``countdown``,
                ``eta``, ``task_id``, ``link``, …

        Raises:
            ConfigurationError: no durable task of that name is registered, the app runs its
                tasks eagerly, or an argument is unusable.
            StoreUnavailableError: nothing was recorded, nothing sent.
        """
        return self._sender.create(task, payload, idempotency_key, owner, metadata, options)

    def create_job(
        self, job_type: str, payload: Mapping[str, Any] | None = None, **options: Any
    ) -> str:
        """Record and send a job, as :meth:`create` does, and return its id."""
        return self.create(job_type, payload, **options).id

    # -- looking -----------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """Return a job's record.

        Raises:
            JobNotFoundError: no such job.
        """
        return self._runtime.store.get(job_id)

    def get_job_status(self, job_id: str) -> JobReport:
        """Return how a job is doing: progress, rate, time left, heartbeat, whether it stalls.

        Raises:
            JobNotFoundError: no such job.
        """
        return self.report(self.get(job_id))

    def report(self, job: Job) -> JobReport:
        """Say how a job is doing whose record was just read."""
        return report_on(job, self._runtime.settings.stalled_after)

    def find(
        self,
        *,
        status: Statuses = None,
        job_type: str | None = None,
        owner: str | None = None,
        since: Since = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """Return jobs, newest first.

        Args:
            status: one status, or several, any of which will do.
            job_type: the registered name of their task.
            owner: whose they are.
            since: created then or later: a moment, seconds since the epoch, or a timedelta
                back from now.
            limit: how many at most.
            cursor: ``page.cursor`` of the page before.

        Raises:
            ConfigurationError: a status, limit or cursor that does not exist.
        """
        return self._runtime.store.find(
            Query(statuses_of(status), job_type, owner, moment_of(since), limit, cursor)
        )

    def find_all(self, **wanted: Any) -> Iterator[Job]:
        """Yield every job that :meth:`find` finds, page by page."""
        page = self.find(**wanted)
        yield from page.jobs
        while page.cursor is not None:
            page = self.find(**{**wanted, "cursor": page.cursor})
            yield from page.jobs

    def stats(self) -> Mapping[tuple[str, JobStatus], int]:
        """Return how many jobs there are, by the name of their task and their status."""
        return self._runtime.store.tally()

    def checkpoint(self, job_id: str) -> Checkpoint:
        """Return a job's checkpoint as people read it: steps, loops, maps, state, data.

        Raises:
            JobNotFoundError: no such job.
            DecodeError: it holds values of classes that this process does not have.
        """
        runtime = self._runtime_for(self.get(job_id))
        return as_people_see_it(runtime.codec, runtime.store.load(job_id))

    def explain(
        self, job_id: str, *, ask_workers: bool = True, timeout: float = 1.0
    ) -> Explanation:
        """Say why a job is where it is: since when, by whom, until when, and who could run it.

        Args:
            job_id: which job.
            ask_workers: whether to ask the workers which queues they consume.
            timeout: seconds to wait for their answers.

        Raises:
            JobNotFoundError: no such job.
        """
        job = self.get(job_id)
        waits = not job.status.is_terminal and job.status is not JobStatus.RUNNING
        consumers = consumers_for(self._app, job, timeout) if ask_workers and waits else None
        return explain(job, self._runtime.settings.stalled_after, consumers)

    # -- steering ----------------------------------------------------------------------------

    def pause(self, job_id: str, *, by: str = "") -> Job:
        """Ask a job to stop at its next checkpoint and wait; one that waits stops at once.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended.
        """
        job = self._runtime.store.signal(job_id, Signal.PAUSE, by=by)
        if job.status is JobStatus.PAUSED:
            self._sender.tell_paused(job)
        return job

    def resume(self, job_id: str, *, by: str = "", budget: Budget | None = None) -> Job:
        """Let a paused job go on: it is sent again at once. A waiting pause is taken back.

        Args:
            job_id: which job.
            by: who asks.
            budget: the most that its calls may cost from its beginning on, instead of what
                its task declares; for a paused job only.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended, or is given a budget and is not paused.
        """
        if budget is None:
            job = self._runtime.store.resume(job_id, by=by)
        else:
            job = resume_with(self._runtime_for, self.get(job_id), budget, by)
        if self._sender.send_due(job):
            self._sender.tell_resumed(job)
        return job

    def cancel(self, job_id: str, *, force: bool = False, by: str = "") -> Job:
        """End a job: a running one at its next checkpoint, one that waits at once.

        Args:
            job_id: which job.
            force: end a running one at once too, for tasks that do not checkpoint: nothing
                it still does is accepted, and its process is killed where there is one.
            by: who asks.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended.
        """
        job = self._runtime.store.signal(job_id, Signal.CANCEL, by=by, force=force)
        if job.status is JobStatus.CANCELLED and job.worker is None:
            self._sender.tell_cancelled(job)
        return job

    def wake(self, job_id: str, *, by: str = "") -> Job:
        """Start a job now that waits for its moment: an ETA, a retry's countdown, a snooze.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended, or is paused.
        """
        job = self._runtime.store.wake(job_id, by=by)
        self._sender.send_due(job)
        return job

    def retry(self, job_id: str, *, by: str = "") -> Job:
        """Let a job that has failed or was cancelled go on from its checkpoint.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has not ended, or has done its work.
        """
        return self._sender.reopen(job_id, Act.RETRY, (), by)

    def restart(self, job_id: str, *, from_start: bool = True, by: str = "") -> Job:
        """Let a job that has ended, or is paused, begin again under its id.

        Args:
            job_id: which job.
            from_start: drop everything it has recorded but what it has spent. False: the steps
                of its body keep their results, while its loops begin again.
            by: who asks.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has not ended; cancel it first.
        """
        fields = self._runtime_for(self.get(job_id)).store.load(job_id)
        drop = without_books(fields) if from_start else without_loops(fields)
        return self._sender.reopen(job_id, Act.RESTART, drop, by)

    def bulk(self, act: str, *, by: str = "", everything: bool = False, **wanted: Any) -> Bulk:
        """Do one act to every job that a filter finds.

        Args:
            act: ``pause``, ``resume``, ``cancel``, ``wake``, ``retry`` or ``restart``.
            by: who asks.
            everything: needed where no filter is given.
            wanted: ``status``, ``job_type``, ``owner`` and ``since``, as for :meth:`find`;
                ``force``, ``from_start`` and ``budget``, as the act takes them.

        Returns:
            What was done, and why not to whom.

        Raises:
            ConfigurationError: no such act, or no filter.
        """
        if act not in set(Act):
            raise ConfigurationError(f"act {act!r}: it must be one of {', '.join(Act)}")
        how = {name: wanted.pop(name) for name in ACT_OPTIONS if name in wanted}
        if not (everything or any(value is not None for value in wanted.values())):
            raise ConfigurationError(f"{act} all jobs? Give a filter, or everything=True")
        jobs = list(self.find_all(**wanted, limit=500))
        return on_each(jobs, lambda job_id: getattr(self, act)(job_id, by=by, **how))

    # -- waiting -----------------------------------------------------------------------------

    def watch(self, job_id: str, *, interval: float = 0.2) -> Iterator[Job]:
        """Yield a job's record now and whenever it has changed, until the job has ended.

        Args:
            job_id: which job.
            interval: seconds between two looks.

        Raises:
            JobNotFoundError: no such job, or its record was deleted meanwhile.
        """
        seen = None
        while True:
            job = self.get(job_id)
            news = (job.status, job.reason, job.progress, job.signal, job.fence, job.history)
            if news != seen:
                seen = news
                yield job
            if job.status.is_terminal:
                return
            time.sleep(interval)

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
        if job.status is JobStatus.CANCELLED:
            raise InvalidTransitionError(job_id, job.status, JobStatus.SUCCEEDED, job.reason or "")
        if job.reason == RESULT_NOT_KEPT:
            raise InvalidTransitionError(job_id, job.status, "read", job.reason)
        return recorded_value(self._runtime_for(job), job)

    def _runtime_for(self, job: Job) -> Runtime:
        task = self._app.tasks.get(job.task)
        return self._runtime if task is None else runtime_for(task)
