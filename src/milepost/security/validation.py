"""What a job may be given: limits on any payload, and the input model of its type.

Nothing here says what was given, only where: a value that is refused may be a secret.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

from milepost.errors import InvalidInputError
from milepost.settings import Settings

CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that no text may hold: controls but tab and line ends, and halves of pairs."""
SECRET = re.compile(
    r"pass(word|wd|phrase|code)|secret|token|api_?key|private_?key|credential|authorization|cookie"
    r"|^pin$|^cvv$",
    re.IGNORECASE,
)
"""Names of fields that are taken to be secret, whatever their type."""
MADE_OF_VALUES = frozenset({"value_error", "assertion_error"})
"""Kinds of pydantic's errors whose text is the host's own, and may hold the value."""
SCALAR_BYTES = 8
"""What a number, a truth value or anything else that is no text counts for."""

CONTAINERS = (Mapping, list, tuple, set, frozenset)

Path: TypeAlias = tuple[str | int, ...]
_Place: TypeAlias = "tuple[_Place, str | int] | None"
"""Where a part of a payload is: in which other part, and as what; None: it is the whole."""
_Part: TypeAlias = tuple[Any, int, _Place]
"""A part of a payload, in how many containers it is, and where."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one job may be given.

    Attributes:
        total: bytes of all texts and names together; a number counts for 8.
        depth: containers within each other.
        text: characters of one text.
    """

    total: int
    depth: int
    text: int


def limits_of(settings: Settings) -> Limits:
    """Return the limits that are set."""
    return Limits(settings.max_input_bytes, settings.max_input_depth, settings.max_input_text)


def check_input(job_type: str, payload: Mapping[str, Any], model: Any, limits: Limits) -> None:
    """Refuse a payload that is over a limit or does not fit its model.

    Args:
        job_type: whose it is, for the message.
        payload: the keyword arguments of the task.
        model: a pydantic model; None: any payload that keeps to the limits.
        limits: how much it may be.

    Raises:
        InvalidInputError: it names every field that is wrong.
    """
    problem = _over(payload, limits)
    problems = [problem] if problem is not None else list(_unfit(payload, model))
    if problems:
        raise InvalidInputError(job_type, *problems)


def unknown_fields(model: Any, parameters: Iterable[str]) -> list[str]:
    """Return the fields of a model that are not among a task's parameters."""
    return sorted(_keys_of(model) - set(parameters))


# -- limits ------------------------------------------------------------------------------------


def _over(payload: Any, limits: Limits) -> str | None:
    """Return what is wrong with the first part that is over a limit, or None."""
    left = limits.total
    waiting: list[_Part] = [(payload, 0, None)]
    while waiting:
        value, depth, place = waiting.pop()
        if hasattr(type(value), "model_fields"):  # a pydantic model, sent as what it holds
            value = dict(value)
        if isinstance(value, str):
            if len(value) > limits.text:
                return f"{_at(place)}: longer than {limits.text:,} characters"
            if CONTROL.search(value):
                return f"{_at(place)}: a control character"
            left -= len(value.encode())
        elif isinstance(value, bytes):
            left -= len(value)
        else:
            left -= SCALAR_BYTES
            if isinstance(value, CONTAINERS):
                if depth == limits.depth:
                    return f"{_at(place)}: more than {limits.depth} containers within each other"
                waiting += reversed(list(_inside(value, depth + 1, place)))
        if left < 0:
            return f"{_at(place).split('.')[0]}: the input is over {limits.total:,} bytes there"
    return None


