"""The only door between Celery's task machinery and the engine.

``run`` is wrapped when a durable class is made, inside of ``autoretry_for`` and outside of
pydantic's validation. On the way in the wrapper turns Celery's request into a delivery; on the
way out it turns the one ending of the attempt back into Celery's words, here and nowhere else.
"""

import functools
import inspect
import logging
import os
import uuid
from asyncio import CancelledError, iscoroutine
from collections.abc import Callable, Coroutine
from dataclasses import replace
from math import inf
from threading import get_ident
from typing import Any, TypeAlias

import celery
from celery._state import _task_stack  # type: ignore[attr-defined]
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from milepost import engine
from milepost.clock import SystemClock
from milepost.codecs.json import JsonCodec
from milepost.errors import BodyExitError, JobFailedError
from milepost.interrupts import Interrupt, Suspend
from milepost.model import Delivery, Job, JobStatus, Refusal
from milepost.observer import Emitter
from milepost.runtime import Runtime, runtime_for
from milepost.settings import Settings
from milepost.stores.readable import result_of
from milepost.tasks import announce, message, verdict
from milepost.tasks.arguments import signature_of
from milepost.tasks.coroutines import drive
from milepost.tasks.current import CURRENT
from milepost.tasks.fingerprint import WRAPPED, Fingerprint
from milepost.tasks.following import mark_success
from milepost.tasks.guarding import guarded
from milepost.tasks.returning import checked
from milepost.tasks.station import drain_of, incarnation_of

logger = logging.getLogger("milepost")

NOT_FOLLOWED = (
    "it succeeded, but what follows it was not done then, and its result is not kept in the record"
)
"""What Celery is told of a success that nothing is left of to hand on."""

Body: TypeAlias = Callable[["engine.Attempt"], Any]


class _PutBack(Reject, Ignore):
    """A Reject that ``autoretry_for`` lets through: nothing has run that could be retried."""


def is_put_back(exc: BaseException) -> bool:
    """Whether an error gives a delivery of which nothing has run back to the broker."""
    return isinstance(exc, _PutBack)


def body_of(cls: Any) -> Any:
    """Return the ``run`` of a class that has no engine around it yet, as it was declared.

    Wherever it comes from: a mixin, say. None where there is none, in a base that leaves it
    to its subclasses, and where it is that of a class that is durable itself.
    """
    raw = inspect.getattr_static(cls, "run")
    function = raw.__func__ if isinstance(raw, staticmethod) else raw
    return None if function is celery.Task.run or getattr(function, WRAPPED, False) else raw


