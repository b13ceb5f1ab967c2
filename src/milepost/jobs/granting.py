"""A budget that somebody grants one job, as a field of its checkpoint."""

from collections.abc import Callable

from milepost.budget import Budget
from milepost.engine.scope import BUDGET
from milepost.errors import InvalidTransitionError
from milepost.model import Job, JobStatus
from milepost.runtime import Runtime


def resume_with(runtime_for: Callable[[Job], Runtime], job: Job, budget: Budget, by: str) -> Job:
    """Resume a paused job, and give it a budget in the same act.

    Args:
        runtime_for: returns the application's runtime as it writes to a job.
        job: which job.
        budget: the most that its calls may cost.
        by: who asks.

    Raises:
        InvalidTransitionError: it is not paused: a running attempt would not see it.
        NoKeysError, EncryptedDataError: the job is encrypted, and its key is not here.
    """
    if job.status is not JobStatus.PAUSED:
        advice = "" if job.status.is_terminal else "pause it before it is given a budget"
        raise InvalidTransitionError(job.id, job.status, JobStatus.PENDING, advice)
    runtime = runtime_for(job)
    writes = {BUDGET: runtime.codec.encode(budget.plain())}
    return runtime.store.resume(job.id, by=by, writes=writes)
