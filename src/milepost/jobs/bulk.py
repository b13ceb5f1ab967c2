"""The same act on many jobs."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from milepost.errors import InvalidTransitionError, JobNotFoundError, PermissionDeniedError
from milepost.model import Job

ACT_OPTIONS = ("force", "from_start", "budget")
"""Arguments that acts take beside the jobs to do them to."""


@dataclass(frozen=True, slots=True)
class Bulk:
    """What became of an act on many jobs.

    Attributes:
        done: the ids of those it was done to.
        refused: id → why, for those it does not fit or may not be done to.
    """

    done: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)


def on_each(jobs: Iterable[Job], act: Callable[[str], object]) -> Bulk:
    """Do *act* to each job; one that it does not fit, or may not be done to, stops nobody else."""
    done, refused = [], {}
    for job in jobs:
        try:
            act(job.id)
        except (InvalidTransitionError, JobNotFoundError, PermissionDeniedError) as exc:
            refused[job.id] = str(exc)
        else:
            done.append(job.id)
    return Bulk(tuple(done), refused)
