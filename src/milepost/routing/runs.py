"""What a function that does jobs in a thread of this process has to work with."""

from typing import Any

from milepost.engine.plan import Checkpoint
from milepost.engine.work import Attempt


class Run:
    """One run of a job in a thread; what a handler that is bound gets first.

    Attributes:
        job_id: the job's id.
        adopted: the checkpoint of the system that began the job; None where it begins here.
    """

    def __init__(self, attempt: Attempt, adopted: Checkpoint | None) -> None:
        self._attempt = attempt
        self.job_id = attempt.job.id
        self.adopted = adopted

    @property
    def saved(self) -> Any:
        """What :meth:`save` was last given, over a pause too; None at first."""
        return self._attempt.saved()

    def save(self, data: Any, *, done: int | None = None, total: int | None = None) -> None:
        """Put the position on record, and stop here if somebody has asked for that.

        Args:
            data: the position, as JSON has it.
            done: items finished.
            total: items there are.
        """
        self._attempt.journal.tally.say(None, done, total)
        self._attempt.save(data)
