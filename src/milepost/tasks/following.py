"""What Celery does once a durable job has succeeded: nothing of it is lost with a server.

Celery takes whatever goes wrong there for a failure of the task, tells its chord and its
errbacks so, or gives a chord up whose body it could not send. The job has succeeded, though:
a keeper has what follows done again, for as long as that may help.
"""

import logging
from pickle import PickleError
from typing import Any

from celery._state import get_current_worker_task
from celery.exceptions import BackendError
from celery.states import READY_STATES
from kombu.exceptions import EncodeError, OperationalError

from milepost.errors import (
    CodecError,
    InvalidInputError,
    StoreError,
    StoreUnavailableError,
    ValueTooLargeError,
)
from milepost.runtime import runtime_of

logger = logging.getLogger("milepost")

_ENDED_AGO = "milepost_ended_ago"
AWAY = (OperationalError, OSError, BackendError, StoreUnavailableError)
"""What is raised where a server is away, beside a result backend's own errors."""
_LASTING = (EncodeError, PickleError, CodecError, ValueTooLargeError, InvalidInputError)
"""What is raised where the value itself does not fit: another time it would be raised again."""
_LASTING_IF_AGAIN = (TypeError, ValueError)
"""The same, but a passing fault may look so once: a file that is closed, half an answer."""
PATIENCE = 3600.0
"""Seconds after its end for which what follows a job is tried again, whatever was raised."""


def mark_success(task: Any, request: Any, *, ago: float = 0.0) -> None:
    """Remember of a delivered request of Celery's that its job is on record as succeeded.

    Args:
        task: the job's task.
        request: Celery's request.
        ago: for how many seconds, where this is not the attempt that succeeded.
    """
    if request.is_eager or request.called_directly:
        return  # nothing of it is on record, and its process need not be a worker's
    setattr(request, _ENDED_AGO, ago)
    if not isinstance(task.backend, Truthful):
        task.backend = Truthful(task)


def has_succeeded(request: Any) -> bool:
    """Whether the job of a request, if there is one, is on record as succeeded."""
    return _ended_ago(request) is not None


def _ended_ago(request: Any) -> float | None:
    found = getattr(request, _ENDED_AGO, None)
    return found if isinstance(found, float) else None


def follows_a_success() -> bool:
    """Whether what is being sent follows a job that has just succeeded in this process."""
    parent = get_current_worker_task()
    return parent is not None and has_succeeded(parent.request_stack.top)


class Truthful:
    """The result backend of a task in a worker: takes no failure of a job that has succeeded.

    Args:
        task: the task, whose backend does the rest.
    """

    __slots__ = ("_app", "_own")

    def __init__(self, task: Any) -> None:
        self._app, self._own = task.app, task._backend

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def _real(self) -> Any:
        return self._app.backend if self._own is None else self._own  # an app's is of its thread

    def mark_as_failure(
        self, task_id: str, exc: Any, *args: Any, request: Any = None, **kwargs: Any
    ) -> Any:
        """Leave what went wrong with a server to a keeper; the rest is as in Celery.

        But it is told only once, and what would go wrong each time is the end of it.
        """
        backend, ago = self._real, _ended_ago(request)
        if ago is None:
            return backend.mark_as_failure(task_id, exc, *args, request=request, **kwargs)
        if isinstance(exc, AWAY) or backend.exception_safe_to_retry(exc):
            logger.warning("job %s has succeeded; what follows is done later: %r", task_id, exc)
            return None
        is_over = ago >= PATIENCE
        is_lasting = isinstance(exc, _LASTING + (_LASTING_IF_AGAIN if ago else ()))
        if is_over:  # first, as telling may go wrong each time, too
            self._end(task_id, exc)
        if not ago or ((is_over or is_lasting) and not _is_told(backend, task_id)):
            backend.mark_as_failure(task_id, exc, *args, request=request, **kwargs)
        if is_lasting and not is_over:
            self._end(task_id, exc)
        return None

    def _end(self, job_id: str, exc: Exception) -> None:
        """Let no keeper do again what cannot be done."""
        logger.error("job %s has succeeded, but what follows cannot be done: %r", job_id, exc)
        try:
            runtime_of(self._app).store.finish([job_id])
        except StoreError as trouble:  # it comes here once more
            logger.warning("job %s is tried again all the same: %s", job_id, trouble)


def _is_told(backend: Any, task_id: str) -> bool:
    """Whether Celery has an outcome of a task already, be it another one."""
    try:
        return backend.get_state(task_id) in READY_STATES
    except Exception:  # a backend that keeps nothing, or one that is away
        return False
