"""A job's hash in Redis, read back into a :class:`~milepost.model.Job`."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from milepost import history
from milepost.model import Job, JobStatus, NewJob, Progress, Settlement, Signal


def read_job(job_id: str, flat: Sequence[bytes]) -> Job:
    """Read a record.

    Args:
        job_id: whose.
        flat: field, value, field, value, …, ending with ``now`` and the moment of reading; a
            field that is absent has its default. Times are milliseconds since the epoch.
    """
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    # Only what is there is read: most of a record is absent while its job is young.
    found: dict[str, Any] = {
        name: read(fields[field]) for field, name, read in _READERS if field in fields
    }
    if b"heartbeat_at" in fields:
        found["lease_until"] = _moment(fields[b"heartbeat_at"]) + found.get("lease_seconds", 0.0)
    return Job(job_id, **found)


def written(progress: Progress | None) -> str:
    """Return progress as the record keeps it: ``done/total/message``; "" for None.

    What there is not is left empty (``done/``), and a message that is, with its slash.
    """
    if progress is None:
        return ""
    message = f"/{progress.message}" if progress.message else ""
    return f"{progress.done}/{'' if progress.total is None else progress.total}{message}"


def described(job: NewJob) -> list[str]:
    """Return field, value, … of what else its owner says of a new job."""
    pairs = {
        "owner": job.owner,
        "idempotency_key": job.idempotency_key,
        "metadata": json.dumps(dict(job.metadata)) if job.metadata else None,
    }
    return [word for name, value in pairs.items() if value is not None for word in (name, value)]


def ended(settlement: Settlement) -> list[Any]:
    """Return field, value, … of the record that a settlement sets."""
    error, reason = settlement.error, settlement.reason
    pairs = {
        "reason": None if reason is None else printable(reason),
        "result": settlement.result,
        "error": None if error is None else printable(error),
        "delivery": settlement.delivery,
        "message": settlement.message or None,
    }
    return [word for pair in pairs.items() if pair[1] is not None for word in pair]


def printable(words: str) -> bytes:
    """Return words for people as bytes, whatever an exception's text may hold."""
    return words.encode("utf-8", "backslashreplace")


def text(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")


def _progress(data: bytes) -> Progress:
    done, total, *message = data.split(b"/", 2)
    return Progress(int(done), int(total) if total else None, text(b"".join(message)))


def _history(data: bytes) -> tuple[history.Entry, ...]:
    # A long name may have been cut within a character.
    return history.read(data.decode("utf-8", "replace"))


def _status(data: bytes) -> JobStatus:
    return JobStatus(text(data))


def _signal(data: bytes) -> Signal:
    return Signal(text(data))


def _moment(data: bytes) -> float:
    return int(data) / 1000


def ms(seconds: float) -> int:
    """Return a time as scripts take it; a moment that a record told comes back exactly."""
    return round(seconds * 1000)


_READERS: tuple[tuple[bytes, str, Callable[[bytes], Any]], ...] = (
    (b"task", "task", text),
    (b"status", "status", _status),
    (b"created_at", "created_at", _moment),
    (b"reason", "reason", text),
    (b"message", "message", bytes),
    (b"delivery", "delivery", int),
    (b"fence", "fence", int),
    (b"worker", "worker", text),
    (b"lease_ms", "lease_seconds", _moment),
    (b"attempts", "attempts", int),
    (b"crashes", "crashes", int),
    (b"strikes", "strikes", int),
    (b"interruptions", "interruptions", int),
    (b"progress", "progress", _progress),
    (b"signal", "signal", _signal),
    (b"started_at", "started_at", _moment),
    (b"ended_at", "ended_at", _moment),
    (b"due_at", "due_at", _moment),
    (b"result", "result", bytes),
    (b"error", "error", text),
    (b"owner", "owner", text),
    (b"idempotency_key", "idempotency_key", text),
    (b"metadata", "metadata", json.loads),
    (b"begun_at", "begun_at", _moment),
    (b"begun", "begun_done", int),
    (b"moved_at", "moved_at", _moment),
    (b"history", "history", _history),
    (b"now", "read_at", _moment),
)
"""Field of the hash → attribute of the job, and what reads the one into the other."""
