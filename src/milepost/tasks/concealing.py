"""Sensitive values among a task's arguments: sealed when it is sent, opened when it is delivered.

Each is bound to its job, and to its place among the arguments: the parameter, then the fields,
keys and numbers that lead to it. An argument that came as plain data is made the model it is
for first, so that nobody sends a value in the clear who does not know the model.
"""

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from milepost import codecs, engine, security
from milepost.errors import (
    EncodeError,
    EncryptedDataError,
    InvalidInputError,
    NoKeysError,
    PlaintextError,
    TamperedError,
)
from milepost.runtime import cipher_of
from milepost.tasks.current import CURRENT
from milepost.tasks.departures import refuse_in_one_task
from milepost.tasks.fields import Fields, fields_of
from milepost.tasks.fingerprint import BELOW
from milepost.tasks.parts import opened_parts
from milepost.tasks.sensitive import (
    CODEC,
    PLAINTEXT,
    UNREADABLE,
    Passage,
    Sensitive,
    open_value,
    passing,
)

Path: TypeAlias = tuple[str, ...]
Change: TypeAlias = Callable[[str, Path], Any]


# -- sending -----------------------------------------------------------------------------------


def sealed(task: Any, args: Any, kwargs: Any, job_id: str) -> tuple[Any, Any]:
    """Return the arguments of a job with their sensitive values encrypted, and no models.

    Args:
        task: its task, which has some.
        args: positional arguments; models, or what they are made of.
        kwargs: keyword arguments, likewise.
        job_id: the job's id.

    Raises:
        NoKeysError: there is no key to encrypt with.
        EncryptedDataError: one is encrypted already, with a key that is not here.
        EncodeError: a model, or a sensitive value in it, cannot be sent.
        InvalidInputError: they do not fit the models.
        TypeError: they are not the task's parameters.
    """
    fields = fields_of(task)
    assert fields is not None
    args, kwargs = opened_parts(task, args, kwargs)
    fields.signature.bind(*args, **kwargs)
    args, kwargs = modelled(task, args, kwargs, job_id)
    passage = Passage(takes_plaintext=True)
    with passing(passage):
        args, kwargs = task._dump_pydantic_arguments(args, kwargs)
    seal = functools.partial(_sealed, task, job_id, passage)
    return _each(
        fields, args, kwargs, lambda name, value: _walk(_plain(value, name), (name,), seal)
    )


def modelled(task: Any, args: Any, kwargs: Any, job_id: str) -> tuple[Any, Any]:
    """Return arguments that are about to be sent with a model where one is wanted; None stays.

    Raises:
        EncryptedDataError: a value is encrypted with a key that is not here.
        InvalidInputError: they do not fit the models.
    """
    fields = fields_of(task)
    if fields is None:
        return args, kwargs
    opening = _Opening(task, job_id)
    passage = Passage(takes_plaintext=True)
    return _each(fields, args, kwargs, functools.partial(_made, fields, opening, passage))


def _plain(value: Any, name: str) -> Any:
    if hasattr(type(value), "model_fields"):
        raise EncodeError(
            name,
            f"{type(value).__name__} cannot be sent: what it is dumped as makes no equal one",
        )
    return value


def _sealed(task: Any, job_id: str, passage: Passage, text: str, path: Path) -> str:
    if not passage.is_waiting(text):
        return text
    data = _place(path) + b"\n" + CODEC.encode(passage.waiting[text])
    return codecs.tokens.seal_value(cipher_of(task.app).sealer(), job_id, task.name, data)


# -- delivery ----------------------------------------------------------------------------------


def readable(task: Any, args: Any, kwargs: Any, job_id: str) -> tuple[Any, Any]:
    """Return the arguments in a job's message as somebody else can read them.

    Raises:
        NoKeysError: this process has no keys.
        EncryptedDataError: not the one that is needed.
    """
    fields = fields_of(task)
    if fields is None:
        return args, kwargs
    opening = _Opening(task, job_id)

    def change(text: str, path: Path) -> Any:
        found = opening(text, path)
        return found.reveal() if isinstance(found, Sensitive) else found

    return _each(fields, args, kwargs, lambda name, value: _walk(value, (name,), change))


