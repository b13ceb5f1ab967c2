"""What a body returns, held to what Celery is to keep of it before the job has succeeded.

Celery would find out once the record says that the job has succeeded, and callbacks are sent.
"""

from collections.abc import Callable
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from celery.states import SUCCESS

from milepost.codecs.json import is_plain
from milepost.errors import JobResultError
from milepost.tasks.verdict import stores_result

TAKES_PLAIN = frozenset({"json", "pickle"})
"""Serializers that take what is plain for the record's codec: most jobs return that, and need
not be encoded once more to find that out. MessagePack refuses large integers, say."""
NOT_ITS_FAULT = (SoftTimeLimitExceeded, MemoryError)
"""What may happen while a value is encoded, whatever it is."""


def checked(task: Any, request: Any, body: Callable[[Any], Any], attempt: Any) -> Any:
    """Run a body, and return what it returns.

    Raises:
        JobResultError: Celery's result backend is to store it, and cannot.
    """
    value = body(attempt)
    if value is None or task.milepost_is_encrypted or not stores_result(task, request):
        return value  # of an encrypted task the backend gets text
    backend = task.backend
    if task.keep_result and backend.serializer in TAKES_PLAIN:
        data = attempt.encoded(value)
        if data is not None and is_plain(data):
            return value
    try:
        backend.encode(backend.encode_result(value, SUCCESS))
    except Exception as exc:  # each serializer has its own
        cause = _not_its_fault(exc)
        if cause is not None:
            raise cause from None
        raise JobResultError(task.name, type(value).__qualname__, str(exc)) from exc
    return value


def _not_its_fault(exc: BaseException | None) -> BaseException | None:
    """Return what ended the encoding and says nothing of the value: kombu wraps all there is."""
    while exc is not None and not isinstance(exc, NOT_ITS_FAULT):
        exc = exc.__context__
    return exc
