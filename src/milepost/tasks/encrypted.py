"""The encrypted task: what it is given, keeps, returns and fails with is readable in it only."""

import inspect
import uuid
from dataclasses import replace
from typing import Any, ClassVar

from milepost.ciphertext import HIDDEN, head_of
from milepost.codecs import tokens
from milepost.codecs.texts import is_our_own
from milepost.errors import EncryptedDataError, EncryptedFailureError
from milepost.model import Job
from milepost.runtime import Runtime, cipher_of
from milepost.stores.sealed import sealed
from milepost.tasks.arguments import check_signature
from milepost.tasks.carrying import body_of
from milepost.tasks.checkpointable import CheckpointableTask
from milepost.tasks.current import CURRENT, RECORDED
from milepost.tasks.departures import departures_of
from milepost.tasks.discreet import DiscreetCodec, DiscreetEmitter
from milepost.tasks.parts import opened_part, part_of
from milepost.tasks.revealed import EncryptedResult, codec_of, reveal
from milepost.tasks.sealing import (
    Delivered,
    check_key,
    closing,
    hands_on_secrets,
    of_the_canvas,
    opening,
    sealed_state,
)
from milepost.tasks.sensitive import ALL_IS_ENCRYPTED, without_models
from milepost.tasks.tenants import PART, is_part, is_sealed, tenant_here, tenant_on_record


