"""The jobs that Celery runs, as operators and callers handle them."""

from collections.abc import Mapping
from typing import Any

from milepost.budget import Budget
from milepost.engine.scope import without_books, without_loops
from milepost.errors import ConfigurationError
from milepost.history import Act
from milepost.jobs.bulk import ACT_OPTIONS, Bulk, on_each
from milepost.jobs.elsewhere import refuse_elsewhere
from milepost.jobs.granting import resume_with
from milepost.jobs.reading import JobReader
from milepost.jobs.sending import Sender
from milepost.model import Job, JobStatus, Signal
from milepost.registry import registry_of
from milepost.security.permissions import Action, Who


class CeleryJobManager(JobReader):
    """Jobs that Celery runs.

    Every call takes ``principal``, whoever asks for it, and the app's policy decides whether
    they may: :class:`~milepost.errors.PermissionDeniedError` if not. Every act takes ``by``
    too, the name that the job's history keeps. Left out, that is the principal's; under a
    policy it is added to the principal's.

    Args:
        app: the Celery app.
        principal: who asks, where a call does not say.
    """

    def __init__(self, app: Any, principal: Who = None) -> None:
        super().__init__(app, principal)
        self._sender = Sender(app)

    def acting_for(self, principal: Who) -> "CeleryJobManager":
        """Return the same manager for somebody: all its calls are theirs."""
        return CeleryJobManager(self._app, principal)

    # -- making ------------------------------------------------------------------------------

    def create(
        self,
        task: Any,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        principal: Who = None,
        **options: Any,
    ) -> Job:
        """Record and send a job.

        Args:
            task: a job type, or a durable task or its registered name.
            payload: keyword arguments of the task.
            idempotency_key: the same key for the same job type gives the same job, for as long
                as that is on record; only the first call makes one. Should its sending fail,
                the record stays, and the keeper of a worker sends it later.
            owner: whose job it is; :meth:`find` can look for it.
            metadata: what else to remember, as JSON has it. It is kept in the clear.
            principal: who asks.
            options: of Celery's ``apply_async``: ``queue``, ``priority``, ``countdown``,
                ``eta``, ``task_id``, ``link``, …

        Raises:
            UnknownJobTypeError: no job type and no durable task of that name is registered.
            ConfigurationError: the app runs its tasks eagerly, or an argument is unusable.
            PermissionDeniedError: the principal may not create such jobs, or may not see the
                one that there is for the key.
            InvalidInputError: the payload does not fit the job type, or is over a limit.
            TypeError: the task takes no such arguments.
            StoreUnavailableError: nothing was recorded, nothing sent.
            BrokerUnavailableError: nothing was sent, as far as anybody knows.
        """
        facts = (idempotency_key, owner, metadata)
        job, is_new = self._created(task, payload, *facts, principal, **options)
        if not is_new:
            self._gate.check_job(principal, Action.SEE, job)
        return self.shown(job)

    def create_job(
        self, job_type: str, payload: Mapping[str, Any] | None = None, **options: Any
    ) -> str:
        """Record and send a job, as :meth:`create` does, and return its id and nothing more."""
        return self._created(job_type, payload, **options)[0].id

    # -- steering ----------------------------------------------------------------------------

    def pause(self, job_id: str, *, by: str = "", principal: Who = None) -> Job:
        """Ask a job to stop at its next checkpoint and wait; one that waits stops at once.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended.
        """
        by = self._allowed(principal, Action.PAUSE, job_id, by)
        job = self._runtime.store.signal(job_id, Signal.PAUSE, by=by)
        if job.status is JobStatus.PAUSED:
            self._sender.tell_paused(job)
        return self.shown(job)

    def resume(
        self, job_id: str, *, by: str = "", principal: Who = None, budget: Budget | None = None
    ) -> Job:
        """Let a paused job go on: it is sent again at once. A waiting pause is taken back.

        One that waited for its moment when it was paused (an ETA, a retry's countdown, a
        snooze) waits for it again; :meth:`wake` starts it now.

        Args:
            job_id: which job.
            by: who asks.
            principal: who asks, for the policy.
            budget: the most that its calls may cost from its beginning on, instead of what
                its task declares; for a paused job only.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended, or is given a budget and is not paused; or
                another system has it.
            NoKeysError, EncryptedDataError: it is encrypted and given a budget, and its key
                is not here.
        """
        by = self._allowed(principal, Action.RESUME, job_id, by)
        store = self._runtime.store
        before = store.get(job_id)
        refuse_elsewhere(before)
        if budget is None:
            job = self.shown(store.resume(job_id, by=by))
        else:
            job = resume_with(self._runtime_to_write, before, budget, by)
        if job.status is JobStatus.SCHEDULED and before.status is JobStatus.PAUSED:
            self._sender.tell_resumed(job)
        self._sender.send_due(job, self._sender.tell_resumed)
        return job

    def cancel(
        self, job_id: str, *, force: bool = False, by: str = "", principal: Who = None
    ) -> Job:
        """End a job: a running one at its next checkpoint, one that waits at once.

        Args:
            job_id: which job.
            force: end a running one at once too, for tasks that do not checkpoint: nothing
                it still does is accepted, and its process is killed where there is one.
            by: who asks.
            principal: who asks, for the policy.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended.
        """
        by = self._allowed(principal, Action.CANCEL, job_id, by)
        job = self._runtime.store.signal(job_id, Signal.CANCEL, by=by, force=force)
        if job.status is JobStatus.CANCELLED and job.worker is None:
            self._sender.tell_cancelled(job)
        return self.shown(job)

    def wake(self, job_id: str, *, by: str = "", principal: Who = None) -> Job:
        """Start a job now that waits for its moment: an ETA, a retry's countdown, a snooze.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has ended, or is paused.
        """
        by = self._allowed(principal, Action.WAKE, job_id, by)
        job = self._runtime.store.wake(job_id, by=by)
        self._sender.send_due(job)
        return self.shown(job)

    def retry(self, job_id: str, *, by: str = "", principal: Who = None) -> Job:
        """Let a job that has failed or was cancelled go on from its checkpoint.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has not ended, has done its work, or another system
                has it.
        """
        by = self._allowed(principal, Action.RETRY, job_id, by)
        return self.shown(self._sender.reopen(job_id, Act.RETRY, (), by))

    def restart(
        self, job_id: str, *, from_start: bool = True, by: str = "", principal: Who = None
    ) -> Job:
        """Let a job that has ended, or is paused, begin again under its id.

        Args:
            job_id: which job.
            from_start: drop everything it has recorded but what it has spent. False: the steps
                of its body keep their results, while its loops begin again.
            by: who asks.
            principal: who asks, for the policy.

        Raises:
            JobNotFoundError: no such job.
            InvalidTransitionError: it has not ended; cancel it first. Or another system has it.
        """
        by = self._allowed(principal, Action.RESTART, job_id, by)
        store = self._runtime_for(self._runtime.store.get(job_id)).store
        fields = store.load(job_id)
        drop = without_books(fields) if from_start else without_loops(fields)
        return self._sender.reopen(job_id, Act.RESTART, drop, by, store)

    def bulk(
        self,
        act: str,
        *,
        by: str = "",
        principal: Who = None,
        everything: bool = False,
        **wanted: Any,
    ) -> Bulk:
        """Do one act to every job that a filter finds.

        Args:
            act: ``pause``, ``resume``, ``cancel``, ``wake``, ``retry`` or ``restart``.
            by: who asks.
            principal: who asks, for the policy: to find them, and for each.
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
        jobs = list(self.find_all(**wanted, limit=500, principal=principal))
        who = {"by": by, "principal": principal}
        return on_each(jobs, lambda job_id: getattr(self, act)(job_id, **who, **how))

    def _created(
        self,
        task: Any,
        payload: Mapping[str, Any] | None,
        idempotency_key: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        principal: Who = None,
        **options: Any,
    ) -> tuple[Job, bool]:
        """Return the record of a job that somebody may create, and whether it is new."""
        job_type = registry_of(self._app).get_task(getattr(task, "name", task))
        self._gate.check(principal, Action.CREATE, job_type)
        return self._sender.create(job_type, payload, idempotency_key, owner, metadata, options)

    def _allowed(self, principal: Who, action: Action, job_id: str, by: str) -> str:
        """Refuse what may not be done to a job, and return what its history calls who asks."""
        self._gate.check_id(principal, action, job_id)
        return self._gate.named(principal, by)