def opening_fields(cls: Any) -> None:
    """Let the ``run`` of a class whose arguments Celery validates have them opened before."""
    raw = inspect.getattr_static(cls, "run")
    is_static = isinstance(raw, staticmethod)
    function = raw.__func__ if is_static else raw

    @functools.wraps(function)
    def run(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        args, kwargs = delivered(self, args, kwargs)
        return function(*args, **kwargs) if is_static else function(self, *args, **kwargs)

    if is_static:
        signature = inspect.signature(function)
        task = inspect.Parameter("_task", inspect.Parameter.POSITIONAL_ONLY)
        parameters = [task, *signature.parameters.values()]
        run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    setattr(run, BELOW, True)
    cls.run = run


def delivered(task: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments that a task's body is called with, models where they hold secrets.

    Those of a delivered job have to be encrypted. What is called within this process, or runs
    eagerly, never travelled.

    Raises:
        PlaintextError: a sensitive value is in the clear.
        TamperedError: it was changed, or moved here from another place.
        Suspend: its key is not here: the job is parked until it is.
        NoKeysError, EncryptedDataError: the same, of a task that is not durable.
        InvalidInputError: they do not fit the models.
    """
    fields = fields_of(task)
    if fields is None:
        return args, kwargs
    request = task.request_stack.top
    if request is None or request.called_directly:
        refuse_in_one_task(task)
        return opened_parts(task, args, kwargs)
    opening = _Opening(task, str(request.id), is_delivered=True)
    passage = Passage(takes_plaintext=bool(task.accept_plaintext or request.is_eager))
    try:
        return _each(fields, args, kwargs, functools.partial(_made, fields, opening, passage))
    except (PlaintextError, TamperedError):
        raise
    except (EncryptedDataError, NoKeysError) as exc:
        if CURRENT.get() is None:
            raise
        raise engine.parked(exc) from None


# -- both --------------------------------------------------------------------------------------


class _Opening:
    """Opens the sensitive values of one job, each in its place only.

    Args:
        task: the job's task.
        job_id: its id.
        is_delivered: leave what cannot be opened as it is: it may be somebody's text that only
            looks so.

    Attributes:
        troubles: why a text was left, by its place.
    """

    __slots__ = ("is_delivered", "job_id", "task", "troubles")

    def __init__(self, task: Any, job_id: str, *, is_delivered: bool = False) -> None:
        self.task, self.job_id, self.is_delivered = task, job_id, is_delivered
        self.troubles: dict[str, EncryptedDataError] = {}

    def trouble_at(self, where: str) -> EncryptedDataError:
        """Return why the value in a place, or the first one within it, could not be opened."""
        within = (exc for place, exc in self.troubles.items() if place.startswith(where))
        return next(within, TamperedError(f"{self.job_id}: {where}"))

    def __call__(self, text: str, path: Path) -> Any:
        if not codecs.tokens.is_token(text):
            return text
        where = ".".join(path)
        try:
            place, value = open_value(self.task, self.job_id, text)
        except EncryptedDataError as exc:
            if not (self.is_delivered or isinstance(exc, TamperedError)):
                raise
            self.troubles[where] = type(exc)(f"{self.job_id}: {where}", exc.key_id)
            return text
        if place == _place(path):
            return Sensitive(value)
        key_id = codecs.tokens.key_id_in(text)
        self.troubles[where] = TamperedError(f"{self.job_id}: {where}", key_id)
        return text


def _made(fields: Fields, opening: _Opening, passage: Passage, name: str, value: Any) -> Any:
    """Return the model that an argument is, or is made of."""
    model = fields.models[name]
    if isinstance(value, model) or (value is None and name in fields.optional):
        return value
    if hasattr(type(value), "model_fields"):  # of a class that the task does not take
        problems = [("", f"{name}: {type(value).__name__} in place of {model.__name__}")]
    else:
        with passing(passage):
            try:
                return fields.validate(model, _walk(value, (name,), opening))
            except ValueError as exc:  # pydantic's ValidationError is one
                problems = security.told(exc, model, (name,))
    raise _refused(opening, problems)


def _refused(opening: _Opening, problems: list[tuple[str, str]]) -> Exception:
    """Return why an argument is refused; nothing in it says what was given."""
    places = {kind: problem.partition(":")[0] for kind, problem in reversed(problems)}
    if opening.is_delivered and UNREADABLE in places:
        return opening.trouble_at(places[UNREADABLE])
    if opening.is_delivered and PLAINTEXT in places:
        return PlaintextError(f"{opening.job_id}: {places[PLAINTEXT]}")
    name = opening.task.job_type or opening.task.name
    return InvalidInputError(name, *(problem for _, problem in problems))


def _each(
    fields: Fields, args: Any, kwargs: Any, change: Callable[[str, Any], Any]
) -> tuple[Any, Any]:
    """Return arguments with those changed that hold sensitive values."""
    if args is not None:
        names = [fields.name_at(number) for number in range(len(args))]
        args = tuple(
            value if name is None or name not in fields.models else change(name, value)
            for name, value in zip(names, args, strict=True)
        )
    if kwargs is not None:
        kwargs = {
            name: change(name, value) if name in fields.models else value
            for name, value in kwargs.items()
        }
    return args, kwargs


def _walk(found: Any, path: Path, change: Change) -> Any:
    """Return an argument, or a part of it, with every text changed, names in dicts too."""
    if isinstance(found, str):
        return change(found, path)
    if isinstance(found, Mapping):
        return {
            _key(key, path, change): _walk(value, (*path, _step(key, path, change)), change)
            for key, value in found.items()
        }
    if isinstance(found, list | tuple):
        return [_walk(one, (*path, str(number)), change) for number, one in enumerate(found)]
    return found


def _key(key: Any, path: Path, change: Change) -> Any:
    return change(key, (*path, "", "key")) if isinstance(key, str) else key


def _step(key: Any, path: Path, change: Change) -> str:
    """Return the name of a part; one that is encrypted itself is none to go by."""
    return "" if isinstance(key, str) and change(key, (*path, "", "key")) is not key else str(key)


def _place(path: Path) -> bytes:
    return json.dumps(path).encode()
