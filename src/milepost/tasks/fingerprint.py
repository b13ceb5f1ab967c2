"""A short mark of a task's code, to see whether a checkpoint was written by the same."""

import zlib
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any


def fingerprint_of(cls: type, function: Callable[..., Any]) -> str:
    """Return a mark that changes when the body, or a method of the task's class, does.

    Comments, line numbers and other tasks of the module do not change it.
    """
    functions = [function]
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] not in {"milepost", "celery", "builtins"}:
            functions += [f for f in vars(base).values() if callable(f) and f is not function]
    mark = 0
    for code in (c for f in functions for c in _codes(getattr(f, "__code__", None))):
        mark = zlib.crc32(code.co_code, mark)
        mark = zlib.crc32(repr(code.co_names).encode(), mark)
        mark = zlib.crc32(_text_of(code.co_consts).encode(), mark)
    return f"{mark:08x}"


def _text_of(constant: Any) -> str:
    """Return a constant as text that is the same in every process."""
    if isinstance(constant, CodeType):
        return ""
    if isinstance(constant, tuple):
        return f"({','.join(map(_text_of, constant))})"
    if isinstance(constant, frozenset):
        return f"{{{','.join(sorted(map(_text_of, constant)))}}}"
    return repr(constant)


def _codes(code: CodeType | None) -> Iterator[CodeType]:
    if code is not None:
        yield code
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from _codes(constant)
