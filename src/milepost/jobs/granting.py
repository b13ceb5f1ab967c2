"""A budget that somebody grants one job, as a field of its checkpoint."""

from collections.abc import Mapping

from milepost.budget import Budget
from milepost.engine.scope import BUDGET
from milepost.errors import InvalidTransitionError
from milepost.model import Job, JobStatus
from milepost.runtime import Runtime


def granted(runtime: Runtime, job: Job, budget: Budget) -> Mapping[str, bytes]:
    """Return the fields that give a paused job a budget.

    Args:
        runtime: as the job's task has it.
        job: its record.
        budget: what it is granted.

    Raises:
        InvalidTransitionError: it is not paused: a running attempt would not see them.
    """
    if job.status is not JobStatus.PAUSED:
        advice = "" if job.status.is_terminal else "pause it before it is given a budget"
        raise InvalidTransitionError(job.id, job.status, JobStatus.PENDING, advice)
    return {BUDGET: runtime.codec.encode(budget.plain())}
