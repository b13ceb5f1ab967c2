"""The memoised call: its result is stored, and a resumed attempt gets it without calling."""

import inspect
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import FunctionType
from typing import Any

from milepost.engine.journal import Journal
from milepost.engine.scope import STEP
from milepost.errors import EncodeError, StepResultError, ValueTooLargeError

RUNNING: ContextVar[str | None] = ContextVar("milepost_step", default=None)
"""The path of the step whose function is running."""

_MISSING: Any = object()


def call_step(
    journal: Journal,
    name: str | None,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Call *function* unless its result is on record; an async one gives an awaitable.

    Raises:
        NameInUseError: the name was given to another step here.
        StepResultError: the result cannot be stored; the step is not recorded.
    """
    scope = journal.scope
    path = scope.enter("step", name, getattr(function, "__name__", type(function).__name__))
    field = STEP + path
    is_async = _is_async(function)
    stored = journal.stored
    value = stored.recall(field, _MISSING)
    if value is not _MISSING:
        return _ready(value) if is_async else value
    if stored.code_changed:
        stored.check_fit(scope, f"step {path!r}")
    if is_async:
        return _call_async(journal, field, function(*args, **kwargs))
    token = RUNNING.set(path)
    try:
        value = function(*args, **kwargs)
    finally:
        RUNNING.reset(token)
    _record(journal, field, value)
    return value


def _is_async(function: Callable[..., Any]) -> bool:
    """Answer for plain functions without inspect, which would be a tenth of a memo hit."""
    if type(function) is FunctionType and not function.__dict__:
        return bool(function.__code__.co_flags & inspect.CO_COROUTINE)
    return inspect.iscoroutinefunction(function)


async def _ready(value: Any) -> Any:
    return value


async def _call_async(journal: Journal, field: str, coroutine: Awaitable[Any]) -> Any:
    token = RUNNING.set(field[1:])
    try:
        value = await coroutine
    finally:
        RUNNING.reset(token)
    _record(journal, field, value)
    return value


def _record(journal: Journal, field: str, value: Any) -> None:
    try:
        data = journal.codec.encode(value)
    except EncodeError as exc:
        raise StepResultError(field[1:], str(exc)) from exc
    try:
        journal.put(field, data)
    except ValueTooLargeError as exc:
        raise StepResultError(field[1:], str(exc)) from exc
