"""A short mark of a task's code, to see whether a checkpoint was written by the same."""

import zlib
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any

WRAPPED = "milepost_wrapped"
"""Attribute of a ``run`` that has the engine around it: its own code is not the task's."""
BELOW = "milepost_below"
"""The same of what milepost puts between the engine and the body."""


def fingerprint_of(cls: type, function: Callable[..., Any]) -> str:
    """Return a mark that changes when the body, or a method of the task's class, does.

    Comments, line numbers and other tasks of the module do not change it. What a decorator
    wraps is part of it, if the decorator says so (``functools.wraps``).
    """
    members: list[Any] = [function]
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] not in {"milepost", "celery", "builtins"}:
            members += [member for member in vars(base).values() if member is not function]
    mark = 0
    functions = (f for member in members for f in _layers(member))
    for code in (c for f in functions for c in _codes(f.__code__)):
        mark = zlib.crc32(code.co_code, mark)
        mark = zlib.crc32(repr(code.co_names).encode(), mark)
        mark = zlib.crc32(_text_of(code.co_consts).encode(), mark)
    return f"{mark:08x}"


def _layers(member: Any) -> Iterator[FunctionType]:
    """Yield the functions that a member of a class is made of, from the outside in.

    Nothing is asked of what is no function: a member may be an object that comes to life
    when it is first touched.
    """
    while True:
        kind = type(member)
        if kind is FunctionType:
            own = vars(member)
            if not (own.get(WRAPPED) or own.get(BELOW)):
                yield member
            member = own.get("__wrapped__")
        elif kind in (staticmethod, classmethod):
            member = member.__func__
        elif kind is property:
            member = member.fget
        else:
            return


def _text_of(constant: Any) -> str:
    """Return a constant as text that is the same in every process."""
    if isinstance(constant, CodeType):
        return ""
    if isinstance(constant, tuple):
        return f"({','.join(map(_text_of, constant))})"
    if isinstance(constant, frozenset):
        return f"{{{','.join(sorted(map(_text_of, constant)))}}}"
    return repr(constant)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)
