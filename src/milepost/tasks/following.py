"""What Celery does once a durable job has succeeded: nothing of it is lost with a server.

Celery takes whatever goes wrong there for a failure of the task, tells its chord and its
errbacks so, or gives a chord up whose body it could not send. The job has succeeded, though:
a keeper has what follows done again.
"""

import logging
from typing import Any

from celery._state import get_current_worker_task
from celery.exceptions import BackendError
from kombu.exceptions import OperationalError

from milepost.errors import StoreUnavailableError

logger = logging.getLogger("milepost")

_SUCCEEDED = "milepost_has_succeeded"
_AWAY = (OperationalError, OSError, BackendError, StoreUnavailableError)
"""What is raised where a server is away, beside a result backend's own errors."""


def mark_success(task: Any, request: Any) -> None:
    """Remember of a delivered request of Celery's that its job is on record as succeeded."""
    if request.is_eager or request.called_directly:
        return  # nothing of it is on record, and its process need not be a worker's
    setattr(request, _SUCCEEDED, True)
    if not isinstance(task.backend, Truthful):
        task.backend = Truthful(task)


def has_succeeded(request: Any) -> bool:
    """Whether the job of a request, if there is one, is on record as succeeded."""
    return getattr(request, _SUCCEEDED, False) is True


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
        """Leave what went wrong with a server to a keeper; the rest is as in Celery."""
        backend = self._real
        if has_succeeded(request) and (
            isinstance(exc, _AWAY) or backend.exception_safe_to_retry(exc)
        ):
            logger.warning("job %s has succeeded; what follows is done later: %r", task_id, exc)
            return None
        return backend.mark_as_failure(task_id, exc, *args, request=request, **kwargs)
