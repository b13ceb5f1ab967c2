"""What an error that leaves the body means for the job: Celery's words, translated once."""

import signal
from collections.abc import Callable
from datetime import datetime
from typing import Any

from celery.app.task import get_actual_ignore_result  # type: ignore[attr-defined]
from celery.backends.base import DisabledBackend
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.time import get_exponential_backoff_interval

from milepost import engine
from milepost.errors import (
    CrashLimitError,
    InvalidInputError,
    JobFailedError,
    JobResultError,
    PlaintextError,
    TamperedError,
)
from milepost.model import JobStatus, Settlement
from milepost.tasks import message

FINAL = (
    *(CrashLimitError, InvalidInputError, JobFailedError, JobResultError),
    *(PlaintextError, TamperedError),
)
"""Errors that end a job whatever ``autoretry_for`` says: another try would meet them again."""
SIGNALLED = 256
TERMINATED = frozenset(number - SIGNALLED for number in signal.valid_signals())
"""Exit codes of a pool process that a signal has told to terminate."""
RETRY_GRACE = 30.0
"""Seconds past a retry's countdown after which its message is taken to be lost."""
ERROR_LENGTH = 4096
"""Characters of an error's text that the record keeps."""


def judge(task: Any, request: Any, exc: BaseException) -> Settlement:
    """Say how an error settles the job of *request*.

    A retry is SCHEDULED, whether the body asked for it or ``autoretry_for`` is about to; an
    end that the task did not choose (the process is being shut down) is an interruption;
    everything else is a failure.
    """
    if isinstance(exc, Retry):
        return _retry(task, request, exc)
    if isinstance(exc, Ignore):
        return Settlement(JobStatus.CANCELLED, "ignored: the task raised Ignore")
    if not isinstance(exc, Exception):
        return Settlement(JobStatus.INTERRUPTED, _how_it_ended(exc), delay=0.0)
    if will_autoretry(task, request, exc):
        return Settlement(
            JobStatus.SCHEDULED,
            f"{engine.RETRY}: {type(exc).__name__}",
            delay=_autoretry_delay(task, request),
            resend_after=RETRY_GRACE,
            delivery=_next(request),
        )
    if isinstance(exc, Reject):
        return _reject(exc)
    return Settlement(JobStatus.FAILED, error=describe(exc), finishing=must_finish(task, request))


def _how_it_ended(exc: BaseException) -> str:
    if type(exc) is SystemExit and exc.code in TERMINATED:
        number = exc.code + SIGNALLED
        return f"its process was ended by signal {number} ({signal.strsignal(number)})"
    return f"its process ended: {_words(repr, exc)}"


def is_told_to_end(exc: BaseException) -> bool:
    """Whether an exit was asked of the process from outside, and is no doing of its body.

    A pool process leaves by a code of its own when it is told to terminate, and Celery's
    worker by exceptions of its own.
    """
    if type(exc) is not SystemExit:
        return isinstance(exc, SystemExit)
    return exc.code in TERMINATED


def describe(exc: BaseException) -> str:
    """Return type and text of an error, at a bounded length."""
    return f"{type(exc).__name__}: {_words(str, exc)}"[:ERROR_LENGTH]


def _words(say: Callable[[BaseException], str], exc: BaseException) -> str:
    """Return what an error says of itself; it must settle the job also where that fails."""
    try:
        return say(exc)
    except Exception as problem:
        return f"it cannot say what it is ({type(problem).__name__})"


def must_finish(task: Any, request: Any) -> bool:
    """Whether Celery still has work after the body: callbacks, a chord, a stored result."""
    canvas = request.callbacks or request.errbacks or request.chain or request.chord
    return bool(canvas or stores_result(task, request))


def stores_result(task: Any, request: Any) -> bool:
    """Whether Celery's result backend is to keep what the job returns."""
    ignores_result = get_actual_ignore_result(task, request)
    return not (ignores_result or isinstance(task.backend, DisabledBackend))


def will_autoretry(task: Any, request: Any, exc: Exception) -> bool:
    """Predict Celery's ``autoretry_for``, which wraps the body outside of ours."""
    wanted = tuple(getattr(task, "autoretry_for", ()))
    unwanted = tuple(getattr(task, "dont_autoretry_for", ()))
    if not isinstance(exc, wanted) or isinstance(exc, (*unwanted, *FINAL)):
        return False
    limit = getattr(task, "override_max_retries", None)
    if limit is None:
        limit = getattr(task, "retry_kwargs", {}).get("max_retries")
    if limit is None:
        limit = task.max_retries
    return limit is None or request.retries < limit


def _next(request: Any) -> int:
    return int(request.retries) + 1


def _retry(task: Any, request: Any, exc: Any) -> Settlement:
    moment = exc.when if isinstance(exc.when, datetime) else None
    delay = message.seconds_until(task.app, None if moment else exc.when, moment)
    changed = None if exc.sig is None else message.from_signature(task, exc.sig)
    return Settlement(
        JobStatus.SCHEDULED,
        engine.RETRY,
        delay=delay,
        resend_after=RETRY_GRACE,
        delivery=_next(request),
        message=changed,
    )


def _reject(exc: Any) -> Settlement:
    if exc.requeue:
        return Settlement(JobStatus.INTERRUPTED, "rejected: the task put itself back", delay=0.0)
    return Settlement(JobStatus.FAILED, error=describe(exc))


def _autoretry_delay(task: Any, request: Any) -> float:
    """Return the longest wait that ``autoretry_for`` may choose, in seconds."""
    backoff = backoff_of(task, request, full_jitter=False)
    if backoff is None:
        given = getattr(task, "retry_kwargs", {}).get("countdown")
        return float(task.default_retry_delay if given is None else given)
    return float(backoff)


def backoff_of(task: Any, request: Any, *, full_jitter: bool) -> int | None:
    """Return the seconds that ``retry_backoff`` of ``autoretry_for`` asks for; None: it does not.

    Args:
        task: the job's task.
        request: Celery's request.
        full_jitter: a random time up to that many seconds.
    """
    backoff = float(getattr(task, "retry_backoff", False))
    if not backoff:
        return None
    return get_exponential_backoff_interval(
        factor=int(max(1.0, backoff)),
        retries=request.retries,
        maximum=int(getattr(task, "retry_backoff_max", 600)),
        full_jitter=full_jitter,
    )
