"""A task's arguments as its input model sees them: each by the name of its parameter."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from milepost import security
from milepost.runtime import runtime_of


def signature_of(function: Any, *, bound: bool) -> inspect.Signature | None:
    """Return a body's signature as its callers see it, or None where Python cannot tell.

    Args:
        function: the body.
        bound: whether its first parameter is the task itself.
    """
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    parameters = list(found.parameters.values())
    return found.replace(parameters=parameters[1:]) if bound else found


def check_signature(task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
    """Hold arguments to the parameters of a task's body, as Celery does when it sends them.

    Raises:
        TypeError: they are not the task's parameters.
    """
    check: Any = getattr(task, "__header__", None)
    if check is not None:
        check(*args, **kwargs)


def check_arguments(
    task: Any, args: Sequence[Any] | None, kwargs: Mapping[str, Any] | None
) -> None:
    """Hold the arguments of a task to its input model.

    Raises:
        InvalidInputError: they do not fit.
        TypeError: they are not the task's parameters.
    """
    payload = _by_name(task.milepost_signature, args or (), kwargs or {})
    limits = security.limits_of(runtime_of(task.app).settings)
    security.check_input(task.job_type or task.name, payload, task.input_model, limits)


def parameters_of(task: Any) -> frozenset[str] | None:
    """Return the names that a task can be called with, or None where it takes any."""
    found: inspect.Signature | None = task.milepost_signature
    if found is None or any(p.kind is p.VAR_KEYWORD for p in found.parameters.values()):
        return None
    return frozenset(found.parameters)


def _by_name(
    signature: inspect.Signature | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    if signature is None or not args:
        return dict(kwargs)
    payload: dict[str, Any] = {}
    for name, value in signature.bind(*args, **kwargs).arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            payload.update(value)
        else:
            payload[name] = value
    return payload
