"""Looking at jobs: what changes nothing."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from milepost.engine.endings import RESULT_NOT_KEPT
from milepost.engine.migration import as_people_see_it
from milepost.engine.plan import Checkpoint
from milepost.errors import InvalidTransitionError
from milepost.jobs import waiting
from milepost.jobs.explain import Explanation, explain
from milepost.jobs.filters import Since, Statuses, moment_of, statuses_of
from milepost.jobs.gate import Gate
from milepost.jobs.queues import consumers_for
from milepost.jobs.report import JobReport, report_on
from milepost.model import Job, JobStatus
from milepost.query import Page, Query
from milepost.registry import registry_of
from milepost.runtime import Runtime, runtime_for, runtime_of
from milepost.security.permissions import Action, Who
from milepost.stores.readable import readable
from milepost.tasks.carrying import recorded_value, takes_plaintext
from milepost.tasks.revealed import reveal

RESULT_INTERVAL = 0.1
"""Seconds between two looks for a result."""


class JobReader:
    """Finds jobs and tells how they are.

    Args:
        app: the Celery app.
        principal: who looks, where a call does not say.
    """

    def __init__(self, app: Any, principal: Who = None) -> None:
        self._app = app
        self._gate = Gate(app, principal)

    @property
    def _runtime(self) -> Runtime:
        return runtime_of(self._app)

    def get(self, job_id: str, *, principal: Who = None) -> Job:
        """Return a job's record.

        Raises:
            JobNotFoundError: no such job.
            PermissionDeniedError: the principal may not see it.
        """
        return self._seen(principal, Action.SEE, job_id)

    def get_job_status(self, job_id: str, *, principal: Who = None) -> JobReport:
        """Return how a job is doing: progress, rate, time left, heartbeat, whether it stalls.

        Raises:
            JobNotFoundError: no such job.
        """
        return self.report(self.get(job_id, principal=principal))

    def report(self, job: Job) -> JobReport:
        """Say how a job is doing whose record was just read here."""
        stalled_after = self._runtime.settings.stalled_after
        return report_on(job, stalled_after, self._gate.type_of(job).name)

    def find(
        self,
        *,
        status: Statuses = None,
        job_type: str | None = None,
        owner: str | None = None,
        since: Since = None,
        limit: int = 50,
        cursor: str | None = None,
        principal: Who = None,
    ) -> Page:
        """Return jobs, newest first.

        Args:
            status: one status, or several, any of which will do.
            job_type: the name of their job type or of their task. One that is not registered
                counts as the latter: there may be jobs of it from before.
            owner: whose they are.
            since: created then or later: a moment, seconds since the epoch, or a timedelta
                back from now.
            limit: how many at most.
            cursor: ``page.cursor`` of the page before.
            principal: who looks.

        Raises:
            ConfigurationError: a status, limit or cursor that does not exist.
            PermissionDeniedError: the principal may not list jobs of that type, or of all.
        """
        task = None if job_type is None else registry_of(self._app).task_name(job_type)
        wanted = None if task is None else self._gate.type_of_task(task)
        self._gate.check(principal, Action.LIST, wanted)
        page = self._runtime.store.find(
            Query(statuses_of(status), task, owner, moment_of(since), limit, cursor)
        )
        return replace(page, jobs=tuple(map(self.shown, page.jobs)))

    def find_all(self, **wanted: Any) -> Iterator[Job]:
        """Yield every job that :meth:`find` finds, page by page."""
        page = self.find(**wanted)
        yield from page.jobs
        while page.cursor is not None:
            page = self.find(**{**wanted, "cursor": page.cursor})
            yield from page.jobs

    def stats(self, *, principal: Who = None) -> Mapping[tuple[str, JobStatus], int]:
        """Return how many jobs there are, by their job type and their status.

        Raises:
            PermissionDeniedError: the principal may not list jobs of all types.
        """
        self._gate.check(principal, Action.LIST, None)
        counts = self._runtime.store.tally().items()
        return {
            (self._gate.type_of_task(task).name, status): number
            for (task, status), number in counts
        }

    def checkpoint(self, job_id: str, *, principal: Who = None) -> Checkpoint:
        """Return a job's checkpoint as people read it: steps, loops, maps, state, data.

        Raises:
            JobNotFoundError: no such job.
            DecodeError: it holds values of classes that this process does not have.
            PermissionDeniedError: the principal may not read it.
        """
        runtime = self._runtime_for(self._seen(principal, Action.READ, job_id))
        return as_people_see_it(runtime.codec, runtime.store.load(job_id))

    def explain(
        self,
        job_id: str,
        *,
        ask_workers: bool = True,
        timeout: float = 1.0,
        principal: Who = None,
    ) -> Explanation:
        """Say why a job is where it is: since when, by whom, until when, and who could run it.

        Args:
            job_id: which job.
            ask_workers: whether to ask the workers which queues they consume, and which tasks
                they have.
            timeout: seconds to wait for their answers.
            principal: who looks.

        Raises:
            JobNotFoundError: no such job.
            PermissionDeniedError: the principal may not see it.
        """
        job = self.get(job_id, principal=principal)
        waits = not job.status.is_terminal and job.status is not JobStatus.RUNNING
        waits = waits and bool(job.message)  # else it is not for workers
        consumers = consumers_for(self._app, job, timeout) if ask_workers and waits else None
        return explain(job, self._runtime.settings.stalled_after, consumers)

    def watch(self, job_id: str, *, interval: float = 0.2, principal: Who = None) -> Iterator[Job]:
        """Yield a job's record now and whenever it has changed, until the job has ended.

        Args:
            job_id: which job.
            interval: seconds between two looks.
            principal: who looks.

        Raises:
            JobNotFoundError: no such job, or its record was deleted meanwhile.
            PermissionDeniedError: the principal may not see it.
        """
        self.get(job_id, principal=principal)
        return waiting.changes_of(lambda: self._looked_at(job_id), interval)

    def wait(
        self,
        job_id: str,
        timeout: float | None = None,
        interval: float = 0.1,
        *,
        principal: Who = None,
    ) -> Job:
        """Return the record once the job has ended.

        Args:
            job_id: which job.
            timeout: seconds to wait at most; None: for ever.
            interval: seconds between two looks.
            principal: who looks.

        Raises:
            TimeoutError: it has not ended in time.
            JobNotFoundError: no such job.
            PermissionDeniedError: the principal may not see it.
        """
        self.get(job_id, principal=principal)
        return waiting.end_of(lambda: self._looked_at(job_id), timeout, interval)

    def result(self, job_id: str, timeout: float = 0.0, *, principal: Who = None) -> Any:
        """Return what a job's task returned, as kept in its record.

        Args:
            job_id: which job.
            timeout: seconds to wait for its end.
            principal: who looks.

        Raises:
            JobFailedError: it failed.
            InvalidTransitionError: it was cancelled, or its result was not kept.
            PlaintextError: its task is encrypted, and its result is in the clear.
            EncryptedDataError: its result is encrypted, and cannot be read here.
            TimeoutError: it has not ended in time.
            JobNotFoundError: no such job.
            PermissionDeniedError: the principal may not read it.
        """
        self._seen(principal, Action.READ, job_id)
        job = waiting.end_of(lambda: self._looked_at(job_id), timeout, RESULT_INTERVAL)
        if job.status is JobStatus.CANCELLED:
            raise InvalidTransitionError(job_id, job.status, JobStatus.SUCCEEDED, job.reason or "")
        if job.reason == RESULT_NOT_KEPT:
            raise InvalidTransitionError(job_id, job.status, "read", job.reason)
        allowed = takes_plaintext(self._app.tasks.get(job.task))
        return recorded_value(self._runtime_for(job), job, takes_plaintext=allowed)

    def open(self, value: Any) -> Any:
        """Return what an encrypted task returned or failed with, given its ciphertext.

        For what Celery hands on without a look at it: members of a group's result, a
        callback's argument. Anything else is returned as it is.

        Raises:
            NoKeysError: this process has no keys.
            EncryptedDataError: not the one that is needed, or the ciphertext was changed.
        """
        return reveal(self._app, value)

    def _seen(self, principal: Who, action: Action, job_id: str) -> Job:
        """Return the record of a job that somebody may look at."""
        job = self._runtime.store.get(job_id)
        self._gate.check_job(principal, action, job)
        return self.shown(job)

    def _looked_at(self, job_id: str) -> Job:
        return self.shown(self._runtime.store.get(job_id))

    def shown(self, job: Job) -> Job:
        """Return a record that the store has given as who has the key may see it.

        Others see stars. All that this manager returns was made so already.
        """
        allowed = takes_plaintext(self._app.tasks.get(job.task))
        return readable(job, self._runtime.cipher, takes_plaintext=allowed)

    def _runtime_for(self, job: Job) -> Runtime:
        task = self._app.tasks.get(job.task)
        return self._runtime if task is None else runtime_for(task)

    def _runtime_to_write(self, job: Job) -> Runtime:
        task = self._app.tasks.get(job.task)
        return self._runtime if task is None else runtime_for(task, job)
