"""What is wrong with a job, or with what is asked of it."""

from milepost.errors.root import MilepostError


class JobNotFoundError(MilepostError):
    """No job of that id is on record: it never was, or its retention is over."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return f"no job {self.job_id!r} on record: it was never recorded, or its retention is over"


class InvalidTransitionError(MilepostError):
    """A control act does not fit the status the job is in.

    Args:
        job_id: which job.
        status: the status it is in.
        wanted: the status that was asked for; ``read``: its result was.
        advice: what to do instead.
    """

    def __init__(self, job_id: str, status: str, wanted: str, advice: str = "") -> None:
        super().__init__(job_id, status, wanted, advice)
        self.job_id, self.status, self.wanted, self.advice = job_id, status, wanted, advice

    def __str__(self) -> str:
        hint = f": {self.advice}" if self.advice else ""
        if self.wanted == "read":
            return f"job {self.job_id!r} is {self.status}, but there is nothing to read{hint}"
        return f"job {self.job_id!r} is {self.status} and cannot become {self.wanted}{hint}"


class CrashLimitError(MilepostError):
    """A job's worker died too many times in a row without any progress in between.

    Args:
        job_id: which job.
        strikes: deaths since its last checkpoint.
        limit: the task's ``max_crashes``.
    """

    def __init__(self, job_id: str, strikes: int, limit: int) -> None:
        super().__init__(job_id, strikes, limit)
        self.job_id, self.strikes, self.limit = job_id, strikes, limit

    def __str__(self) -> str:
        return (
            f"job {self.job_id!r}: its worker died {self.strikes} times in a row without a "
            f"checkpoint in between (max_crashes={self.limit})"
        )


class BodyExitError(MilepostError):
    """A task's body left by what is to end its process or its coroutine; its job failed.

    ``sys.exit()``, say, or an awaited ``asyncio`` task that somebody had cancelled.

    Args:
        task: the task's name.
        left_by: the exception it left by.
    """

    def __init__(self, task: str, left_by: str) -> None:
        super().__init__(task, left_by)
        self.task, self.left_by = task, left_by

    def __str__(self) -> str:
        return (
            f"the body of {self.task!r} left by {self.left_by}, which would end its worker's "
            "process or event loop: return, or raise an error that tells what is wrong"
        )


class JobResultError(MilepostError):
    """A body returned what Celery's result backend cannot store; its job failed.

    Args:
        task: the task's name.
        kind: the type of what it returned.
        problem: what the serializer said.
    """

    def __init__(self, task: str, kind: str, problem: str) -> None:
        super().__init__(task, kind, problem)
        self.task, self.kind, self.problem = task, kind, problem

    def __str__(self) -> str:
        return (
            f"the body of {self.task!r} returned a value of type {self.kind!r} that Celery's "
            f"result backend cannot store: {self.problem}. Return what its result_serializer "
            "takes, or set ignore_result=True and read the result with milepost.jobs.result"
        )


class JobFailedError(MilepostError):
    """A job failed in an attempt whose exception is gone with its process.

    Args:
        job_id: which job.
        error: type and text of the exception, as recorded.
    """

    def __init__(self, job_id: str, error: str) -> None:
        super().__init__(job_id, error)
        self.job_id, self.error = job_id, error

    def __str__(self) -> str:
        return f"job {self.job_id!r} failed: {self.error}"
