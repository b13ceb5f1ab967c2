"""The router: one door for jobs while two systems run them."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from milepost.errors import ConfigurationError, JobNotFoundError
from milepost.jobs import Answering, CeleryJobManager, JobManager, JobReport
from milepost.jobs.elsewhere import native_id
from milepost.jobs.gate import Gate
from milepost.model import Job
from milepost.registry import TaskRegistry
from milepost.routing import pins
from milepost.routing.dispatch import Dispatcher, Order
from milepost.routing.flags import FeatureFlags
from milepost.routing.modes import (
    ROUTE,
    Decision,
    Engine,
    Mode,
    celery_flag,
    falls_within,
    mode_of,
    shadow_flag,
)
from milepost.runtime import Runtime
from milepost.security.permissions import Action, Who
from milepost.security.validation import check_input, limits_of


class JobRouter:
    """Gives each job to Celery or to the legacy system, and finds it again there.

    Which one is decided by the flags of its type when it is created, and never again: what
    is asked of a job later goes to the system that has it. A job's id is the one that its
    system has given it.

    Every call takes ``principal``, whoever asks, and the app's policy decides whether they may,
    for jobs of either system. Every call is synchronous; in an ``async def`` endpoint:
    ``await asyncio.to_thread(router.create_job, "import", payload)``.

    Args:
        app: the Celery app.
        runtime: gives the application's runtime; called when it is first needed.
        flags: the feature flags.
        registry: the job types.
        legacy: the other system's manager. None: there is none, and a job that is to go there
            is an error.
        fall_back: whether a job goes to the legacy system when Celery's broker is down.
    """

    def __init__(
        self,
        app: Any,
        runtime: Callable[[], Runtime],
        flags: FeatureFlags,
        registry: TaskRegistry,
        *,
        legacy: JobManager | None = None,
        fall_back: bool = False,
    ) -> None:
        self._provide, self._flags, self._registry = runtime, flags, registry
        self._jobs, self._gate, self._legacy = CeleryJobManager(app), Gate(app), legacy
        self._dispatcher = Dispatcher(app, runtime, legacy, fall_back)

    # -- deciding ----------------------------------------------------------------------------

    def decide(self, job_type: str, key: str) -> Decision:
        """Say where a job of a type would go now.

        Args:
            job_type: of the job.
            key: what the decision sticks to where a type is shared out.
        """
        share = self._flags.share(celery_flag(job_type), key)
        if share > 0:
            taken = falls_within(share, celery_flag(job_type), key)
            engine = Engine.CELERY if taken else Engine.LEGACY
            return Decision(job_type, engine, mode_of(share, 0.0), share)
        shadow = self._flags.share(shadow_flag(job_type), key)
        if falls_within(shadow, shadow_flag(job_type), key):
            return Decision(job_type, Engine.LEGACY, Mode.SHADOW, shadow)
        return Decision(job_type, Engine.LEGACY, Mode.LEGACY, 0.0)

    def mode(self, job_type: str) -> tuple[Mode, float]:
        """Return how jobs of a type are shared out now, and the share."""
        celery = self._flags.share(celery_flag(job_type))
        shadow = self._flags.share(shadow_flag(job_type))
        return mode_of(celery, shadow), celery or shadow

    # -- making ------------------------------------------------------------------------------

    def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        route_key: str | None = None,
        owner: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        principal: Who = None,
        **options: Any,
    ) -> str:
        """Create a job in the system that its type goes to, and return its id there.

        Args:
            job_type: what is to be done.
            payload: with what: keyword arguments.
            idempotency_key: the same key for the same type gives the same job, also when the
                type has moved to another system since.
            route_key: what the decision sticks to where a type is shared out: a customer, a
                table. None: the idempotency key, else chance.
            owner: whose job it is, where Celery runs it.
            metadata: what else to remember, where Celery runs it.
            principal: who asks.
            options: of Celery's ``apply_async``, where Celery runs it.

        Raises:
            UnknownJobTypeError: it is to go to Celery, where nothing does jobs of that type.
            ConfigurationError: it is to go to a legacy system, and there is none; or the key
                or the metadata are unusable.
            PermissionDeniedError: the principal may not create such jobs.
            InvalidInputError: the type goes to Celery, or a share of it, and the payload does
                not fit it, or is over a limit.
            BrokerUnavailableError: Celery takes no message. With an idempotency key the job
                is on record, and sent when the broker is back; else there is none.
            StoreUnavailableError: nothing was recorded, nothing sent.
        """
        key = str(uuid.uuid4()) if idempotency_key is None else idempotency_key
        noted = dict(metadata or {})
        if ROUTE in noted:
            raise ConfigurationError(f"metadata: {ROUTE!r} is where the router notes its decision")
        kind = self._gate.type_named(job_type)
        decision = self.decide(kind.name, route_key or key)
        if decision.engine is Engine.CELERY:
            kind = self._registry.get_task(job_type)
        order = Order(
            kind,
            dict(payload or {}),
            key,
            idempotency_key is not None,
            owner,
            noted,
            options,
        )
        self._gate.check(principal, Action.CREATE, kind)
        if decision.engine is Engine.CELERY:
            return self._dispatcher.to_celery(order, decision)
        if decision.mode is Mode.PERCENTAGE:
            limits = limits_of(self._provide().settings)
            check_input(kind.name, order.payload, kind.input_model, limits)
        job_id = self._dispatcher.to_legacy(order, decision)
        if decision.mode is Mode.SHADOW:
            self._dispatcher.shadow(order, decision, job_id)
        return job_id

    def route_job(self, job_type: str, *, principal: Who = None, **kwargs: Any) -> str:
        """Create a job with keyword arguments as its payload, and return its id.

        Args:
            job_type: what is to be done.
            principal: who asks; a payload with a ``principal`` of its own goes through
                :meth:`create_job`.
            kwargs: the payload.

        Raises:
            As for :meth:`create_job`.
        """
        return self.create_job(job_type, kwargs, principal=principal)

    # -- looking and steering ----------------------------------------------------------------

    def get_job_status(self, job_id: str, *, principal: Who = None) -> JobReport:
        """Return how a job is doing, in one shape, whichever system has it.

        Raises:
            JobNotFoundError: no system has it.
            PermissionDeniedError: the principal may not see it.
        """
        return self._seen(job_id, Action.SEE, principal)[2]

    def result(self, job_id: str, *, principal: Who = None) -> Any:
        """Return what a job that has succeeded returned.

        Raises:
            JobFailedError: it failed.
            TimeoutError: it has not ended.
            JobNotFoundError: no system has it.
            PermissionDeniedError: the principal may not read it.
            ConfigurationError: the system that has it keeps no results.
        """
        manager, native, report = self._seen(job_id, Action.READ, principal)
        if report.engine == Engine.CELERY:
            return self._jobs.result(native, principal=principal)
        if not isinstance(manager, Answering):
            raise ConfigurationError(f"job {job_id!r}: {manager!r} has no verb 'result'")
        return manager.result(native)

    def pause(self, job_id: str, *, by: str = "", principal: Who = None) -> JobReport:
        """Ask the system that has a job to let it stop and wait.

        Raises:
            JobNotFoundError: no system has it.
            PermissionDeniedError: the principal may not do that.
            InvalidTransitionError: it has ended, or cannot be paused there.
        """
        return self._ask(Action.PAUSE, job_id, by, principal)

    def resume(self, job_id: str, *, by: str = "", principal: Who = None) -> JobReport:
        """Let a paused job go on, in the system that has it.

        Raises:
            As for :meth:`pause`.
        """
        return self._ask(Action.RESUME, job_id, by, principal)

    def cancel(self, job_id: str, *, by: str = "", principal: Who = None) -> JobReport:
        """Ask the system that has a job to end it.

        Raises:
            As for :meth:`pause`.
        """
        return self._ask(Action.CANCEL, job_id, by, principal)

    def retry(self, job_id: str, *, by: str = "", principal: Who = None) -> JobReport:
        """Let a job that has failed go on, in the system that has it.

        Raises:
            As for :meth:`pause`.
            ConfigurationError: that system has no such verb.
        """
        return self._ask(Action.RETRY, job_id, by, principal)

    def engine_of(self, job_id: str) -> Engine:
        """Return which system has a job; one that is not on record here counts as the legacy
        system's, if there is one, which is not asked.

        Raises:
            JobNotFoundError: it is not on record here, and there is no legacy system.
        """
        return Engine.LEGACY if self._find(job_id)[2] is None else Engine.CELERY

    def _ask(self, action: Action, job_id: str, by: str, principal: Who) -> JobReport:
        manager, native, _ = self._seen(job_id, action, principal)
        act = getattr(manager, action, None)
        if act is None:
            raise ConfigurationError(f"job {job_id!r}: {manager!r} has no verb {str(action)!r}")
        if manager is self._jobs:
            act(native, by=by, principal=principal)
        else:
            act(native, by=self._gate.named(principal, by))
        return self._report(*self._find(job_id))

    def _seen(
        self, job_id: str, action: Action, principal: Who
    ) -> tuple[JobManager, str, JobReport]:
        """Find a job for somebody who may do that with it."""
        manager, native, job = self._find(job_id)
        report = self._report(manager, native, job)
        if job is not None:
            self._gate.check_job(principal, action, job)
        else:
            self._gate.check(principal, action, self._gate.type_named(report.job_type))
        return manager, native, report

    def _report(self, manager: JobManager, native: str, job: Job | None) -> JobReport:
        if job is not None:
            return self._jobs.report(self._jobs.shown(job))
        return replace(manager.get_job_status(native), engine=Engine.LEGACY)

    def _find(self, job_id: str) -> tuple[JobManager, str, Job | None]:
        """Return who has a job, its id there, and its record if that is Celery's."""
        try:
            job = self._provide().store.get(job_id)
        except JobNotFoundError:
            if self._legacy is None:
                raise
            return self._legacy, job_id, None
        native = native_id(job)
        if native is not None:
            return self._dispatcher.legacy, native, None
        if job.message or (pins.is_place(job) and job.metadata.get(ROUTE)):
            return self._jobs, job_id, job
        return self._dispatcher.legacy, job_id, None