def wrap_run(cls: Any) -> None:
    """Put the engine around the ``run`` of a durable task class, wherever that comes from."""
    raw = inspect.getattr_static(cls, "run")
    is_static = isinstance(raw, staticmethod)
    function = raw.__func__ if is_static else raw
    if function is celery.Task.run:
        return
    cls.milepost_fingerprint = Fingerprint(function)
    if body_of(cls) is None:
        return
    is_async = inspect.iscoroutinefunction(function)

    @functools.wraps(function)
    def run(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        bound = args if is_static else (self, *args)
        return _enter(self, functools.partial(function, *bound, **kwargs), is_async)

    setattr(run, WRAPPED, True)
    cls.run = run
    # What a decorator wraps counts: it is there that the body stands.
    cls.milepost_is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
    cls.milepost_signature = signature_of(function, bound=not is_static)


def _enter(task: Any, call: Callable[[], Any], is_async: bool) -> Any:
    """Tell apart a delivered job, a call from within it, and a call that is no job at all."""
    request = task.request_stack.top
    if is_inside(task, request):
        return call()
    if request is None or request.called_directly:
        return _await_directly(task, call) if is_async else _call_directly(task, call)
    body = functools.partial(_body, task=task, call=call)
    if request.is_eager:
        return _translate(task, request, _carry_throwaway(task, request, body))
    if task.guards:
        body = functools.partial(guarded, task, body)
    body = functools.partial(checked, task, request, body)
    return _translate(task, request, _carry(task, request, body))


def is_inside(task: Any, request: Any) -> bool:
    """Whether the running attempt of this very task makes the call: ``super().run()``, say."""
    active = CURRENT.get()
    if active is None or active.job.task != task.name:
        return False
    if request is None or request.called_directly:
        return True
    return active.job.id == request.id and active.job.delivery == _number(request)


def _number(request: Any) -> int:
    return int(request.retries or 0)


def _body(attempt: "engine.Attempt", task: Any, call: Callable[[], Any]) -> Any:
    token = CURRENT.set(attempt)
    try:
        _check_first(attempt, task)
        return drive(functools.partial(_called, attempt, call))
    except SoftTimeLimitExceeded:
        if task.on_soft_time_limit == "continue" and attempt.journal.has_moved:
            raise Suspend(JobStatus.SCHEDULED, "soft time limit", delay=0.0) from None
        raise
    except (SystemExit, CancelledError) as exc:
        if verdict.is_told_to_end(exc):
            raise
        raise BodyExitError(task.name, repr(exc)) from exc
    finally:
        CURRENT.reset(token)


def _check_first(attempt: "engine.Attempt", task: Any) -> None:
    """Let nothing that the input model refuses reach the body, whoever has sent it.

    A job that is under way goes on, though: it was taken in under the model of its time. And
    a direct call is the application's own.
    """
    request = task.request
    if attempt.job.attempts <= 1 and not request.called_directly:
        task.milepost_check(request.args, request.kwargs)


def _called(attempt: "engine.Attempt", call: Callable[[], Any]) -> Any:
    """Call the body; its coroutine may be driven by another thread than this one."""
    value = call()
    return _at_home(attempt, value) if iscoroutine(value) else value


async def _at_home(attempt: "engine.Attempt", coroutine: Coroutine[Any, Any, Any]) -> Any:
    attempt.thread = get_ident()
    try:
        return await coroutine
    except Interrupt as stop:
        await attempt.land(stop)
        raise


def _carry(task: Any, request: Any, body: Body) -> "engine.Ending":
    runtime = runtime_for(task)
    return engine.run_attempt(
        runtime,
        _plan(task, request, runtime.settings),
        Delivery(request.id, task.name, _number(request)),
        functools.partial(message.from_request, task, request),
        body,
    )


def _carry_throwaway(task: Any, request: Any, body: Body) -> "engine.Ending":
    """Run eagerly: the same code and the same encoding, in a store that nobody keeps."""
    runtime, plan, delivery = _throwaway(task, request)
    return engine.run_attempt(runtime, plan, delivery, bytes, body)


def _throwaway(task: Any, request: Any) -> "tuple[Runtime, engine.Plan, Delivery]":
    codec = task.codec or getattr(task.app, "milepost_codec", None) or JsonCodec()
    runtime = Runtime(Settings(), engine.ThrowawayStore(), codec, SystemClock(), Emitter())
    job_id = request.id or str(uuid.uuid4())
    delivery = Delivery(job_id, task.name, _number(request), message=b"eager")
    return (
        runtime,
        replace(
            _plan(task, request, runtime.settings), keep_result=False, is_draining=engine.never
        ),
        delivery,
    )


def _call_directly(task: Any, call: Callable[[], Any]) -> Any:
    ending = _carry_throwaway(task, task.request, functools.partial(_body, task=task, call=call))
    return _translate(task, task.request, ending)


async def _await_directly(task: Any, call: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    runtime, plan, delivery = _throwaway(task, task.request)
    attempt = engine.begin(runtime, plan, delivery, bytes)
    assert isinstance(attempt, engine.Attempt)
    token = CURRENT.set(attempt)
    _task_stack.push(task)  # Celery left the call when it got the coroutine
    try:
        return await call()
    except Interrupt as stop:
        raise Ignore(f"{task.name} stopped: {stop}") from None
    finally:
        _task_stack.pop()
        CURRENT.reset(token)


def _plan(task: Any, request: Any, settings: Settings) -> "engine.Plan":
    return engine.Plan(
        owner=f"{incarnation_of(task.app)}:{os.getpid()}",
        judge=functools.partial(verdict.judge, task, request),
        lease_seconds=task.lease_seconds or settings.lease_seconds,
        checkpoint_every=task.checkpoint_every or settings.checkpoint_every,
        max_crashes=settings.max_crashes if task.max_crashes is None else task.max_crashes,
        version=task.checkpoint_version,
        fingerprint=task.milepost_fingerprint,
        migrate=getattr(task, "migrate_checkpoint", None),
        finishing=verdict.must_finish(task, request),
        keep_result=task.keep_result,
        is_draining=drain_of(task.app),
    )


def _translate(task: Any, request: Any, ending: "engine.Ending") -> Any:
    """Return the value, or raise what tells Celery to leave the job alone."""
    if isinstance(ending, engine.Completed):
        mark_success(task, request)
        return ending.value
    if isinstance(ending, engine.Dropped):
        job = ending.refused.job
        headers = request.headers or {}
        if ending.refused.why is Refusal.SETTLED and headers.get(message.FINISH_HEADER):
            return _replay(task, request, job)
        raise Ignore(f"job {job.id} is {job.status}: this delivery is dropped")
    if isinstance(ending, engine.Unclaimed):
        # Fail closed: without a lease nothing may run. The message goes back to the broker.
        raise _PutBack(ending.error, requeue=True) from ending.error
    if not (request.is_eager or request.called_directly):
        _tell(task, request, ending)
    raise Ignore(f"job {request.id} stopped: {ending.reason}")


def _tell(task: Any, request: Any, stopped: "engine.Stopped") -> None:
    """Tell Celery what its own machinery does not know of an attempt that was stopped."""
    if stopped.status is JobStatus.PAUSED:
        announce.paused(task.app, request, task.milepost_told(stopped.reason))
    elif stopped.status is JobStatus.CANCELLED:
        _tell_cancelled(task, request, task.milepost_told(stopped.reason))


def _tell_cancelled(task: Any, request: Any, reason: str) -> None:
    try:
        announce.cancelled(task.app, request, reason)
        runtime_for(task).store.finish([request.id])
    except Exception as exc:  # a keeper sends it again, to be told of then
        logger.warning("job %s: Celery is not told yet of its end: %s", request.id, exc)


def _replay(task: Any, request: Any, job: Job) -> Any:
    """Give Celery the recorded outcome again: it is not known to have done all that follows."""
    if job.status is JobStatus.CANCELLED:
        _tell_cancelled(task, request, task.milepost_told(job.reason or "cancelled"))
        raise Ignore(f"job {job.id} is {job.status}")
    if job.reason == engine.RESULT_NOT_KEPT:
        mark_success(task, request, ago=inf)  # no replay can do more
        raise JobFailedError(job.id, NOT_FOLLOWED)
    value = recorded_value(runtime_for(task), job)
    mark_success(task, request, ago=job.read_at - (job.ended_at or job.read_at))
    return value


def takes_plaintext(task: Any) -> bool:
    """Whether what is stored of a task's jobs may be in the clear; so it is where it is unknown."""
    return not getattr(task, "milepost_is_encrypted", False) or bool(task.accept_plaintext)


def recorded_value(runtime: Runtime, job: Job, *, takes_plaintext: bool = True) -> Any:
    """Return the return value in the record of a job that has ended.

    Args:
        runtime: as the job's task has it.
        job: its record.
        takes_plaintext: whether its result may be in the clear, as it is in a record that the
            runtime's own store has given.

    Raises:
        JobFailedError: the job failed; the record has the text of its error.
        PlaintextError: its result is in the clear, and may not be.
        EncryptedDataError: its result cannot be read.
    """
    if job.status is JobStatus.FAILED:
        raise JobFailedError(job.id, job.error or job.reason or "no reason on record")
    data = result_of(job, runtime.cipher, takes_plaintext=takes_plaintext)
    return None if data is None else runtime.codec.decode(data)
