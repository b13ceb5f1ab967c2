"""The two ways a new job can take, and what becomes of one whose way is blocked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from milepost.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    InvalidTransitionError,
    JobNotFoundError,
)
from milepost.events import JobRouted, ShadowFailed
from milepost.jobs import JobManager
from milepost.jobs.elsewhere import native_id
from milepost.jobs.sending import Sender, id_of_key
from milepost.jobtype import JobType
from milepost.model import Job, JobStatus, Signal
from milepost.routing import pins, shadows
from milepost.routing.modes import ROUTE, Decision, Engine
from milepost.runtime import Runtime
from milepost.tasks.discreet import told
from milepost.tasks.undo import RECORD_LEFT, undo
from milepost.tasks.verdict import describe

ROUTER = "router"
"""Who the history says has asked, where the router did."""
FOLLOWERS = frozenset({"link", "link_error", "chain", "chord"})
"""Options of ``apply_async`` that name what runs because of a job; nothing does for a shadow."""
PLACE_PATIENCE = 2.0
"""Seconds another process is given to finish what it does for the same key."""


@dataclass(frozen=True, slots=True)
class Order:
    """A job that somebody wants.

    Attributes:
        kind: what is to be done.
        payload: with what.
        key: its idempotency key; one that nobody gave is by chance.
        is_keyed: whether somebody gave it.
        owner: whose job it is.
        metadata: what its owner notes.
        options: of ``apply_async``, where Celery runs it.
    """

    kind: JobType
    payload: Mapping[str, Any]
    key: str
    is_keyed: bool
    owner: str | None
    metadata: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def job_id(self) -> str:
        """Return the id that the key gives."""
        return id_of_key(self.kind.name, self.key)

    def noting(self, route: Mapping[str, Any]) -> dict[str, Any]:
        """Return its metadata with how it was routed."""
        return {**self.metadata, ROUTE: dict(route)}


class Dispatcher:
    """Sends new jobs on their ways.

    Args:
        app: the Celery app that jobs are sent to.
        runtime: gives the application's runtime.
        legacy: the other system's manager; None: there is none.
        fall_back: whether a job goes there when Celery's broker is down.
    """

    def __init__(
        self,
        app: Any,
        runtime: Callable[[], Runtime],
        legacy: JobManager | None,
        fall_back: bool,
    ) -> None:
        self._app, self._sender, self._provide, self._legacy = app, Sender(app), runtime, legacy
        self._fall_back = fall_back and legacy is not None

    def to_celery(self, order: Order, decision: Decision) -> str:
        """Let Celery run a job; return its id, or that of the one there is for its key."""
        try:
            job = self._send(order, order.key, order.owner, decision.as_metadata())
        except BrokerUnavailableError as exc:
            return self._without_broker(order, decision, exc)
        return self._follow(order, decision, job)

    def to_legacy(self, order: Order, decision: Decision) -> str:
        """Let the legacy system run a job; return its id there."""
        if not order.is_keyed:
            job_id = self.legacy.create_job(order.kind.name, order.payload)
            self._tell(job_id, decision)
            return job_id
        store = self._provide().store
        metadata = order.noting(decision.as_metadata())
        if not pins.hold(store, order.job_id, order.kind.task, order.key, order.owner, metadata):
            return self._follow(order, decision, store.get(order.job_id))
        return self._take_up(order, decision)

    def shadow(self, order: Order, decision: Decision, job_id: str) -> None:
        """Let Celery run a job too; whatever comes of it, the job itself is not touched."""
        options = {name: one for name, one in order.options.items() if name not in FOLLOWERS}
        try:
            self._send(
                replace(order, options=options),
                f"shadow of {order.job_id}",
                f"{shadows.OWNER}{order.kind.name}",
                {**decision.as_metadata(), "shadow_of": job_id},
            )
        except Exception as exc:  # whatever it is, the job itself is made
            problem = told(self._app, order.kind.task, describe(exc))
            self._provide().emit(ShadowFailed(job_id, order.kind.name, problem))

    @property
    def legacy(self) -> JobManager:
        """The other system's manager.

        Raises:
            ConfigurationError: there is none.
        """
        if self._legacy is None:
            raise ConfigurationError(
                "this job is to go to the legacy system, and there is none: give Milepost(app, "
                "routing=Routing(legacy=…)), or enable the job type's flag"
            )
        return self._legacy

    def _send(self, order: Order, key: str, owner: str | None, route: Mapping[str, Any]) -> Job:
        return self._sender.create(
            *(order.kind, order.payload, key, owner, order.noting(route), dict(order.options))
        )[0]

    def _follow(self, order: Order, decision: Decision, job: Job) -> str:
        """Return the id of a job whose record is there already, or has just been made."""
        native = native_id(job)
        if native is not None:
            return native
        if pins.is_place(job):
            return self._await_place(order, decision)
        if is_on_its_way(job):
            return self._take_up(order, decision)
        self._tell(job.id, decision)
        return job.id

    def _await_place(self, order: Order, decision: Decision) -> str:
        """Wait for whoever holds the place of a job; go on for one who seems to have died."""
        store, clock = self._provide().store, self._provide().clock
        give_up_at = clock.monotonic() + PLACE_PATIENCE
        while clock.monotonic() < give_up_at:
            native = native_id(store.get(order.job_id))
            if native is not None:
                return native
            clock.sleep(0.02)
        return self._take_up(order, decision)

    def _take_up(self, order: Order, decision: Decision, *, fell_back: bool = False) -> str:
        """Let the legacy system have a job whose record is kept from Celery."""
        legacy = self.legacy
        native = legacy.create_job(order.kind.name, order.payload, idempotency_key=order.key)
        pins.hand_over(self._provide().store, order.job_id, native)
        self._tell(native, decision, fell_back=fell_back)
        return native

    def _without_broker(
        self, order: Order, decision: Decision, problem: BrokerUnavailableError
    ) -> str:
        """Take a job back that could not be sent, and let the legacy system have it if it may.

        Its message may have arrived although the answer did not: then a worker may have the
        job already, and it stays Celery's. Else the record, paused or ended, keeps every
        worker from it, also where the legacy system fails: it may have the job all the same.
        """
        store = self._provide().store
        if not self._fall_back:
            if not order.is_keyed:
                undo(lambda: self._void(order.job_id), problem, RECORD_LEFT)
            raise problem
        try:
            job = store.signal(order.job_id, Signal.PAUSE, by=ROUTER)
        except InvalidTransitionError:
            return self._follow(order, decision, store.get(order.job_id))
        if job.status is not JobStatus.PAUSED or job.attempts:
            self._sender.send_due(store.resume(job.id, by=ROUTER))
            self._tell(job.id, decision)
            return job.id
        try:
            return self._take_up(order, decision, fell_back=True)
        except Exception as exc:
            if not order.is_keyed:  # else the next call with the key goes on
                undo(lambda: self._void(job.id), exc, RECORD_LEFT)
            raise

    def _void(self, job_id: str) -> None:
        """End a job that its creator is told does not exist; one that runs ends soon."""
        store = self._provide().store
        try:
            job = store.signal(job_id, Signal.CANCEL, by=ROUTER)
        except (InvalidTransitionError, JobNotFoundError):
            return
        if job.status is JobStatus.CANCELLED:
            store.finish([job_id])

    def _tell(self, job_id: str, decision: Decision, *, fell_back: bool = False) -> None:
        engine = Engine.LEGACY if fell_back else decision.engine
        self._provide().emit(JobRouted(job_id, decision.job_type, engine, decision.mode, fell_back))


def is_on_its_way(job: Job) -> bool:
    """Whether the router has kept a job from Celery to hand it over, and did not come to it."""
    if job.status is not JobStatus.PAUSED or job.attempts or not job.history:
        return False
    return (job.history[-1].act, job.history[-1].by) == (str(Signal.PAUSE), ROUTER)
