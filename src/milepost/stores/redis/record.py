"""A job's hash in Redis, read back into a :class:`~milepost.model.Job`."""

import json
from collections.abc import Mapping, Sequence
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
    lease_seconds = _count(fields, b"lease_ms") / 1000
    heartbeat_at = _moment(fields, b"heartbeat_at")
    return Job(
        id=job_id,
        task=text(fields[b"task"]),
        status=JobStatus(text(fields[b"status"])),
        created_at=_moment(fields, b"created_at") or 0.0,
        reason=_text(fields, b"reason"),
        message=fields.get(b"message", b""),
        delivery=_count(fields, b"delivery"),
        fence=_count(fields, b"fence"),
        worker=_text(fields, b"worker"),
        lease_until=None if heartbeat_at is None else heartbeat_at + lease_seconds,
        lease_seconds=lease_seconds,
        attempts=_count(fields, b"attempts"),
        crashes=_count(fields, b"crashes"),
        strikes=_count(fields, b"strikes"),
        interruptions=_count(fields, b"interruptions"),
        progress=_progress(fields.get(b"progress")),
        signal=Signal(text(fields[b"signal"])) if b"signal" in fields else None,
        started_at=_moment(fields, b"started_at"),
        ended_at=_moment(fields, b"ended_at"),
        due_at=_moment(fields, b"due_at"),
        result=fields.get(b"result"),
        error=_text(fields, b"error"),
        owner=_text(fields, b"owner"),
        idempotency_key=_text(fields, b"idempotency_key"),
        metadata=json.loads(fields[b"metadata"]) if b"metadata" in fields else {},
        begun_at=_moment(fields, b"begun_at"),
        begun_done=_count(fields, b"begun"),
        moved_at=_moment(fields, b"moved_at"),
        # A long name may have been cut within a character.
        history=history.read(fields.get(b"history", b"").decode("utf-8", "replace")),
        read_at=_moment(fields, b"now") or 0.0,
    )


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


def _progress(data: bytes | None) -> Progress:
    if data is None:
        return Progress()
    done, total, *message = data.split(b"/", 2)
    return Progress(int(done), int(total) if total else None, text(b"".join(message)))


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    return text(fields[name]) if name in fields else None


def _count(fields: Mapping[bytes, bytes], name: bytes) -> int:
    return int(fields.get(name, b"0"))


def _moment(fields: Mapping[bytes, bytes], name: bytes) -> float | None:
    return int(fields[name]) / 1000 if name in fields else None


def ms(seconds: float) -> int:
    """Return a time as scripts take it; a moment that a record told comes back exactly."""
    return round(seconds * 1000)
