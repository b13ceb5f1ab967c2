"""The task base: a Celery task that can be made durable."""

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import celery
from celery._state import get_current_worker_task
from kombu.exceptions import OperationalError

from milepost import engine
from milepost.codec import Codec
from milepost.guard import Declaration
from milepost.model import Job, NewJob
from milepost.runtime import Runtime, runtime_of
from milepost.tasks import message
from milepost.tasks.arguments import check_arguments
from milepost.tasks.carrying import wrap_run
from milepost.tasks.concealing import modelled, opening_fields, readable, sealed
from milepost.tasks.current import CURRENT, RECORDED, SEALED
from milepost.tasks.declaring import check_guards, declare_durable
from milepost.tasks.departures import REPRS, departures_of
from milepost.tasks.fields import check_input_model, fields_of
from milepost.tasks.following import follows_a_success
from milepost.tasks.parts import sealed_part
from milepost.tasks.sensitive import dumps_models, without_models
from milepost.tasks.undo import RECORD_LEFT, undo
from milepost.tasks.verdict import FINAL

logger = logging.getLogger("milepost")


class BaseTask(celery.Task):  # type: ignore[type-arg]
    """A Celery task that can be made durable; until then it costs and changes nothing.

    Attributes:
        durable: whether jobs of this task are recorded, fenced and recovered.
        lease_seconds: how long its worker may be silent. None: the application's setting.
        checkpoint_every: seconds between checkpoints of a loop. None: the setting.
        max_crashes: deaths in a row without a checkpoint that fail a job. None: the setting.
        checkpoint_version: raise it when stored checkpoints no longer fit the code, and
            define ``migrate_checkpoint(data, from_version)``, which returns the data as the
            new code wants them.
        codec: how its values become bytes. None: the application's codec.
        guards: what stands before each run of its body, in this order; see
            :mod:`milepost.guards.declared`. A job that is held back frees its slot and
            comes again.
        keep_result: whether the return value is kept in the job's record.
        on_soft_time_limit: ``fail``: the job fails, as in Celery; ``continue``: it frees its
            slot and goes on in a new attempt, if it has saved anything since it began.
        job_type: the name of its job type. None: the task's own.
        input_model: pydantic model that the arguments have to fit. None: any arguments.
        permissions: what a role must be entitled to beside the act itself.
        accept_plaintext: take what was sent in the clear, before the task, or a field of what
            it takes, was encrypted: for as long as it takes to migrate.
    """

    abstract = True
    durable: ClassVar[bool] = False
    lease_seconds: ClassVar[float | None] = None
    checkpoint_every: ClassVar[float | None] = None
    max_crashes: ClassVar[int | None] = None
    checkpoint_version: ClassVar[int] = 1
    codec: ClassVar[Codec | None] = None
    guards: ClassVar[Sequence[Declaration]] = ()
    keep_result: ClassVar[bool] = True
    on_soft_time_limit: ClassVar[str] = "fail"
    job_type: ClassVar[str | None] = None
    input_model: ClassVar[Any] = None
    permissions: ClassVar[tuple[str, ...]] = ()
    accept_plaintext: ClassVar[bool] = False
    milepost_is_encrypted: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.guards:
            check_guards(cls)
        fields_of(cls)  # fail where the mistake is made
        if cls.__dict__.get("_dump_pydantic_arguments") and not cls.milepost_is_encrypted:
            opening_fields(cls)
        if cls.durable:
            declare_durable(cls)
            wrap_run(cls)

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Bind the task to an app, whose messages are looked at if the task takes secrets."""
        if fields_of(cls) is not None:
            departures_of(app).is_needed = True
        return super().bind(app)

    @property
    def milepost_encrypts(self) -> bool:
        """Whether arguments of the task do not leave as they are, or not all of them."""
        return self.milepost_is_encrypted or fields_of(self) is not None

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Any:
        """Send the task, as in Celery; a durable one is on record before its message is sent.

        A job's own retry needs no broker, nor does what follows a job: it is on record, and a
        keeper sends it.

        Raises:
            StoreUnavailableError: the record could not be written; nothing was sent.
            InvalidInputError: the arguments do not fit the input model; likewise.
            NoKeysError: something of it is to be encrypted, and there is no key; likewise.
        """
        places = (producer, link, link_error, shadow)
        dumps = dumps_models(self) and options.get("serializer") != "pickle"
        if dumps or self.milepost_encrypts:
            task_id = task_id or str(uuid.uuid4())
            args, kwargs = self.milepost_outgoing(args, kwargs, task_id, options.get("parent_id"))
        if self.milepost_is_encrypted:
            options |= REPRS
        token = SEALED.set(task_id)
        try:
            return self._depart(args, kwargs, task_id, places, options)
        finally:
            SEALED.reset(token)

    def _depart(
        self, args: Any, kwargs: Any, task_id: str | None, places: Any, options: dict[str, Any]
    ) -> Any:
        """Send what is ready to leave; a durable job is put on record before."""
        link, link_error, shadow = places[1:]
        if self.durable:
            named = {"link": link, "link_error": link_error, "shadow": shadow, **options}
            task_id, forget = self._prepare(args, kwargs, task_id, named)
            try:
                return super().apply_async(args, kwargs, task_id, *places, **options)
            except OperationalError as exc:
                if not (self._is_retry(task_id, options) or self._is_awaited(task_id)):
                    undo(forget, exc, RECORD_LEFT)
                    raise
                logger.warning("job %s: a keeper will send it: %s", task_id, exc)
                return self.AsyncResult(str(task_id))
            except BaseException as exc:
                undo(forget, exc, RECORD_LEFT)
                raise
        return super().apply_async(args, kwargs, task_id, *places, **options)

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Any = None,
        throw: bool = True,
        eta: Any = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Try again later, as in Celery; an error that ends the job is raised again instead."""
        if isinstance(exc, FINAL):
            raise exc
        args, kwargs = modelled(self, args, kwargs, str(self.request.id))
        return super().retry(args, kwargs, exc, throw, eta, countdown, max_retries, **options)

    def replace(self, sig: Any) -> Any:
        """Let another task go on under this job's id, as in Celery."""
        attempt = CURRENT.get()
        if attempt is not None and not self.request.is_eager:
            attempt.forsake()
        return super().replace(sig)

    def _is_retry(self, task_id: str | None, options: Mapping[str, Any]) -> bool:
        """Whether the job that runs here sends itself again."""
        return bool(options.get("retries")) and task_id == self.request.id

    def _is_awaited(self, task_id: str | None) -> bool:
        """Whether a job follows one that has succeeded here, and is on record."""
        if task_id is None or not follows_a_success():
            return False
        return runtime_of(self.app).settings.record_at == "publish"

    def milepost_outgoing(
        self,
        args: Any,
        kwargs: Any,
        task_id: str,
        parent_id: str | None = None,  # noqa: ARG002
    ) -> tuple[Any, Any]:
        """Return the arguments of a job as its message and its record are to hold them."""
        if fields_of(self) is not None:
            if task_id in (RECORDED.get(), SEALED.get()):
                return args, kwargs
            return sealed(self, args, kwargs, task_id)
        return without_models(self, args, kwargs)

    def milepost_part(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments of a signature as a message is to hold them."""
        return sealed_part(self, args, kwargs)

    def milepost_incoming(self, args: Any, kwargs: Any, task_id: str) -> tuple[Any, Any]:
        """Return the arguments in a job's message as somebody else can read them."""
        return readable(self, args, kwargs, task_id)

    def milepost_check(self, args: Any, kwargs: Any) -> None:
        """Hold the arguments of a job to the input model, where there is one.

        Raises:
            InvalidInputError: they do not fit.
            ConfigurationError: the model has a sensitive field, which would be in the clear.
        """
        if self.input_model is not None:
            check_input_model(self)
            check_arguments(self, args, kwargs)

    def milepost_told(self, words: str) -> str:
        """Return what others than the job's record may be told of a reason."""
        return words

    def _prepare(
        self, args: Any, kwargs: Any, task_id: str | None, options: dict[str, Any]
    ) -> tuple[str | None, Callable[[], None]]:
        """Record a job that is about to be sent, if it is to be recorded.

        Returns:
            Its id, and what takes the record back.
        """
        if options.get("retries"):
            _save_before_retry(task_id)
            return task_id, _nothing
        if task_id and RECORDED.get() == task_id:
            return task_id, _nothing
        self.milepost_check(args, kwargs)
        if self.app.conf.task_always_eager:
            return task_id, _nothing
        runtime = runtime_of(self.app)
        if runtime.settings.record_at != "publish":
            return task_id, _nothing
        task_id = task_id or str(uuid.uuid4())
        created = record(self, runtime, args, kwargs, {**options, "task_id": task_id})
        return task_id, partial(runtime.store.delete, task_id) if created else _nothing


@dataclass(frozen=True, slots=True)
class Facts:
    """What the record says of a job beside what is to be run.

    Attributes:
        owner: whose job it is.
        idempotency_key: the key its id was made from.
        metadata: what else its owner wants to remember.
    """

    owner: str | None = None
    idempotency_key: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


NO_FACTS = Facts()


def record(
    task: BaseTask,
    runtime: Runtime,
    args: Any,
    kwargs: Any,
    options: dict[str, Any],
    facts: Facts = NO_FACTS,
) -> bool:
    """Put a job that is about to be sent on record.

    Args:
        task: its task.
        runtime: the application's.
        args: positional arguments of the task.
        kwargs: keyword arguments of the task.
        options: of ``apply_async``, with ``task_id``.
        facts: what else to put on record.

    Returns:
        False when a job of that id is on record already.
    """
    options = {**task._get_exec_options(), **options}  # type: ignore[attr-defined]
    parent = get_current_worker_task()
    if parent is not None:
        options.setdefault("root_id", parent.request.root_id or parent.request.id)
        options.setdefault("parent_id", parent.request.id)
    job = NewJob(
        options["task_id"],
        task.name,
        message.from_call(task, args, kwargs, options),
        delay=message.seconds_until(task.app, options.get("countdown"), options.get("eta")),
        resend_after=runtime.settings.resend_after,
        owner=facts.owner,
        idempotency_key=facts.idempotency_key,
        metadata=facts.metadata,
    )
    if follows_a_success():
        # Celery would give up a chord whose body cannot be sent at once.
        return engine.outwait(runtime, lambda: runtime.store.create(job))
    return runtime.store.create(job)


def _save_before_retry(job_id: str | None) -> None:
    """Save the place of the job that is about to send its own retry.

    The retry may start before this attempt has ended, and must find everything; and an
    attempt that has lost its job must not send one at all.
    """
    attempt = CURRENT.get()
    if attempt is not None and attempt.job.id == job_id and not attempt.journal.in_transaction:
        attempt.journal.flush()


def _nothing() -> None:
    """There is no record to take back."""


def resend(app: Any, job: Job, *, finishing: bool = False) -> None:
    """Send a recorded job's message again, under its id and with its place in any canvas.

    Args:
        app: the Celery app that sends.
        job: the record.
        finishing: the body has run; only what Celery does afterwards is to be done.
    """
    signature = message.unpack(job.message, app)
    options = {**signature.options, "task_id": job.id, "retries": job.delivery}
    if finishing:
        options["headers"] = {**(options.get("headers") or {}), message.FINISH_HEADER: True}
    options["add_to_parent"] = False
    task = app.tasks.get(signature.task)
    token = RECORDED.set(job.id)
    try:
        if isinstance(task, BaseTask):
            # Past our own apply_async: the job is on record already.
            celery.Task.apply_async(task, signature.args, signature.kwargs, **options)
        else:
            app.send_task(signature.task, signature.args, signature.kwargs, **options)
    finally:
        RECORDED.reset(token)
