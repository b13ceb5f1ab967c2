"""Jobs that another system has: their records are here, but they are not for workers."""

from milepost.errors import InvalidTransitionError
from milepost.history import Act
from milepost.model import Job, JobStatus

HANDED = "handed over as "
"""How the history names who has a job now: it is this system's word for who ended it here."""


def native_id(job: Job) -> str | None:
    """Return the id of a job in the system that it was handed to; None where it was not."""
    if job.status is not JobStatus.CANCELLED:
        return None
    last = next((entry for entry in reversed(job.history) if entry.act == Act.CANCEL), None)
    if last is None or not last.by.startswith(HANDED):
        return None
    return last.by.removeprefix(HANDED)


def refuse_elsewhere(job: Job) -> None:
    """Refuse to let a job go on in Celery that another system has: it would run twice.

    Raises:
        InvalidTransitionError: another system has it.
    """
    native = native_id(job)
    if native is None and job.message:
        return
    known_as = "" if native is None else f", as {native!r}"
    raise InvalidTransitionError(
        *(job.id, job.status, JobStatus.PENDING),
        f"another system has it{known_as}: ask the router, or that system",
    )
