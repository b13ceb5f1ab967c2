"""The guards that a task declares, before its body: who is held back comes again later."""

import functools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from milepost import engine
from milepost.errors import CallRefusedError
from milepost.guard import Declaration, Guard
from milepost.interrupts import Suspend
from milepost.model import JobStatus
from milepost.runtime import Runtime, runtime_for

BUILT = "milepost_guards"
"""Where a task keeps its guards once they are built."""
SOONEST = 1.0
"""Seconds that a body which was held back stays away, at least."""


def guarded(task: Any, body: Callable[["engine.Attempt"], Any], attempt: "engine.Attempt") -> Any:
    """Run the body through every guard of its task, or suspend the job until one allows it.

    A guard that cannot ask its store is waited for, like every write of the attempt.
    """
    with ExitStack() as stack:
        for guard in _guards_of(task):
            enter = functools.partial(_enter, stack, guard)
            try:
                attempt.leased.outlast(enter)
            except CallRefusedError as refused:
                delay = max(refused.retry_after, SOONEST)
                raise Suspend(JobStatus.SCHEDULED, f"held back: {refused}", delay) from None
        return body(attempt)


def _enter(stack: ExitStack, guard: Guard) -> None:
    stack.enter_context(guard.calling())


def _built(given: Declaration | str, runtime: Runtime) -> Guard:
    if isinstance(given, str):
        made: Guard = runtime.plugins.make("guards", given, runtime.store, runtime.emit)
        return made
    return given.build(runtime.store, runtime.emit)


def _guards_of(task: Any) -> Sequence[Guard]:
    found: Sequence[Guard] | None = task.__dict__.get(BUILT)
    if found is None:
        runtime = runtime_for(task)
        built = tuple(_built(given, runtime) for given in task.guards)
        # One set per process, also where two threads come here at once.
        found = task.__dict__.setdefault(BUILT, built)
    return found
