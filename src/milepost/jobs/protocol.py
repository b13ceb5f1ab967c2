"""What every manager of jobs can do, whichever system runs them."""

from collections.abc import Mapping
from typing import Any, Protocol

from milepost.jobs.report import JobReport
from milepost.model import Job


class JobManager(Protocol):
    """Jobs of one system."""

    def create(self, task: Any, payload: Mapping[str, Any] | None = None) -> Job:
        """Record and send a job of *task* with keyword arguments *payload*."""
        ...

    def create_job(self, job_type: str, payload: Mapping[str, Any] | None = None) -> str:
        """Record and send a job, and return its id."""
        ...

    def get(self, job_id: str) -> Job:
        """Return a job's record.

        Raises:
            JobNotFoundError: no such job.
        """
        ...

    def get_job_status(self, job_id: str) -> JobReport:
        """Return how a job is doing.

        Raises:
            JobNotFoundError: no such job.
        """
        ...

    def pause(self, job_id: str) -> Job:
        """Ask a job to stop at its next checkpoint and wait."""
        ...

    def resume(self, job_id: str) -> Job:
        """Let a paused job go on."""
        ...

    def cancel(self, job_id: str) -> Job:
        """Ask a job to end at its next checkpoint."""
        ...
