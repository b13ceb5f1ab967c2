"""Sensitive values in the input models of tasks: encrypted on their way, stars wherever shown.

For tasks that are not encrypted as a whole, but take pydantic models with a field or two that
nobody else may read::

    class Order(BaseModel):
        number: int
        card: Sensitive[str]
"""

import copy
import dataclasses
import secrets
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Generic, NoReturn, TypeVar, get_args, get_origin
from weakref import WeakSet

from celery._state import get_current_worker_task

from milepost import codecs, extras
from milepost.ciphertext import HIDDEN
from milepost.codecs.json import JsonCodec
from milepost.errors import EncryptedDataError
from milepost.runtime import cipher_of

T = TypeVar("T")
CODEC = JsonCodec(fast=False)
"""How a sensitive value becomes bytes, whatever the codec of its task."""

INVALID, PLAINTEXT, UNREADABLE = "sensitive", "sensitive_plaintext", "sensitive_unreadable"
"""What pydantic calls the errors of a sensitive value."""
PROBLEMS = {
    INVALID: "it is not valid",
    PLAINTEXT: "it is in the clear",
    UNREADABLE: "it cannot be decrypted here",
}


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

    def __copy__(self) -> "Sensitive[T]":
        return Sensitive(self._value)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Sensitive[T]":
        return Sensitive(copy.deepcopy(self._value, memo))

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
class Passage:
    """What becomes of sensitive values while a task's arguments are validated and dumped.

    Attributes:
        takes_plaintext: whether a value may be in the clear where one is validated.
        reveals: whether they are dumped as they are: all of the arguments are about to be
            encrypted.
        waiting: the values that were dumped, each by the random text that stands in for it
            until it is known where among the arguments it is.
    """

    takes_plaintext: bool = False
    reveals: bool = False
    waiting: dict[str, Any] = field(default_factory=dict)

    def dumped(self, value: Any) -> Any:
        """Return what a value is dumped as."""
        if self.reveals:
            return value
        stand_in = secrets.token_hex(16)
        self.waiting[stand_in] = value
        return stand_in

    def is_waiting(self, value: Any) -> bool:
        """Whether something stands in for a value."""
        return type(value) is str and value in self.waiting


_PASSAGE: ContextVar[Passage | None] = ContextVar("milepost_passage", default=None)


@contextmanager
def passing(passage: Passage | None) -> Iterator[None]:
    """Let models be validated and dumped as a passage says, in this thread or coroutine."""
    token = _PASSAGE.set(passage)
    try:
        yield
    finally:
        _PASSAGE.reset(token)


ALL_IS_ENCRYPTED = Passage(takes_plaintext=True, reveals=True)


def dumps_models(task: Any) -> bool:
    """Whether Celery turns pydantic models among a task's arguments into plain data."""
    return getattr(task, "_dump_pydantic_arguments", None) is not None


def without_models(
    task: Any, args: Any, kwargs: Any, how: Passage | None = None
) -> tuple[Any, Any]:
    """Return arguments with models as plain data, where Celery would make that of them.

    Args:
        task: the task.
        args: positional arguments.
        kwargs: keyword arguments.
        how: what becomes of sensitive values. None: there are none.
    """
    if not dumps_models(task):
        return args, kwargs
    with passing(how):
        dumped: tuple[Any, Any] = task._dump_pydantic_arguments(args, kwargs)
    return dumped


_WITHOUT: WeakSet[type] = WeakSet()
"""Models that are known to have no sensitive value: they are asked of with every job."""


def sensitive_field(annotation: Any) -> str | None:
    """Return where in a type the first sensitive value is, at any depth, or None."""
    if is_model(annotation) and annotation in _WITHOUT:
        return None
    paths = (path for path, kind in parts_of(annotation) if is_sensitive(kind))
    found = next(paths, None)
    if found is None and is_model(annotation) and is_complete(annotation):
        _WITHOUT.add(annotation)
    return found


def is_model(kind: Any) -> bool:
    """Whether a type is a pydantic model."""
    return isinstance(kind, type) and hasattr(kind, "model_fields")


