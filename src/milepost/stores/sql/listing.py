"""How jobs are found by what they are: each filter is a condition of one statement."""

from collections.abc import Iterator, Mapping
from typing import Any

from milepost.errors import JobNotFoundError
from milepost.model import Job, JobStatus
from milepost.query import Page, Query, cursor_at, read_cursor
from milepost.stores.sql.database import OnDatabase
from milepost.stores.sql.dialect import Params, clean
from milepost.stores.sql.record import record_of


class Listing(OnDatabase):
    """The verbs that only look."""

    def get(self, job_id: str) -> Job:
        found = self._call(lambda link, _: self._read(link, self._sql.read, job_id))
        if found is None:
            raise JobNotFoundError(job_id)
        return found.job

    def find(self, query: Query) -> Page:
        conditions: list[str] = []
        # One more than asked for tells whether there is a next page.
        params: Params = {"limit": query.limit + 1}
        for condition, values in self._wanted(query):
            conditions.append(condition)
            params |= values
        sql = self._sql.find(conditions)
        rows = self._call(lambda link, _: link.fetch(sql, params))
        jobs = tuple(record_of(row).job for row in rows[: query.limit])
        return Page(jobs, cursor_at(jobs[-1]) if len(rows) > query.limit else None)

    def _wanted(self, query: Query) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield what a query asks for, as conditions and their parameters."""
        if query.statuses:
            words = self._database.list_of([str(status) for status in query.statuses])
            yield "j.status {ids}", {"ids": words}
        if query.task is not None:
            yield "j.task = :task", {"task": query.task}
        if query.owner is not None:
            yield "j.owner = :owner", {"owner": clean(query.owner)}
        if query.since is not None:
            yield "j.created_at >= :since", {"since": float(query.since)}
        if after := read_cursor(query.cursor):
            yield (
                "(j.created_at, j.id) < (:moment, :after)",
                dict(zip(("moment", "after"), after, strict=True)),
            )

    def tally(self) -> Mapping[tuple[str, JobStatus], int]:
        rows = self._call(lambda link, _: link.fetch(self._sql.tally, {}))
        return {(task, JobStatus(status)): count for task, status, count in rows}