class EncryptedTask(CheckpointableTask):
    """A durable task of which nothing readable leaves the process.

    Callers send it as any other. Arguments, checkpoint, result, error, progress message and
    the names of steps, loops and items are ciphertext wherever they are kept or sent. A
    job's id, its task's name, owner, idempotency key, metadata, options and headers are not.

    Attributes:
        accept_plaintext: take arguments and checkpoints that are in the clear: for as long
            as it takes to migrate jobs from before the task was encrypted.
    """

    abstract = True
    typing = False  # Celery would check the signature against ciphertext; outgoing() does it
    milepost_is_encrypted: ClassVar[bool] = True
    """For those who ask a task of it, and do not load this module only to ask."""

    @classmethod
    def bind(cls, app: Any) -> Any:
        """Bind the task to an app, whose messages are looked at from now on."""
        departures_of(app).is_needed = True
        return super().bind(app)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        body = body_of(cls)
        if body is not None:
            cls.run = opening(body)  # type: ignore[method-assign]
        super().__init_subclass__(**kwargs)
        if body is not None:
            cls.run = closing(cls.__dict__["run"])  # type: ignore[method-assign]

    def tenant_of(self, *args: Any, **kwargs: Any) -> str:  # noqa: ARG002
        """Return whose key encrypts a job with these arguments; override it for keys of tenants.

        Asked when a job is sent, and where ``accept_plaintext`` takes one that came in the
        clear. It must return the same for the same arguments.

        Raises:
            TypeError: the arguments of a signature are not complete yet: it is encrypted with
                the key of nobody in particular until it is sent.
        """
        return ""

    # -- sending ---------------------------------------------------------------------------

    def apply(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Run the task here and now, as in Celery; what is logged of it is ciphertext too."""
        task_id = options.get("task_id") or str(uuid.uuid4())
        options["task_id"] = task_id
        args, kwargs = self.milepost_outgoing(args, kwargs, task_id)
        try:
            eager: Any = super().apply(args, kwargs, *rest, **options)
        except EncryptedFailureError as exc:
            failure = reveal(self.app, exc)
        else:
            eager._result = reveal(self.app, eager._result)
            return eager
        raise failure

    def retry(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Try again later, as in Celery; what is left out of the arguments stays as it was.

        A job whose key is gone could not be sent again: it is parked instead.
        """
        if CURRENT.get() is not None:
            check_key(self)
        if (args is None) != (kwargs is None):
            given, named = Delivered(self, self.request).open()
            if args is None:
                args = given
            else:
                kwargs = _without(self.run, len(args), named)
        return super().retry(args, kwargs, *rest, **options)

    def milepost_outgoing(
        self, args: Any, kwargs: Any, task_id: str, parent_id: str | None = None
    ) -> tuple[Any, Any]:
        """Return the arguments of a job, encrypted; those that are already stay as they are.

        Raises:
            NoKeysError: there is no key to encrypt with.
            EncodeError: the task's codec does not take an argument.
            InvalidInputError: they do not fit the input model.
            TypeError: they do not fit the task.
            EncryptedFailureError: one of these, where its words would tell a result that was
                encrypted until now.
        """
        args, kwargs = tuple(args or ()), dict(kwargs or {})
        if self._is_sealed_for(task_id, args, kwargs):
            return args, kwargs
        if not hands_on_secrets(args):
            return self._sealed_call(args, kwargs, task_id, parent_id)
        try:
            return self._sealed_call(args, kwargs, task_id, parent_id)
        except Exception as exc:  # Celery would log it, and store it as the error of the sender
            kind = type(exc).__name__
        raise EncryptedFailureError(task_id, self.name, kind, HIDDEN)

    def _sealed_call(
        self, args: Any, kwargs: Any, task_id: str, parent_id: str | None
    ) -> tuple[Any, Any]:
        args, kwargs = self._in_the_clear(args, kwargs, parent_id)
        if getattr(self.app, "strict_typing", True):
            check_signature(self, args, kwargs)
        super().milepost_check(args, kwargs)
        args, kwargs = without_models(self, args, kwargs, ALL_IS_ENCRYPTED)
        sealer = cipher_of(self.app).sealer(self.tenant_of(*args, **kwargs))
        data = codec_of(self.app, self).encode([tuple(args), dict(kwargs)])
        return (tokens.seal_call(sealer, task_id, self.name, data),), {}

    def milepost_incoming(self, args: Any, kwargs: Any, task_id: str) -> tuple[Any, Any]:
        """Return the arguments in a job's message decrypted; any in the clear as they are.

        Raises:
            NoKeysError: this process has no keys.
            EncryptedDataError: not the one that is needed, or the ciphertext was changed.
        """
        if not is_sealed(args, kwargs):
            return self._in_the_clear(tuple(args), dict(kwargs), None)
        data = tokens.open_call(cipher_of(self.app), task_id, self.name, args[0])
        given, named = codec_of(self.app, self).decode(data)
        return tuple(given), named

    def milepost_check(self, args: Any, kwargs: Any) -> None:
        """Let them pass: they were checked before they were encrypted, by who has the key."""

    def _is_sealed_for(self, task_id: str, args: Any, kwargs: Any) -> bool:
        if not is_sealed(args, kwargs):
            return False
        if RECORDED.get() == task_id:  # its sender knows; the key may be elsewhere
            return True
        try:
            tokens.open_call(cipher_of(self.app), task_id, self.name, args[0])
        except EncryptedDataError:  # made for something else, or somebody's text that looks so
            return False
        return True

    def _in_the_clear(self, args: Any, kwargs: Any, parent_id: str | None) -> tuple[Any, Any]:
        """Open what a signature, or a task before this one in a canvas, has encrypted."""
        given: list[Any] = []
        named: dict[str, Any] = {}
        mark, codec = kwargs.pop(PART, None), codec_of(self.app, self)
        for value in args:
            part = opened_part(self, codec, value, mark)
            if part is None:
                given.append(of_the_canvas(self.app, value, parent_id))
            else:
                given.extend(part[0])
                named |= part[1]
        return tuple(given), {**named, **kwargs}

    def signature(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Return a signature, as in Celery; its arguments are encrypted already."""
        args, kwargs = self.milepost_part(tuple(args or ()), dict(kwargs or {}))
        return super().signature(args, kwargs, *rest, **options)

    subtask = signature

    def milepost_part(self, args: Any, kwargs: Any) -> tuple[Any, Any]:
        """Return the arguments of a signature encrypted; those that are already stay as they are.

        Raises:
            NoKeysError: there is no key to encrypt with.
            EncodeError: the task's codec does not take an argument.
        """
        if is_part(args, kwargs):
            return args, kwargs
        args, kwargs = self._in_the_clear(args, kwargs, None)
        args, kwargs = without_models(self, args, kwargs, ALL_IS_ENCRYPTED)
        try:
            tenant = self.tenant_of(*args, **kwargs)
        except TypeError:  # it waits for more arguments
            tenant = ""
        codec = codec_of(self.app, self)
        token, mark = part_of(self, cipher_of(self.app).sealer(tenant), codec, args, kwargs)
        return (token,), {PART: mark}

    def AsyncResult(self, task_id: str, **kwargs: Any) -> Any:  # noqa: N802
        """Return the result of a job: ``get()`` decrypts it for who has the key."""
        options = {"backend": self.backend, "task_name": self.name, "app": self.app, **kwargs}
        return EncryptedResult(task_id, **options)

    def update_state(
        self, task_id: Any = None, state: Any = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Store a state of one's own in Celery's backend; what goes with it is encrypted.

        Raises:
            NoKeysError: there is no key to encrypt it with. A job that does it itself is
                parked instead.
            JobNotFoundError: it is another job's, and not on record.
        """
        if meta is not None:
            meta = sealed_state(self, task_id, state, meta)
        super().update_state(task_id, state, meta, **kwargs)

    # -- running -----------------------------------------------------------------------------

    def milepost_told(self, words: str) -> str:
        """Return what others than the job's record may be told of a reason."""
        if is_our_own(words):
            return words
        return head_of(words) + HIDDEN

    def milepost_adapt(self, runtime: Runtime, job: Job | None = None) -> Runtime:
        """Return the application's runtime as the jobs of this task are to have it.

        Args:
            runtime: the application's.
            job: the job that is to be written to; None: the one that runs here, if one does.
        """
        cipher = cipher_of(self.app)
        store = sealed(
            runtime.store,
            cipher,
            self.name,
            tenant_here(self) if job is None else tenant_on_record(self, job),
            accept_plaintext=self.accept_plaintext,
        )
        emit = DiscreetEmitter(runtime.emit, self.milepost_told)
        return replace(runtime, store=store, codec=DiscreetCodec(runtime.codec), emit=emit)


def _without(run: Any, count: int, named: dict[str, Any]) -> dict[str, Any]:
    """Return inherited keyword arguments less those that new positional ones take the place of."""
    names = [n for n in inspect.signature(run).parameters if n != "self"][:count]
    return {name: value for name, value in named.items() if name not in names}
