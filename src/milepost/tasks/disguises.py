"""What Celery's ``autoretry_for`` and ``throws`` know an encrypted error by: its class."""

import functools
from dataclasses import dataclass
from typing import Any, NoReturn

from milepost.errors import EncryptedFailureError, JobFailedError
from milepost.tasks.verdict import backoff_of, will_autoretry


@dataclass(frozen=True, slots=True)
class Again:
    """Stands for an error that is to be retried, and whose class Celery would not know.

    Attributes:
        failure: what the retry is to say of it.
    """

    failure: EncryptedFailureError


def disguised(task: Any, request: Any, exc: Any, *said: str) -> BaseException | Again:
    """Return an encrypted failure as Celery is to see it, so that it does what the record says.

    It is of the class of the error it stands for where somebody asks for that class. Some
    can have no subclass; for those the verdict stands, whatever Celery would make of it.

    Args:
        task: the job's task.
        request: Celery's request.
        exc: the error it stands for.
        said: what EncryptedFailureError takes.
    """
    wanted = (*getattr(task, "autoretry_for", ()), *getattr(task, "throws", ()))
    is_wanted = isinstance(exc, wanted) and not isinstance(exc, EncryptedFailureError)
    kind: Any = type(exc) if is_wanted else None
    failure: EncryptedFailureError = (_class_as(kind) if kind else EncryptedFailureError)(*said)
    is_again = will_autoretry(task, request, exc)
    if is_again == will_autoretry(task, request, failure):
        return failure
    # An error that ends a job ends it whatever autoretry_for says; see BaseTask.retry().
    ending: BaseException = _class_as(JobFailedError)(*said)
    return Again(failure) if is_again else ending


def retry(task: Any, failure: EncryptedFailureError) -> NoReturn:
    """Retry a job as ``autoretry_for`` does, with the same options.

    Raises:
        Retry: always, or what Celery raises in place of it.
    """
    options = dict(getattr(task, "retry_kwargs", {}))
    backoff = backoff_of(task, task.request, full_jitter=getattr(task, "retry_jitter", True))
    if backoff is not None:
        options["countdown"] = backoff
    limit = getattr(task, "override_max_retries", None)
    if limit is not None:
        options["max_retries"] = limit
    raise task.retry(exc=failure, **options)


@functools.cache
def _class_as(kind: Any) -> Any:
    """Return a class that is EncryptedFailureError, and to ``except`` and isinstance *kind* too."""
    # A class of Python's own, whose objects are made without asking anybody's __new__.
    origin: Any = next(cls for cls in kind.__mro__ if cls.__module__ == "builtins")

    def make(cls: Any, *_: str) -> Any:
        return origin.__new__(cls)

    def fill(self: Any, *args: str) -> None:
        self.args = args
        self.job_id, self.task, self.kind, self.text = args

    members = {
        "__module__": EncryptedFailureError.__module__,
        "__new__": make,
        "__init__": fill,
        "__reduce__": lambda self: (EncryptedFailureError, self.args),
        "__str__": EncryptedFailureError.__str__,
        "__repr__": EncryptedFailureError.__repr__,
    }
    try:
        made: Any = type("EncryptedFailureError", (EncryptedFailureError, kind), members)
        made("", "", "", "")
    except Exception:  # nothing can be derived from it, or nothing be made that way
        return EncryptedFailureError
    return made