def is_complete(annotation: Any) -> bool:
    """Whether all models in a type know the types of their fields: none waits for another class."""
    return all(kind.__pydantic_complete__ for _, kind in parts_of(annotation) if is_model(kind))


def is_sensitive(kind: Any) -> bool:
    """Whether a type is that of a sensitive value."""
    return kind is Sensitive or get_origin(kind) is Sensitive


def parts_of(annotation: Any) -> Iterator[tuple[str, Any]]:
    """Yield a type and all that it is made of, each with the fields that lead there."""
    waiting: list[tuple[str, Any]] = [("", annotation)]
    seen = set()
    while waiting:
        path, kind = waiting.pop(0)
        yield path, kind
        if is_sensitive(kind):
            continue
        if isinstance(kind, type) and kind not in seen:
            seen.add(kind)
            fields = _fields_of(kind)
            waiting += [(f"{path}.{name}".lstrip("."), inner) for name, inner in fields.items()]
        waiting += [(path, part) for part in get_args(kind)]
        if type(kind).__name__ == "TypeAliasType" and kind not in seen:
            seen.add(kind)
            waiting.append((path, kind.__value__))


def _fields_of(kind: Any) -> dict[str, Any]:
    """Return the types of the fields that pydantic would look for in a class."""
    if hasattr(kind, "model_fields"):
        if not kind.__pydantic_complete__:
            kind.model_rebuild(raise_errors=False)
        return {name: one.annotation for name, one in kind.model_fields.items()}
    has_fields = dataclasses.is_dataclass(kind) or hasattr(kind, "_fields")
    if not (has_fields or hasattr(kind, "__required_keys__")):
        return {}
    try:
        return typing.get_type_hints(kind)
    except (NameError, AttributeError, TypeError):
        return {}


def _dumped(value: Any) -> Any:
    """Return what a sensitive value is dumped as; it may have been assigned without a check."""
    how = _PASSAGE.get()
    if how is None:
        return HIDDEN
    return how.dumped(value.reveal() if isinstance(value, Sensitive) else value)


def _validated(value: Any, inner: Callable[[Any], Any]) -> Any:
    """Return a sensitive value from what it was made of, or sent as."""
    value, problem = _let_in(value)
    if problem is None:
        try:
            return Sensitive(inner(value))
        except ValueError:  # pydantic's own error would show the value
            problem = INVALID
    core: Any = extras.load("pydantic_core", "")
    said = "a sensitive value: {problem}"
    raise core.PydanticCustomError(problem, said, {"problem": PROBLEMS[problem]})


def _let_in(value: Any) -> tuple[Any, str | None]:
    """Return what is to be validated as the inner type, and what keeps it from being that."""
    how = _PASSAGE.get()
    if isinstance(value, Sensitive):
        return value.reveal(), None
    if how is not None and how.is_waiting(value):
        return how.waiting[value], None
    if codecs.tokens.is_token(value):
        # What was sent with a job is opened before it is validated; this is from elsewhere.
        return _opened_in_body(value, how)
    is_welcome = how is None or how.takes_plaintext
    return value, None if is_welcome else PLAINTEXT


def _opened_in_body(token: str, how: Passage | None) -> tuple[Any, str | None]:
    """Open a value that the body of a task has taken from its own request."""
    task = get_current_worker_task()
    if task is None or (how is not None and not how.reveals):
        return None, UNREADABLE
    try:
        return open_value(task, str(task.request.id), token)[1], None
    except EncryptedDataError:
        return None, UNREADABLE


def open_value(task: Any, job_id: str, token: str) -> tuple[bytes, Any]:
    """Return where among a job's arguments a sensitive value belongs, and the value.

    Raises:
        NoKeysError: this process has no keys.
        EncryptedDataError: not the one that is needed, or it is of another job.
    """
    data = codecs.tokens.open_value(cipher_of(task.app), job_id, task.name, token)
    path, _, encoded = data.partition(b"\n")
    return path, CODEC.decode(encoded)
