"""A job's row: which columns there are, and the record they make."""

import json
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from typing import Any

from milepost import history
from milepost.model import Job, JobStatus, Progress, Signal
from milepost.stores.record import Record
from milepost.stores.sql.dialect import Row

OF_JOB = tuple(field.name for field in fields(Job) if field.name not in {"progress", "read_at"})
OF_PROGRESS = {"done": "done", "total": "total", "doing": "message"}
"""Columns, and what progress calls them."""
DRIVEN = ("index_at", "sends", "expires_at", "kept", "told")
COLUMNS = (*OF_JOB, *OF_PROGRESS, "call", *DRIVEN)
ASKED = tuple("asked" if name == "call" else name for name in COLUMNS)
"""The same for who controls a job: their calls are numbered apart from its attempt's."""

_WIDTH = len(OF_JOB)
_READ: tuple[tuple[int, Callable[[Any], Any]], ...] = (
    (OF_JOB.index("status"), JobStatus),
    (OF_JOB.index("signal"), lambda word: word and Signal(word)),
    (OF_JOB.index("metadata"), lambda text: json.loads(text) if text else {}),
    (OF_JOB.index("history"), history.read),
)
"""Columns of the job that hold something else than its field, and how to read them."""


def record_of(row: Row) -> Record:
    """Build a record from the columns of ``COLUMNS``, followed by the time."""
    values = list(row[:_WIDTH])
    for place, read in _READ:
        values[place] = read(values[place])
    done, total, doing, call, index_at, sends, expires_at, kept, told, now = row[_WIDTH:]
    facts: dict[str, Any] = dict(zip(OF_JOB, values, strict=True))
    job = Job(progress=Progress(done, total, doing), read_at=now, **facts)
    told = told and Signal(told)
    return Record(job, index_at, sends, expires_at, bool(kept), call, told, now)


def changes(before: Record, after: Record) -> dict[str, Any]:
    """Return the columns in which two states of a row differ."""
    old, new = _facts(before), _facts(after)
    return {name: _stored(value) for name, value in new.items() if value != old[name]}


def metadata_text(metadata: Mapping[str, Any]) -> str | None:
    """Return what a job's owner wants to remember, as its column has it."""
    return json.dumps(dict(metadata)) if metadata else None


def _facts(record: Record) -> dict[str, Any]:
    facts = {name: getattr(record.job, name) for name in OF_JOB}
    facts |= {name: getattr(record.job.progress, ours) for name, ours in OF_PROGRESS.items()}
    return facts | {name: getattr(record, name) for name in DRIVEN}


def _stored(value: Any) -> Any:
    """Return a value as its column has it; metadata never changes."""
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, bool):
        return int(value)
    return history.written(value) if isinstance(value, tuple) else value
