"""A short mark of a task's code, to see whether a checkpoint was written by the same."""

import dis
import zlib
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

WRAPPED = "milepost_wrapped"
"""Attribute of a ``run`` that has the engine around it: its own code is not the task's."""
BELOW = "milepost_below"
"""The same of what milepost puts between the engine and the body."""


OURS = frozenset({"milepost", "celery", "builtins"})
VERBS = frozenset({"iterate", "step", "map", "llm", "llm_map", "call_llm_with_retry"})
"""What a function asks of a task whose loops and steps it has. Which function does is seen by
that: what changes in others cannot move what is recorded."""


class Fingerprint:
    """The mark of a task class, made when it is first asked for: the module is complete then.

    Args:
        function: the body.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._marks: dict[type, str] = {}

    def __get__(self, task: object, cls: type) -> str:
        mark = self._marks.get(cls)
        if mark is None:
            mark = self._marks[cls] = fingerprint_of(cls, self._function)
        return mark


def fingerprint_of(cls: type, function: Callable[..., Any]) -> str:
    """Return a mark that changes when the body, or a method of the task's class, does.

    So it does with functions and classes that those use by name, if they have loops or steps
    of a task themselves. Comments, line numbers and the rest of the module do not change it.
    What a decorator wraps is part of it, if the decorator says so (``functools.wraps``).
    """
    members: list[Any] = [function]
    for base in cls.__mro__:
        if _package(base) not in OURS:
            members += vars(base).values()
    # In the order of their first use, each once.
    functions = list(dict.fromkeys(f for member in members for f in _layers(member)))
    known, mark = set(functions), 0
    for used in functions:  # which grows meanwhile
        for code in _codes(used.__code__):
            mark = zlib.crc32(code.co_code, mark)
            mark = zlib.crc32(repr(code.co_names).encode(), mark)
            mark = zlib.crc32(_text_of(code.co_consts).encode(), mark)
        for other in _partners(used):
            if other not in known:
                known.add(other)
                functions.append(other)
    return f"{mark:08x}"


def _partners(function: FunctionType) -> Iterator[FunctionType]:
    """Yield what a function uses by name and what has loops or steps of a task, too."""
    names = dict.fromkeys(name for code in _codes(function.__code__) for name in code.co_names)
    for name in names:
        value = function.__globals__.get(name)
        # Only the type is looked at: a lazy object would come to life.
        if type(value) is ModuleType:
            space = vars(value)
            found = [space.get(name) for name in names]
        else:
            found = [value]
        for each in found:
            members = vars(each).values() if issubclass(type(each), type) else [each]
            for other in (f for member in members for f in _layers(member)):
                if _is_within_reach(other, function) and _has_steps(other):
                    yield other


def _is_within_reach(other: FunctionType, function: FunctionType) -> bool:
    """Whether another function is of the same project: a library's new release is no change."""
    if _package(other) in OURS:
        return False
    return _package(other) == _package(function) or "-packages" not in other.__code__.co_filename


def _has_steps(function: FunctionType) -> bool:
    return any(
        instruction.opname in ("LOAD_ATTR", "LOAD_METHOD") and instruction.argval in VERBS
        for code in _codes(function.__code__)
        if not VERBS.isdisjoint(code.co_names)
        for instruction in dis.get_instructions(code)
    )


def _package(thing: Any) -> str:
    return str(thing.__module__).partition(".")[0]


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