def _inside(value: Any, depth: int, place: _Place) -> Iterator[_Part]:
    """Yield the parts of a container, names included."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield key, depth, place
            yield part, depth, (place, str(key))
    else:
        for number, part in enumerate(value):
            yield part, depth, (place, number)


def _at(place: _Place) -> str:
    """Return a place in words; it is put together only where something is wrong there."""
    path: list[str | int] = []
    while place is not None:
        place, name = place
        path.append(name)
    return _shown(tuple(reversed(path)))


# -- the model ---------------------------------------------------------------------------------


def _unfit(payload: Mapping[str, Any], model: Any) -> Iterator[str]:
    """Yield what does not fit."""
    if model is None:
        return
    known = _keys_of(model)
    if model.model_config.get("extra") != "allow":
        for key in payload:
            if key not in known:
                yield f"{_shown((str(key),))}: no such field"
    try:
        _validate(payload, model)
    except ValueError as exc:  # pydantic's ValidationError is one
        for kind, problem in told(exc, model):
            if kind != "extra_forbidden":
                yield problem


def told(exc: ValueError, model: Any, within: Path = ()) -> list[tuple[str, str]]:
    """Return what pydantic says of a payload, without any value of it.

    Args:
        exc: pydantic's error.
        model: the model that the payload does not fit.
        within: where the payload itself is.

    Returns:
        What each error is called, and what it says, as ``<field>: <why>``.
    """
    secret = frozenset(_secrets_of(model, set()))
    return [
        (error["type"], _told({**error, "loc": (*within, *error["loc"])}, secret))
        for error in _errors_of(exc)
    ]


def _validate(payload: Mapping[str, Any], model: Any) -> None:
    """Hold a payload to its model, strictly.

    What JSON can say is read as JSON is: a date is a text there. Anything else has to be of
    the very type.
    """
    try:
        text = json.dumps(dict(payload), default=_refuse, allow_nan=False)
    except (TypeError, ValueError):
        model.model_validate(dict(payload), strict=True)
    else:
        model.model_validate_json(text, strict=True)


def _refuse(value: Any) -> Any:
    raise TypeError(type(value).__name__)


def _errors_of(exc: ValueError) -> list[dict[str, Any]]:
    read = getattr(exc, "errors", None)
    if read is None:
        return [{"type": "value_error", "loc": (), "msg": type(exc).__name__}]
    errors: list[dict[str, Any]] = read(include_url=False, include_input=False)
    return errors


def _told(error: Mapping[str, Any], secret: frozenset[str]) -> str:
    """Return one of pydantic's errors without any value that is, or may be, secret."""
    path: Path = tuple(error["loc"])
    hidden = next((n for n, part in enumerate(path) if _is_secret(part, secret)), None)
    if hidden is not None:
        return f"{_shown(path[: hidden + 1])}: not valid ({error['type']})"
    if error["type"] in MADE_OF_VALUES and secret:
        return f"{_shown(path)}: not valid ({error['type']})"
    return f"{_shown(path)}: {error['msg']}"


def _is_secret(part: str | int, secret: frozenset[str]) -> bool:
    return isinstance(part, str) and (part in secret or SECRET.search(part) is not None)


def _keys_of(model: Any) -> set[str]:
    """Return what a payload may call a model's fields."""
    fields = model.model_fields
    return set(fields) | {f.alias for f in fields.values() if isinstance(f.alias, str)}


def _secrets_of(model: Any, seen: set[Any]) -> Iterator[str]:
    """Yield the names of secret fields of a model and of those within it."""
    seen.add(model)
    for name, field in model.model_fields.items():
        types = list(_types_in(field.annotation))
        if SECRET.search(name) or any(_keeps_secret(kind) for kind in types):
            yield name
            if isinstance(field.alias, str):
                yield field.alias
        for kind in types:
            if hasattr(kind, "model_fields") and kind not in seen:
                yield from _secrets_of(kind, seen)


def _keeps_secret(kind: Any) -> bool:
    """Whether a type is pydantic's own for secrets, or milepost's."""
    return hasattr(kind, "get_secret_value") or hasattr(kind, "reveal")


def _types_in(annotation: Any) -> Iterator[Any]:
    """Yield a type and all that it is made of."""
    yield annotation
    for part in get_args(annotation):
        yield from _types_in(part)


def _shown(path: Path) -> str:
    """Return a place in words: ``rows.3.price``; names that were given are cut and made plain."""
    if not path:
        return "input"
    return ".".join(ascii(part)[1:-1][:40] if isinstance(part, str) else str(part) for part in path)
