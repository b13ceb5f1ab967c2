"""Tasks written as ``async def``: one event loop per worker thread drives them."""

import asyncio
import contextvars
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any

_local = threading.local()
"""Global state department: the event loop of each thread, and the process it was made in."""


def drive(call: Callable[[], Any]) -> Any:
    """Make a call and, if that gives a coroutine, run it to its end on this thread's loop.

    Whether it does shows only then: a decorator, or pydantic's validation, around an
    ``async def`` is a plain function. It runs in a copy of the current context.

    Whatever the body left running is cancelled before this returns: a task that ended must
    not go on working behind the back of the next one.
    """
    value = call()
    if not asyncio.iscoroutine(value):
        return value
    if _loop_is_running():
        return _drive_elsewhere(value)
    runner = _runner()
    try:
        return runner.run(value, context=contextvars.copy_context())
    finally:
        _cancel_leftovers(runner.get_loop())


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _runner() -> asyncio.Runner:
    runner: asyncio.Runner | None = getattr(_local, "runner", None)
    if runner is None or _local.pid != os.getpid():
        _local.runner = runner = asyncio.Runner()
        _local.pid = os.getpid()
    return runner


def _drive_elsewhere(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run eagerly from inside a running loop: a thread of its own, which by nature blocks it."""
    context = contextvars.copy_context()
    outcome: list[Any] = []

    def work() -> None:
        try:
            outcome.append((True, context.run(asyncio.run, coroutine)))
        except BaseException as exc:  # handed to the caller's thread, which raises it
            outcome.append((False, exc))

    thread = threading.Thread(target=work, name="milepost-eager")
    thread.start()
    thread.join()
    done, value = outcome[0]
    if not done:
        raise value
    return value


def _cancel_leftovers(loop: asyncio.AbstractEventLoop) -> None:
    leftovers = asyncio.all_tasks(loop)
    for task in leftovers:
        task.cancel()
    if leftovers:
        loop.run_until_complete(asyncio.gather(*leftovers, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
