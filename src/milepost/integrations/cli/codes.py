"""The exit codes of the commands: one meaning each, whichever command ends with it."""

from enum import IntEnum

from milepost.model import JobStatus


class Exit(IntEnum):
    """How a command has ended."""

    DONE = 0
    REFUSED = 1
    """The act does not fit the job, or not each of the jobs."""
    USAGE = 2
    """The command line or the configuration is wrong; also Celery's own code for that."""
    NOT_FOUND = 3
    UNAVAILABLE = 4
    """The store or the broker does not answer."""
    FAILED = 5
    CANCELLED = 6
    TIME_IS_UP = 7
    WARNINGS = 8
    ERRORS = 9
    DENIED = 10
    """The policy does not allow it."""
    INTERRUPTED = 130
    """Ctrl-C."""


EXPLAINED = {
    Exit.DONE: "done; watch: the job has succeeded; doctor: nothing but notes",
    Exit.REFUSED: "the act does not fit the job, or not all of several jobs",
    Exit.USAGE: "wrong usage or configuration; a filter without --yes",
    Exit.NOT_FOUND: "no such job",
    Exit.UNAVAILABLE: "the store or the broker does not answer",
    Exit.FAILED: "watch: the job has failed",
    Exit.CANCELLED: "watch: the job was cancelled",
    Exit.TIME_IS_UP: "watch: it has not ended within --timeout",
    Exit.WARNINGS: "doctor: warnings",
    Exit.ERRORS: "doctor: errors; keys verify, keys rotate --here: unreadable data",
    Exit.DENIED: "the policy does not allow it",
    Exit.INTERRUPTED: "stopped by Ctrl-C",
}
"""Each code, as the group's help says it."""

OF_END = {
    JobStatus.SUCCEEDED: Exit.DONE,
    JobStatus.FAILED: Exit.FAILED,
    JobStatus.CANCELLED: Exit.CANCELLED,
}
"""What ``watch`` ends with, by the end of the job."""
