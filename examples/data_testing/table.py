"""The system that the product had before: a table of jobs and processes that work it off.

``Table`` is its manager of jobs. What milepost's router needs of it are the five verbs; with
``adopt`` and ``result`` it can also carry on what Celery has begun, and be compared with.
``python table.py`` is one of its processes.
"""

import json
import os
import sqlite3
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import effects
from work import WORK

from milepost.errors import InvalidTransitionError, JobNotFoundError
from milepost.jobs import Handover, JobReport
from milepost.model import JobStatus

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, key TEXT UNIQUE, type TEXT, payload TEXT, status TEXT,
    parts TEXT DEFAULT '[]', result TEXT, asked TEXT);
CREATE INDEX IF NOT EXISTS waiting ON jobs (status) WHERE status = 'pending';
"""


class Table:
    """The jobs in the table.

    Args:
        folder: where the table is.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    # -- what the router needs ---------------------------------------------------------------

    def create_job(
        self,
        job_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> str:
        key = None if idempotency_key is None else f"{job_type} {idempotency_key}"
        return self._insert(key, job_type, payload or {}, [])

    def get_job_status(self, job_id: str) -> JobReport:
        row = self._row(job_id)
        done = len(json.loads(row["parts"]))
        return JobReport(job_id, row["type"], JobStatus(row["status"]), done=done)

    def pause(self, job_id: str, *, by: str = "") -> None:  # noqa: ARG002
        self._ask(job_id, "paused")

    def resume(self, job_id: str, *, by: str = "") -> None:  # noqa: ARG002
        self._open_row(job_id, "running")
        with self._open() as table:
            table.execute(
                "UPDATE jobs SET status = 'pending', asked = NULL "
                "WHERE id = ? AND status = 'paused'",
                (job_id,),
            )

    def cancel(self, job_id: str, *, by: str = "") -> None:  # noqa: ARG002
        self._ask(job_id, "cancelled")

    # -- what more it can --------------------------------------------------------------------

    def adopt(self, job: Handover, checkpoint: Mapping[str, Any]) -> str:
        """Carry on where Celery was: its state has what came of the items so far."""
        parts = (checkpoint["state"] or {}).get("parts", [])
        return self._insert(f"adopted {job.job_id}", job.job_type, job.payload, parts)

    def result(self, job_id: str) -> Any:
        return json.loads(self._row(job_id)["result"])

    # -- working it off ----------------------------------------------------------------------

    def take(self) -> sqlite3.Row | None:
        """Take a job that waits, so that no other process does."""
        with self._open() as table:
            row: sqlite3.Row | None = table.execute(
                "UPDATE jobs SET status = 'running' WHERE id = "
                "(SELECT id FROM jobs WHERE status = 'pending' LIMIT 1) RETURNING *"
            ).fetchone()
            return row

    def work_off(self, row: sqlite3.Row) -> None:
        """Do a job, item by item, until it is done or somebody asks for something else."""
        job_type, payload, parts = row["type"], json.loads(row["payload"]), json.loads(row["parts"])
        work = WORK[job_type]
        for number, item in enumerate(work.items(payload)):
            if number < len(parts):
                continue
            parts.append(work.do(payload, item))
            time.sleep(payload.get("pace", 0.0))
            effects.note(self.folder, job_type, payload["unit"], number, "legacy")
            if "pace" in payload and (asked := self._save(row["id"], parts)) is not None:
                self._end(row["id"], asked, None)
                return
        effects.note(self.folder, job_type, payload["unit"], effects.DONE, "legacy")
        self._end(row["id"], "succeeded", work.combine(payload, parts))

    def _save(self, job_id: str, parts: list[Any]) -> str | None:
        with self._open() as table:
            found = table.execute(
                "UPDATE jobs SET parts = ? WHERE id = ? RETURNING asked",
                (json.dumps(parts), job_id),
            ).fetchone()
            return None if found is None else found["asked"]

    def _end(self, job_id: str, status: str, result: Any) -> None:
        with self._open() as table:
            table.execute(
                "UPDATE jobs SET status = ?, result = ? WHERE id = ?",
                (status, json.dumps(result), job_id),
            )

    def _ask(self, job_id: str, status: str) -> None:
        self._open_row(job_id, status)
        with self._open() as table:
            table.execute(
                "UPDATE jobs SET status = CASE status WHEN 'pending' THEN ? ELSE status END, "
                "asked = ? WHERE id = ? AND status IN ('pending', 'running')",
                (status, status, job_id),
            )
            if status == "cancelled":
                table.execute(
                    "UPDATE jobs SET status = ? WHERE id = ? AND status = 'paused'",
                    (status, job_id),
                )

    def _open_row(self, job_id: str, wanted: str) -> None:
        """Refuse to steer what has ended."""
        status = self._row(job_id)["status"]
        if JobStatus(status).is_terminal:
            raise InvalidTransitionError(job_id, status, wanted)

    def _insert(
        self, key: str | None, job_type: str, payload: Mapping[str, Any], parts: list[Any]
    ) -> str:
        row = (uuid.uuid4().hex[:12], key, job_type, json.dumps(dict(payload)), json.dumps(parts))
        with self._open() as table:
            table.execute(
                "INSERT INTO jobs (id, key, type, payload, parts, status) "
                "VALUES (?, ?, ?, ?, ?, 'pending') ON CONFLICT (key) DO NOTHING",
                row,
            )
            if key is None:
                return row[0]
            return str(table.execute("SELECT id FROM jobs WHERE key = ?", (key,)).fetchone()["id"])

    def _row(self, job_id: str) -> sqlite3.Row:
        with self._open() as table:
            row: sqlite3.Row | None = table.execute(
                "SELECT * FROM jobs WHERE id = ?", (job_id,)
            ).fetchone()
        if row is None:
            raise JobNotFoundError(job_id)
        return row

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        table = sqlite3.connect(self.folder / "table.db", timeout=30.0, isolation_level="IMMEDIATE")
        table.row_factory = sqlite3.Row
        try:
            with table:
                yield table
        finally:
            table.close()

    def make(self) -> None:
        """Create the table."""
        with self._open() as table:
            table.execute("PRAGMA journal_mode = WAL")
            table.executescript(SCHEMA)


def main() -> None:
    table = Table(os.environ["DATA_TESTING_FOLDER"])
    while True:
        row = table.take()
        if row is None:
            time.sleep(0.05)
        else:
            table.work_off(row)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
