"""The gate before an app's jobs: who asks, whether they may, and what the history calls them."""

from typing import Any

from milepost.model import Job
from milepost.registry import JobType, registry_of
from milepost.runtime import runtime_of
from milepost.security.permissions import Action, Principal, Who, principal_of


class Gate:
    """Lets through what the app's policy allows; everything where there is none.

    Args:
        app: the Celery app.
        who: for whom, where a call does not say.
    """

    def __init__(self, app: Any, who: Who = None) -> None:
        self._app = app
        self._principal = principal_of(who)

    def check(self, who: Who, action: Action, job_type: JobType | None) -> None:
        """Refuse what may not be done to jobs of a type, or of all types.

        Raises:
            PermissionDeniedError: by the policy.
        """
        runtime_of(self._app).permissions.check(self._of(who), action, job_type)

    def check_job(self, who: Who, action: Action, job: Job) -> None:
        """Refuse what may not be done to a job whose record was just read.

        Raises:
            PermissionDeniedError: by the policy.
        """
        permissions = runtime_of(self._app).permissions
        if permissions.are_set:
            permissions.check(self._of(who), action, self.type_of(job), job)

    def check_id(self, who: Who, action: Action, job_id: str) -> None:
        """Refuse what may not be done to a job; its record is read only for a policy.

        Raises:
            PermissionDeniedError: by the policy.
            JobNotFoundError: no such job.
        """
        runtime = runtime_of(self._app)
        if runtime.permissions.are_set:
            self.check_job(who, action, runtime.store.get(job_id))

    def type_of(self, job: Job) -> JobType:
        """Return a job's type; one whose task is no longer registered is known by that."""
        return self.type_of_task(job.task)

    def type_of_task(self, task: str) -> JobType:
        """Return the job type of a task, as above."""
        return registry_of(self._app).of_task(task) or JobType(task, task)

    def type_named(self, job_type: str) -> JobType:
        """Return a job type by its name, or its task's; one that has no task yet is its own."""
        return registry_of(self._app).find(job_type) or JobType(job_type, job_type)

    def named(self, who: Who, by: str) -> str:
        """Return what a job's history calls whoever asks.

        Under a policy nobody can act under another's name: ``by`` only adds to it.
        """
        name = self._of(who).name
        if not runtime_of(self._app).permissions.are_set:
            return by or name
        return f"{name} for {by}" if by and by != name else name

    def _of(self, who: Who) -> Principal:
        return self._principal if who is None else principal_of(who)
