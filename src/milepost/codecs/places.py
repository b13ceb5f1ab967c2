"""Places: what each encrypted value is bound to. It opens there, and nowhere else."""

from enum import StrEnum


class Words(StrEnum):
    """What a text of a job is: one of them does not open as another."""

    ERROR = "error"
    REASON = "reason"
    PROGRESS = "progress"
    FAILURE = "failure"
    """The error, as Celery's result backend and callbacks are told of it."""


def call(job_id: str, task: str) -> bytes:
    """Return the place of a job's arguments in its message."""
    return _place("call", job_id, task)


def part(task: str) -> bytes:
    """Return the place of arguments of a signature that is no job yet."""
    return _place("part", task)


def sensitive(job_id: str, task: str) -> bytes:
    """Return the place of one value among arguments of a job that are else in the clear."""
    return _place("sensitive", job_id, task)


def returned() -> bytes:
    """Return the place of what a job returned, outside of its record; it tells whose it is."""
    return _place("result")


def told() -> bytes:
    """Return the place of what a job told Celery on its way; it tells whose it is."""
    return _place("state")


def words(what: Words, job_id: str, task: str, head: str = "") -> bytes:
    """Return the place of a text of a job.

    Args:
        what: which text.
        job_id: the job's id.
        task: the name of its task.
        head: what stands before the text in the clear, the name of an error's class.
    """
    return _place("text", what, job_id, task, head)


def field(job_id: str, task: str) -> bytes:
    """Return what the places of all fields of a job's checkpoint begin with."""
    return _place("field", job_id, task)


def result(job_id: str, task: str) -> bytes:
    """Return the place of the result in a job's record."""
    return _place("value", job_id, task)


def _place(*parts: str) -> bytes:
    """Return a place in bytes that no other place has."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)
