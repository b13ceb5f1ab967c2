"""A job's row: which columns there are, and the record they make."""

from dataclasses import fields
from enum import StrEnum
from typing import Any

from milepost.model import Job, JobStatus, Progress, Signal
from milepost.stores.record import Record
from milepost.stores.sql.dialect import Row

OF_JOB = tuple(field.name for field in fields(Job) if field.name != "progress")
HIDDEN = ("done", "total", "index_at", "sends", "expires_at", "kept", "call", "told")
DRIVEN = ("index_at", "sends", "expires_at")
COLUMNS = (*OF_JOB, *HIDDEN)

_WIDTH = len(OF_JOB)
_STATUS, _SIGNAL = OF_JOB.index("status"), OF_JOB.index("signal")


def record_of(row: Row) -> Record:
    """Build a record from the columns of ``COLUMNS``, followed by the time."""
    facts: dict[str, Any] = dict(zip(OF_JOB, row[:_WIDTH], strict=True))
    facts["status"] = JobStatus(row[_STATUS])
    facts["signal"] = _signal(row[_SIGNAL])
    done, total, index_at, sends, expires_at, kept, call, told, now = row[_WIDTH:]
    job = Job(progress=Progress(done, total), **facts)
    return Record(job, index_at, sends, expires_at, bool(kept), call, _signal(told), now)


def _signal(word: str | None) -> Signal | None:
    return None if word is None else Signal(word)


def changes(before: Record, after: Record) -> dict[str, Any]:
    """Return the columns in which two states of a row differ (progress never does)."""
    changed = {name: getattr(after.job, name) for name in OF_JOB}
    changed |= {name: getattr(after, name) for name in DRIVEN}
    old = {name: getattr(before.job, name) for name in OF_JOB}
    old |= {name: getattr(before, name) for name in DRIVEN}
    return {
        name: str(value) if isinstance(value, StrEnum) else value
        for name, value in changed.items()
        if value != old[name]
    }
