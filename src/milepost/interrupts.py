"""How an attempt is stopped from inside: private BaseExceptions.

They are no errors, so a user's ``except Exception`` and Celery's ``autoretry_for`` must not
be able to eat them. The engine raises them in the task's body at a checkpoint and catches
them again at its own door; nothing outside milepost ever sees one.
"""

from milepost.model import JobStatus


class Interrupt(BaseException):
    """Base of all interrupts."""


class Suspend(Interrupt):
    """The attempt steps aside; the job goes on later, or waits.

    Args:
        status: PAUSED, INTERRUPTED or SCHEDULED.
        reason: why, for the record.
        delay: seconds until it should be carried on; None where somebody must resume it.
    """

    def __init__(self, status: JobStatus, reason: str, delay: float | None = None) -> None:
        super().__init__(status, reason, delay)
        self.status, self.reason, self.delay = status, reason, delay


class Cancel(Interrupt):
    """The job was cancelled; it ends here."""


class Superseded(Interrupt):
    """Another attempt has the job. This one is a zombie: it writes nothing more."""
