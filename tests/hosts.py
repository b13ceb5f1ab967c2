"""A host's own system of jobs, as small as hosts write it, for the tests of routing."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from milepost.errors import InvalidTransitionError, JobNotFoundError
from milepost.jobs import JobReport
from milepost.model import JobStatus


@dataclass
class Held:
    """A job as the host keeps it."""

    job_type: str
    payload: dict[str, Any]
    status: JobStatus = JobStatus.RUNNING
    result: Any = None
    checkpoint: Any = None
    asked: list[tuple[str, str]] = field(default_factory=list)


class HostJobs:
    """The five verbs; ids are numbers in text, as a table's keys are."""

    def __init__(self) -> None:
        self.jobs: dict[str, Held] = {}
        self.keys: dict[Any, str] = {}
        self.fails: Exception | None = None
        self._numbers = itertools.count(1)

    def create_job(self, job_type, payload=None, *, idempotency_key=None):
        if self.fails is not None:
            raise self.fails
        return self._put((job_type, idempotency_key), Held(job_type, dict(payload or {})))

    def get_job_status(self, job_id):
        job = self._job(job_id)
        return JobReport(job_id, job.job_type, job.status)

    def pause(self, job_id, *, by=""):
        self._ask(job_id, "pause", by, JobStatus.PAUSED)

    def resume(self, job_id, *, by=""):
        self._ask(job_id, "resume", by, JobStatus.RUNNING)

    def cancel(self, job_id, *, by=""):
        self._ask(job_id, "cancel", by, JobStatus.CANCELLED)

    def end(self, job_id, result):
        """Let a job succeed."""
        job = self._job(job_id)
        job.status, job.result = JobStatus.SUCCEEDED, result

    def _put(self, key, job):
        if key[1] is not None and key in self.keys:
            return self.keys[key]
        job_id = str(next(self._numbers))
        self.jobs[job_id] = job
        if key[1] is not None:
            self.keys[key] = job_id
        return job_id

    def _ask(self, job_id, verb, by, status):
        job = self._job(job_id)
        if job.status.is_terminal:
            raise InvalidTransitionError(job_id, job.status, status)
        job.asked.append((verb, by))
        job.status = status

    def _job(self, job_id):
        try:
            return self.jobs[job_id]
        except KeyError:
            raise JobNotFoundError(job_id) from None


class AdoptingHost(HostJobs):
    """One that can carry on what another has begun, and knows results."""

    def adopt(self, job, checkpoint):
        held = Held(job.job_type, dict(job.payload), checkpoint=checkpoint)
        return self._put(("adopted", job.job_id), held)

    def result(self, job_id):
        return self._job(job_id).result
