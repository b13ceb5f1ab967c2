"""What goes wrong on a job's way to the system that is to run it."""

from milepost.errors.root import MilepostError


class BrokerUnavailableError(MilepostError):
    """A job's message could not be handed to the broker, or Celery's result backend was away.

    Args:
        job_id: the job whose message it was.
        problem: what the driver said.
    """

    def __init__(self, job_id: str, problem: str) -> None:
        super().__init__(job_id, problem)
        self.job_id, self.problem = job_id, problem

    def __str__(self) -> str:
        return f"job {self.job_id!r} was not sent, Celery's broker does not take it: {self.problem}"
