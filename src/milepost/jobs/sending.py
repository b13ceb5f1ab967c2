"""What a control act sends: the job's message, and the word to Celery about it."""

import json
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from milepost.declared import check_model
from milepost.engine.recovery import AGAIN_AFTER
from milepost.errors import ConfigurationError
from milepost.history import Act
from milepost.jobs.elsewhere import refuse_elsewhere
from milepost.jobs.fastfail import broker_errors_as_one
from milepost.jobs.patience import PATIENCE, attempt
from milepost.model import Job, JobStatus
from milepost.registry import JobType
from milepost.runtime import runtime_of
from milepost.security.validation import check_input, limits_of
from milepost.store import Store
from milepost.tasks import announce
from milepost.tasks.arguments import check_signature
from milepost.tasks.base import BaseTask, Facts, record, resend
from milepost.tasks.current import RECORDED
from milepost.tasks.undo import RECORD_LEFT, undo

IsLate: TypeAlias = Callable[[], bool]
KEYS = uuid.UUID("6d696c65-706f-5374-8b1d-6a6f62206b65")
"""The namespace in which idempotency keys become job ids."""
EACH = 0.05
"""Seconds more that telling of one more job may take."""


class Sender:
    """Sends jobs and tells Celery of them, for one app.

    Args:
        app: the Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def create(
        self,
        job_type: JobType,
        payload: Mapping[str, Any] | None,
        key: str | None,
        owner: str | None,
        metadata: Mapping[str, Any] | None,
        options: dict[str, Any],
    ) -> tuple[Job, bool]:
        """Record and send a job; see :meth:`CeleryJobManager.create`.

        Returns:
            Its record, and whether it is new.
        """
        found = self._task_of(job_type)
        if job_type.queue is not None:
            options.setdefault("queue", job_type.queue)
        runtime, kwargs = runtime_of(self._app), dict(payload or {})
        check_model(job_type, found)
        check_input(job_type.name, kwargs, job_type.input_model, limits_of(runtime.settings))
        if found.typing:
            check_signature(found, (), kwargs)
        job_id = _id_of(job_type.name, key, options)
        options = {**options, "task_id": job_id}
        facts = Facts(owner, key, checked_metadata(metadata))
        args, kwargs = found.milepost_outgoing((), kwargs, job_id)
        if not record(found, runtime, args, kwargs, options, facts):
            return runtime.store.get(job_id), False
        token = RECORDED.set(job_id)
        try:
            with broker_errors_as_one(self._app, job_id):
                found.apply_async(args, kwargs, **options)
        except BaseException as exc:
            if key is None:  # else somebody may have been told of it already
                undo(lambda: runtime.store.delete(job_id), exc, RECORD_LEFT)
            raise
        finally:
            RECORDED.reset(token)
        return runtime.store.get(job_id), True

    def reopen(
        self,
        job_id: str,
        act: Act,
        drop: Sequence[str] | None,
        by: str,
        store: Store | None = None,
    ) -> Job:
        """Let a job run again that had ended; *store*: the one that knows what to drop."""
        store = store or runtime_of(self._app).store
        refuse_elsewhere(store.get(job_id))
        job = store.reopen(job_id, act, drop=drop, by=by)
        self.send_due(job, self._forget)
        return job

    def send_due(self, job: Job, tell: Callable[[Job], bool] | None = None) -> None:
        """Send a job's message again that was just made due; where that fails, a keeper does.

        Args:
            job: its record.
            tell: tells Celery what it is to know before the job can end again, and returns
                whether it is told: what is told later would take the place of that end, and
                who waits for it would wait on. So the sending is left to a keeper then, too.
        """
        if job.status is not JobStatus.PENDING:
            return
        if runtime_of(self._app).store.claim_recovery(job.id, AGAIN_AFTER) is None:
            return
        if tell is not None and not tell(job):
            return
        attempt(f"job {job.id}: send it now, and not by a keeper", lambda: resend(self._app, job))

    def _forget(self, job: Job) -> bool:
        """Let Celery forget how a job has ended that begins again; return whether it is done."""
        return self._in_time(job, "forget its old result", announce.forgotten)

    def _in_time(self, job: Job, what: str, tell: Callable[[Any, Any, IsLate], None]) -> bool:
        """Tell Celery something of a job that is about to go on; not once nobody waits for it."""
        late = threading.Event()
        return attempt(
            f"job {job.id}: {what}",
            lambda: tell(self._app, announce.request_of(self._app, job), late.is_set),
            given_up=late,
        )

    def tell_paused(self, job: Job) -> None:
        """Tell Celery that a job was paused before a worker had it."""
        reason = job.reason or "paused"
        attempt(
            f"job {job.id}: tell Celery of its pause",
            lambda: announce.paused(self._app, announce.request_of(self._app, job), reason),
        )

    def tell_resumed(self, job: Job) -> bool:
        """Tell Celery that a paused job goes on; return whether it is told."""
        return self._in_time(job, "tell Celery that it goes on", announce.resumed)

    def tell_cancelled(self, *jobs: Job) -> None:
        """Tell Celery that jobs were cancelled before a worker had them: who waits must know.

        Where that fails, a keeper sees to it.
        """
        store = runtime_of(self._app).store

        def tell() -> None:
            for job in jobs:
                request = announce.request_of(self._app, job)
                announce.cancelled(self._app, request, job.reason or "cancelled")
                store.finish([job.id])

        which = ", ".join(job.id for job in jobs[:3]) + (", …" if len(jobs) > 3 else "")
        attempt(f"job {which}: tell Celery of its end", tell, PATIENCE + len(jobs) * EACH)

    def _task_of(self, job_type: JobType) -> BaseTask:
        if self._app.conf.task_always_eager:
            raise ConfigurationError(
                f"task_always_eager is set: {job_type.task!r} would run in this process and leave "
                "no job. Call its apply() instead"
            )
        found = self._app.tasks[job_type.task]
        assert isinstance(found, BaseTask)
        return found


def _id_of(job_type: str, key: str | None, options: Mapping[str, Any]) -> str:
    """Return the id of a new job: a key always gives the same one, without anybody's lookup."""
    given = options.get("task_id")
    if key is None:
        return str(given or uuid.uuid4())
    if given is not None:
        raise ConfigurationError("idempotency_key and task_id both name the job: give one")
    return id_of_key(job_type, key)


def id_of_key(job_type: str, key: str) -> str:
    """Return the id that an idempotency key gives a job of the type with that name.

    Raises:
        ConfigurationError: it is no text, empty or too long.
    """
    if not isinstance(key, str) or not 0 < len(key) <= 255:
        raise ConfigurationError(f"idempotency_key = {key!r}: a text of 1 to 255 characters")
    return str(uuid.uuid5(KEYS, f"{job_type}\0{key}"))


def checked_metadata(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return metadata as it will be read back, or refuse what JSON cannot say.

    Raises:
        ConfigurationError: it is no mapping, or JSON cannot hold it.
    """
    try:
        back = json.loads(json.dumps(dict(metadata or {}), allow_nan=False))
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(f"metadata: {exc}; keep what JSON can say") from None
    assert isinstance(back, dict)
    return back
