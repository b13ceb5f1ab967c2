"""Sensitive values in the input models of tasks: encrypted on their way, stars wherever shown.

For tasks that are not encrypted as a whole, but take pydantic models with a field or two that
nobody else may read::

    class Order(BaseModel):
        number: int
        card: Sensitive[str]
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar, get_args, get_origin

from celery._state import get_current_worker_task

from milepost import codecs, extras
from milepost.ciphertext import HIDDEN
from milepost.codecs.json import JsonCodec
from milepost.errors import EncryptedDataError, NoKeysError, TamperedError
from milepost.runtime import cipher_of

T = TypeVar("T")
_codec = JsonCodec(fast=False)


class Sensitive(Generic[T]):
    """A value that shows as stars; :meth:`reveal` returns it.

    In a pydantic model it takes what its inner type takes. When the task is sent it becomes
    ciphertext, bound to the job; in the worker it is the value again. Dumped elsewhere, as in
    a task's result, it is ``***``. It can be neither pickled nor put into a checkpoint.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def reveal(self) -> T:
        """Return the value."""
        return self._value

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sensitive) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Sensitive value is not pickled: it would be in the clear. Send the task with "
            "pydantic=True and the json serializer, or make it an EncryptedTask"
        )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        schema: Any = extras.load("pydantic_core.core_schema", "")
        inner = handler.generate_schema((*get_args(source), Any)[0])
        return schema.no_info_wrap_validator_function(
            _validated,
            inner,
            serialization=schema.plain_serializer_function_ser_schema(_dumped),
        )


@dataclass(frozen=True, slots=True)
class Sending:
    """What becomes of sensitive values while a task's arguments are dumped.

    Attributes:
        app: the Celery app that sends; None: they stay as they are, since all of the arguments
            are about to be encrypted.
        task: the task's name.
        job_id: the job that they are for.
        troubles: what kept one from being encrypted; Celery would send on without a word.
    """

    app: Any
    task: str = ""
    job_id: str = ""
    troubles: list[NoKeysError] = field(default_factory=list)


_SENDING: ContextVar[Sending | None] = ContextVar("milepost_sending", default=None)


ALL_IS_ENCRYPTED = Sending(None)


def dumps_models(task: Any) -> bool:
    """Whether Celery turns pydantic models among a task's arguments into plain data."""
    return getattr(task, "_dump_pydantic_arguments", None) is not None


def without_models(task: Any, args: Any, kwargs: Any, how: Sending) -> tuple[Any, Any]:
    """Return arguments with models as plain data, where Celery would make that of them.

    Args:
        task: the task.
        args: positional arguments.
        kwargs: keyword arguments.
        how: what becomes of sensitive values.

    Raises:
        NoKeysError: there is one, and no key to encrypt it with.
    """
    if not dumps_models(task):
        return args, kwargs
    token = _SENDING.set(how)
    try:
        dumped: tuple[Any, Any] = task._dump_pydantic_arguments(args, kwargs)
    finally:
        _SENDING.reset(token)
    if how.troubles:
        raise how.troubles[0]
    return dumped


def with_values(found: Any, sending: Sending) -> Any:
    """Return dumped arguments with the sensitive values that :func:`without_models` encrypted.

    Args:
        found: arguments, or a part of them.
        sending: for which job they were dumped.

    Raises:
        NoKeysError: this process has no keys.
        EncryptedDataError: not the one that is needed.
    """
    if isinstance(found, dict):
        return {name: with_values(one, sending) for name, one in found.items()}
    if isinstance(found, list | tuple):
        return type(found)([with_values(one, sending) for one in found])
    if not codecs.tokens.is_token(found):
        return found
    cipher = cipher_of(sending.app)
    try:
        return _codec.decode(codecs.tokens.open_value(cipher, sending.job_id, sending.task, found))
    except TamperedError:  # no value of this job: somebody's text that looks so
        return found


def sensitive_field(model: Any) -> str | None:
    """Return the first field of a pydantic model that is sensitive, at any depth, or None."""
    waiting: list[tuple[str, Any]] = [("", model)]
    seen = set()
    while waiting:
        path, kind = waiting.pop(0)
        if kind is Sensitive or get_origin(kind) is Sensitive:
            return path
        if isinstance(kind, type) and kind not in seen and hasattr(kind, "model_fields"):
            seen.add(kind)
            fields = kind.model_fields.items()
            waiting += [(f"{path}.{name}".lstrip("."), f.annotation) for name, f in fields]
        waiting += [(path, part) for part in get_args(kind)]
    return None


def _dumped(value: Sensitive[Any]) -> Any:
    how = _SENDING.get()
    if how is None:
        return HIDDEN
    if how.app is None:
        return value.reveal()
    try:
        sealer = cipher_of(how.app).sealer()
    except NoKeysError as exc:
        how.troubles.append(exc)
        raise
    return codecs.tokens.seal_value(sealer, how.job_id, how.task, _codec.encode(value.reveal()))


def _validated(value: Any, inner: Callable[[Any], Any]) -> Any:
    """Return a sensitive value from what it was made of, or sent as."""
    if isinstance(value, Sensitive):
        value = value.reveal()
    encrypted = codecs.tokens.is_token(value)
    try:
        return Sensitive(inner(_opened(value) if encrypted else value))
    except EncryptedDataError:
        problem = "it cannot be decrypted here"
    except ValueError:  # pydantic's own error would show the value
        problem = "it is not valid"
    core: Any = extras.load("pydantic_core", "")
    said = "a sensitive value: {problem}"
    raise core.PydanticCustomError("sensitive", said, {"problem": problem})


def _opened(token: str) -> Any:
    how = _SENDING.get()
    task = get_current_worker_task()
    if how is not None and how.app is not None:
        app, name, job_id = how.app, how.task, how.job_id
    elif task is not None:
        app, name, job_id = task.app, task.name, str(task.request.id)
    else:
        raise EncryptedDataError("a sensitive value outside of its task")
    return _codec.decode(codecs.tokens.open_value(cipher_of(app), job_id, name, token))
