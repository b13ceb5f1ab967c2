"""How jobs of a type come out: counted from their records, which are the truth.

No counter is kept beside them: a job that is delivered twice, retried or carried on after a
crash has one record and one end, so nothing can be counted twice or be forgotten. What is
past its retention no longer counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from milepost.errors import ConfigurationError
from milepost.jobs.protocol import Counts
from milepost.model import JobStatus
from milepost.query import Query
from milepost.store import Store

LATEST = 1000
"""Ended jobs that are looked at, at most, to judge an error rate."""
ENDS = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED})


@dataclass(frozen=True, slots=True)
class ErrorLimit:
    """How many jobs of a type may fail before the type goes back to the legacy system.

    Attributes:
        rate: which part of them, between 0 and 1.
        window: seconds back in which the jobs were created that are looked at.
        at_least: how many must have ended for a judgement.
    """

    rate: float = 0.2
    window: float = 600.0
    at_least: int = 20

    def __post_init__(self) -> None:
        if not (0 < self.rate < 1 and self.window > 0 and 0 < self.at_least <= LATEST):
            raise ConfigurationError(
                f"{self}: a rate between 0 and 1, a window above 0 s, at least 1 to {LATEST} jobs"
            )

    def is_passed_by(self, counts: Counts) -> bool:
        """Whether what has ended is enough for a judgement, and the judgement is bad."""
        rate = counts.error_rate
        return counts.ended >= self.at_least and rate is not None and rate > self.rate


def counts_of(tally: Mapping[tuple[str, JobStatus], int], task: str) -> Counts:
    """Return what a store's tally says of one task."""
    of = {status: number for (name, status), number in tally.items() if name == task}
    return Counts(
        succeeded=of.get(JobStatus.SUCCEEDED, 0),
        failed=of.get(JobStatus.FAILED, 0),
        cancelled=of.get(JobStatus.CANCELLED, 0),
        open=sum(number for status, number in of.items() if not status.is_terminal),
    )


def latest(store: Store, task: str, since: float) -> Counts:
    """Return how the latest jobs of a task have ended that were created since a moment."""
    page = store.find(Query(ENDS, task, None, since, LATEST))
    failed = sum(job.status is JobStatus.FAILED for job in page.jobs)
    return Counts(len(page.jobs) - failed, failed)
