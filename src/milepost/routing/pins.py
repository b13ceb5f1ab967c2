"""Where a job went: its record says so, and lives as long as any record does.

A job under an idempotency key has one record, under the id that its key gives in Celery,
whichever system runs it. Whoever makes that record first has decided, and who comes later
follows. A record without a message is not Celery's to send: it only holds the place of a job
that another system has. Once that system has named its own id, the record ends as *handed
over*, with that id in its history; a job that leaves Celery later ends in the same way.
"""

from collections.abc import Mapping
from typing import Any

from milepost.errors import ConfigurationError, InvalidTransitionError
from milepost.jobs.elsewhere import HANDED, native_id
from milepost.model import Job, JobStatus, NewJob, Signal
from milepost.store import Store

LONGEST_ID = 150
ABANDONED_AFTER = 3600.0
"""Seconds after which a place that is held for a job nobody made is given up."""


def hold(
    store: Store, job_id: str, task: str, key: str, owner: str | None, metadata: Mapping[str, Any]
) -> bool:
    """Hold the place of a job that another system is about to take up.

    Returns:
        False where a record of that id is there already: somebody was faster.
    """
    return store.create(
        NewJob(
            job_id,
            task,
            message=b"",
            resend_after=ABANDONED_AFTER,
            owner=owner,
            idempotency_key=key,
            metadata=metadata,
        )
    )


def hand_over(store: Store, job_id: str, native: str) -> Job:
    """Note which id a job has in the system that has it now. A repetition changes nothing.

    Returns:
        The record, which has ended by that.

    Raises:
        ConfigurationError: the id cannot be noted: it is too long, or no plain text.
        InvalidTransitionError: the job has ended otherwise, or somebody has let it go on.
    """
    if not 0 < len(native) <= LONGEST_ID or not native.isprintable():
        raise ConfigurationError(
            f"job {job_id!r}: the id {native!r} of the system that took it over cannot be noted: "
            f"a printable text of 1 to {LONGEST_ID} characters"
        )
    try:
        job = store.signal(job_id, Signal.CANCEL, by=f"{HANDED}{native}")
    except InvalidTransitionError:
        job = store.get(job_id)
        if native_id(job) != native:
            raise
    if job.status is not JobStatus.CANCELLED:
        raise InvalidTransitionError(
            *(job_id, job.status, JobStatus.CANCELLED),
            f"somebody let it go on while it was handed over; it is {native!r} there too",
        )
    if not job.message:
        store.finish([job_id])
    return job


def is_place(job: Job) -> bool:
    """Whether a record only holds the place of a job that another system is to have."""
    return not job.message and not job.attempts
