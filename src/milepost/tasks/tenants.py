"""Whose key encrypts what a job leaves: asked once for each attempt, and nobody else's ever.

None stands for a tenant whose key is gone, so that nobody can say who it was. Nothing is
encrypted for it then; under any other key it would outlive the destruction of its own.
"""

from typing import Any

from milepost.codecs import tokens
from milepost.codecs.encrypted import Sealer
from milepost.errors import EncryptedDataError, NoKeysError
from milepost.model import Job
from milepost.runtime import cipher_of, runtime_of
from milepost.tasks import message

PART = "milepost_part"
"""The argument by name that marks a signature's encrypted arguments."""
_REMEMBERED = "milepost_tenant"
"""The attribute of Celery's request that keeps whose job it is for as long as it runs."""


def is_sealed(args: Any, kwargs: Any) -> bool:
    """Whether arguments look like those of an encrypted job."""
    return not kwargs and len(args) == 1 and tokens.is_token(args[0])


def is_part(args: Any, kwargs: Any) -> bool:
    """Whether arguments look like those of a signature that waits, or of a job."""
    return len(args) == 1 and tokens.is_token(args[0]) and kwargs.keys() <= {PART}


def tenant_here(task: Any) -> str | None:
    """Return whose job it is that runs here; None where nobody can say, or none runs."""
    request = task.request_stack.top
    if request is None:
        return None
    if _REMEMBERED not in request.__dict__:
        setattr(request, _REMEMBERED, _tenant_in(task, request))
    found: str | None = getattr(request, _REMEMBERED)
    return found


def _tenant_in(task: Any, request: Any) -> str | None:
    is_taken = task.accept_plaintext or request.called_directly
    try:
        return _tenant_of(task, request.args or (), request.kwargs or {}, is_taken=is_taken)
    except Exception:  # of the task's own code: it is asked again where it may fail the job
        return None


def tenant_on_record(task: Any, job: Job) -> str | None:
    """Return whose job a record is of; None where nobody can say.

    Raises:
        ConfigurationError: its message is pickled, and the app does not allow that.
    """
    found = message.unpack(job.message, task.app)
    return _tenant_of(task, found.args, found.kwargs, is_taken=task.accept_plaintext)


def _tenant_of(task: Any, args: Any, kwargs: Any, *, is_taken: bool) -> str | None:
    if not is_part(args, kwargs):
        # What is in the clear is refused, and leaves nothing of a tenant, unless it is taken.
        given: str | None = task.tenant_of(*args, **kwargs) if is_taken else ""
        return given
    try:
        key = cipher_of(task.app).keys.get(tokens.key_id_in(args[0]))
    except EncryptedDataError:  # it only looks like ciphertext
        return None
    return None if key is None else key.tenant


def sealer_here(task: Any) -> Sealer:
    """Return what encrypts for the job that runs here.

    Raises:
        NoKeysError: its tenant has no key.
    """
    return cipher_of(task.app).sealer_of_job(tenant_here(task))


def sealer_for(task: Any, job_id: str | None) -> Sealer:
    """Return what encrypts for a job, whether it runs here or not.

    Raises:
        NoKeysError: its tenant has no key.
        JobNotFoundError: it is not the one that runs here, and not on record.
    """
    request = task.request_stack.top
    if request is not None and job_id in (None, request.id):
        return sealer_here(task)
    if job_id is None:
        raise NoKeysError(f"a job of {task.name} that is not named")
    job = runtime_of(task.app).store.get(job_id)
    return cipher_of(task.app).sealer_of_job(tenant_on_record(task, job))
