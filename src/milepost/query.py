"""What to look for among all jobs, and what was found."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isfinite

from milepost.errors import ConfigurationError
from milepost.model import Job, JobStatus

LARGEST = 1_000_000
"""The largest page that can be asked for."""


@dataclass(frozen=True, slots=True)
class Query:
    """Which jobs to find; what is left out does not matter. Newest first.

    Attributes:
        statuses: any of these; empty: all.
        task: of the task with this registered name.
        owner: whose.
        since: created at this moment or later, in seconds since the epoch.
        limit: how many at most, from 1 to LARGEST.
        cursor: where the previous page ended.
    """

    statuses: frozenset[JobStatus] = frozenset()
    task: str | None = None
    owner: str | None = None
    since: float | None = None
    limit: int = 50
    cursor: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.limit, int) or not 1 <= self.limit <= LARGEST:
            wanted = f"it must be a whole number from 1 to {LARGEST}"
            raise ConfigurationError(f"limit = {self.limit!r}: {wanted}")

    def wants(self, job: Job) -> bool:
        """Whether a job is one of those asked for, wherever it stands in the order."""
        return (
            (not self.statuses or job.status in self.statuses)
            and (self.task is None or job.task == self.task)
            and (self.owner is None or job.owner == self.owner)
            and (self.since is None or job.created_at >= self.since)
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the jobs that were asked for.

    Attributes:
        jobs: newest first.
        cursor: where the next page begins; None: there is none.
    """

    jobs: tuple[Job, ...]
    cursor: str | None = None


def pages(find: Callable[[Query], Page], query: Query) -> Iterator[Page]:
    """Yield all that a query finds, page by page, each looked for when it is asked for.

    Args:
        find: of a store.
        query: what to find; its limit is that of each page.
    """
    while True:
        page = find(query)
        yield page
        if page.cursor is None:
            return
        query = replace(query, cursor=page.cursor)


def cursor_at(job: Job) -> str:
    """Return the cursor of the page that follows a job."""
    return f"{job.created_at!r}:{job.id}"


def read_cursor(cursor: str | None) -> tuple[float, str] | None:
    """Return the moment and the id of the job that the previous page ended with.

    Raises:
        ConfigurationError: this is no cursor.
    """
    if cursor is None:
        return None
    moment, colon, job_id = cursor.partition(":")
    try:
        at = float(moment)
        if colon and isfinite(at):
            return at, job_id
    except ValueError:
        pass
    raise ConfigurationError(f"cursor {cursor!r}: give the one that the previous page came with")
