"""Which arguments of a task are models with sensitive values in them, and what is refused there."""

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from milepost.errors import ConfigurationError
from milepost.tasks.arguments import signature_of
from milepost.tasks.sensitive import (
    dumps_models,
    is_complete,
    is_model,
    parts_of,
    sensitive_field,
)

ATTRIBUTE = "milepost_fields"
"""Where a task's class keeps what :func:`fields_of` has found."""
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


@dataclass(frozen=True, slots=True)
class Fields:
    """The arguments of a task that hold sensitive values.

    Attributes:
        models: the model of each, by the name of its parameter.
        optional: those that may be None.
        signature: of the body, as its callers see it.
        validate: makes a model of what an argument was given as, as Celery does in the worker.
    """

    models: Mapping[str, Any]
    optional: frozenset[str]
    signature: inspect.Signature
    validate: Callable[[Any, Any], Any]

    def name_at(self, position: int) -> str | None:
        """Return the parameter that an argument by position is for."""
        names = [p.name for p in self.signature.parameters.values() if p.kind in POSITIONAL]
        return names[position] if position < len(names) else None


def fields_of(cls: Any) -> Fields | None:
    """Return the arguments of a task, or its class, that hold sensitive values; None: it has none.

    Raises:
        ConfigurationError: one of them would travel in the clear, or be told by an error.
    """
    cls = cls if isinstance(cls, type) else type(cls)
    if ATTRIBUTE in cls.__dict__:
        known: Fields | None = cls.__dict__[ATTRIBUTE]
        return known
    if getattr(cls, "milepost_is_encrypted", False):
        return None
    check_input_model(cls)
    raw = inspect.getattr_static(cls, "run")
    hints = _hints_of(inspect.unwrap(getattr(raw, "__func__", raw)))
    hints.pop("return", None)
    found = _found(cls, hints)
    if all(is_complete(hint) for hint in hints.values()):
        setattr(cls, ATTRIBUTE, found)
    return found


def _found(cls: Any, hints: Mapping[str, Any]) -> Fields | None:
    sensitive = {name: hint for name, hint in hints.items() if sensitive_field(hint) is not None}
    if not sensitive:
        return None
    signature = _signature_of(cls)
    models: dict[str, Any] = {}
    optional = set()
    for name, hint in sensitive.items():
        inner = _unless_none(hint)
        kind = signature.parameters[name].kind if signature is not None else None
        is_one = kind in (*POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
        if not (dumps_models(cls) and is_one and is_model(inner)):
            raise ConfigurationError(
                f"task {_name(cls)}: {name} holds a Sensitive value that would be sent in the "
                "clear: declare the task as a function with pydantic=True, and the argument as one "
                "model, or as a model or None"
            )
        _check_errors_hide(cls, inner)
        models[name] = inner
        if inner is not hint:
            optional.add(name)
    assert signature is not None
    return Fields(models, frozenset(optional), signature, _celerys_own(cls))


def _signature_of(cls: Any) -> inspect.Signature | None:
    raw = inspect.getattr_static(cls, "run")
    is_static = isinstance(raw, staticmethod)
    return signature_of(raw.__func__ if is_static else raw, bound=not is_static)


def _hints_of(function: Any) -> dict[str, Any]:
    """Return the annotations of a body as Celery reads them."""
    try:
        return typing.get_type_hints(function)
    except (NameError, AttributeError, TypeError):
        return dict(getattr(function, "__annotations__", {}))


def _unless_none(hint: Any) -> Any:
    """Return the one other type in a union with None; any other type as it is."""
    parts = typing.get_args(hint)
    others = [part for part in parts if part is not type(None)]
    is_optional = len(parts) == 2 and len(others) == 1
    return others[0] if is_optional and is_model(others[0]) else hint


def _check_errors_hide(cls: Any, model: Any) -> None:
    """Refuse a model whose errors would show what it was given."""
    for _, kind in parts_of(model):
        if not is_model(kind) or kind.model_config.get("hide_input_in_errors"):
            continue
        field = sensitive_field(kind)
        if field is not None:
            raise ConfigurationError(
                f"task {_name(cls)}: {kind.__name__}.{field} is Sensitive, but pydantic's errors "
                f"would show what {kind.__name__} was given. Add this line to it: model_config = "
                "ConfigDict(hide_input_in_errors=True, validate_assignment=True)"
            )


def check_input_model(cls: Any) -> None:
    """Refuse an input model that would not keep its sensitive fields secret.

    Args:
        cls: a task, or its class. One that is encrypted may have any.

    Raises:
        ConfigurationError: it has one.
    """
    model = None if cls.milepost_is_encrypted else cls.input_model
    field = None if model is None else sensitive_field(model)
    if field is not None:
        raise ConfigurationError(sent_in_the_clear(f"task {_name(cls)}", _name(cls), model, field))


def sent_in_the_clear(what: str, task: str, model: Any, field: str) -> str:
    """Return why an input model may not have a sensitive field."""
    return (
        f"{what}: {model.__name__}.{field} is Sensitive, but an input model only checks the "
        f"payload, which would be sent in the clear. Make task {task} an EncryptedTask, or let it "
        "take the model as an argument, with pydantic=True"
    )


def _name(cls: Any) -> str:
    return repr(cls.name or getattr(cls, "__name__", ""))


def _celerys_own(cls: Any) -> Callable[[Any, Any], Any]:
    """Return what Celery validates an argument of the task with.

    It knows whether to be strict, and the context of the validators; Celery keeps both nowhere
    else. Where it cannot be found, pydantic's defaults take its place.
    """
    found = cls._dump_pydantic_arguments.func
    for name in ("dump_argument", "validate_argument"):
        found = inspect.getclosurevars(found).nonlocals.get(name)
        if not inspect.isfunction(found):
            return _validated
    validate: Callable[[Any, Any], Any] = found
    return validate


def _validated(model: Any, value: Any) -> Any:
    return model.model_validate(value)
