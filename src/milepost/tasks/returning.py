"""What a body returns, held to what Celery is to keep of it before the job has succeeded.

Celery would find out once the record says that the job has succeeded, and callbacks are sent.
"""

from collections.abc import Callable
from typing import Any

from celery.states import SUCCESS

from milepost.errors import JobResultError
from milepost.tasks.verdict import stores_result

STORABLE = frozenset({type(None), bool, int, float, str})
"""What every serializer takes: most jobs return that, and pay for a look only."""


def checked(task: Any, request: Any, body: Callable[[Any], Any], attempt: Any) -> Any:
    """Run a body, and return what it returns.

    Raises:
        JobResultError: Celery's result backend is to store it, and cannot.
    """
    value = body(attempt)
    if type(value) in STORABLE or task.milepost_is_encrypted or not stores_result(task, request):
        return value  # of an encrypted task the backend gets text
    try:
        task.backend.encode(task.backend.encode_result(value, SUCCESS))
    except Exception as exc:  # each serializer has its own
        raise JobResultError(task.name, type(value).__qualname__, str(exc)) from exc
    return value
