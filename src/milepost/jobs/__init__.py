"""The operator's and the caller's side of jobs."""

from milepost.jobs.manager import CeleryJobManager
from milepost.jobs.protocol import JobManager
from milepost.jobs.report import JobReport

__all__ = ["CeleryJobManager", "JobManager", "JobReport"]
