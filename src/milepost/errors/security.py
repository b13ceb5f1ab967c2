"""What somebody may not do, or may not put in."""

from milepost.errors.root import MilepostError


class PermissionDeniedError(MilepostError):
    """The policy in use does not let somebody do something.

    Args:
        principal: the name of whoever asked.
        action: what they asked for.
        subject: to what: a job type, with the id of the job if it was one.
        reason: why not, as the policy says it.
    """

    def __init__(self, principal: str, action: str, subject: str, reason: str) -> None:
        super().__init__(principal, action, subject, reason)
        self.principal, self.action = principal, action
        self.subject, self.reason = subject, reason

    def __str__(self) -> str:
        who = repr(self.principal) if self.principal else "somebody without a name"
        return f"{who} may not {self.action} {self.subject}: {self.reason}"


class InvalidInputError(MilepostError):
    """What a job was to be given does not fit its input model, or is over a limit.

    No part of it says what was given: it may be a secret.

    Args:
        job_type: what was to be run.
        problems: what is wrong, each as ``<field>: <why>``.
    """

    def __init__(self, job_type: str, *problems: str) -> None:
        super().__init__(job_type, *problems)
        self.job_type, self.problems = job_type, problems

    def __str__(self) -> str:
        return f"input of {self.job_type!r}: {'; '.join(self.problems)}"
