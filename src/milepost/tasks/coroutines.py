"""Tasks written as ``async def``: one event loop per worker thread drives them."""

import asyncio
import contextvars
import os
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, field
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

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
    runner, limits = _runner(), Limits()
    try:
        return runner.run(_carry(value, limits), context=contextvars.copy_context())
    except SoftTimeLimitExceeded as exc:
        main = limits.main
        if main is None or main.done():
            raise  # out of the body itself
        limits.waiting.append(exc)
        main.cancel()
        return runner.get_loop().run_until_complete(main)
    finally:
        _cancel_leftovers(runner.get_loop())


@dataclass(slots=True)
class Limits:
    """Time limits that hit while no code of the body was running, but its event loop.

    Attributes:
        main: the asyncio task of the body.
        waiting: what is to be raised where the body waits.
    """

    main: asyncio.Task[Any] | None = None
    waiting: list[SoftTimeLimitExceeded] = field(default_factory=list)


async def _carry(coroutine: Coroutine[Any, Any, Any], limits: Limits) -> Any:
    limits.main = asyncio.current_task()
    return await _interruptible(coroutine, limits)


@types.coroutine
def _interruptible(coroutine: Coroutine[Any, Any, Any], limits: Limits) -> Generator[Any, Any, Any]:
    """Await a coroutine; a cancellation that stands for a time limit is raised in it as such."""
    resume: Callable[[Any], Any] = coroutine.send
    word: Any = None
    while True:
        try:
            awaited = resume(word)
        except StopIteration as end:
            return end.value
        try:
            resume, word = coroutine.send, (yield awaited)
        except BaseException as exc:
            resume, word = coroutine.throw, exc
            if isinstance(exc, asyncio.CancelledError) and limits.waiting:
                word = limits.waiting.pop()
                assert limits.main is not None
                limits.main.uncancel()


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
