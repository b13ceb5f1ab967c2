"""The verbs of :class:`milepost.store.Store` on a SQL database: one implementation for all.

What a worker calls often (create, claim, commit, settle, renew) is one statement, or one short
transaction where the database is in the same process. A step's commit writes its field alone;
the job's row is written too when there is something to change in it. What a keeper calls
seldom locks the row, decides in Python and writes what changed; what people call does so too
and is in :mod:`~milepost.stores.sql.control` and :mod:`~milepost.stores.sql.listing`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from milepost import history
from milepost.errors import JobNotFoundError, LeaseLostError
from milepost.model import (
    Claim,
    Delivery,
    Delta,
    JobStatus,
    Lease,
    NewJob,
    Recovery,
    Refused,
    Settlement,
    Signal,
    Unknown,
)
from milepost.settings import Settings
from milepost.stores import rules
from milepost.stores.bounds import check_delta, check_settlement, check_size
from milepost.stores.sql.control import Control
from milepost.stores.sql.database import Database, transaction
from milepost.stores.sql.dialect import Dialect, Link, Params, clean
from milepost.stores.sql.documents import SqlDocuments
from milepost.stores.sql.joining import driver_connection
from milepost.stores.sql.limits import SqlLimits
from milepost.stores.sql.listing import Listing
from milepost.stores.sql.record import metadata_text, record_of
from milepost.stores.sql.sessions import draw

CRASHED = history.line(history.CRASH, "?", rules.DIED)
"""A line of history; the claim's statement puts in whose process died."""


class SqlStore(Control, Listing):
    """Jobs in tables of a SQL database.

    Args:
        dialect: the database and its driver.
        settings: namespace, retention and limits.
    """

    def __init__(self, dialect: Dialect, settings: Settings) -> None:
        database = Database(dialect, settings.namespace)
        super().__init__(database, settings.retention, settings.max_value_bytes)
        self.name = dialect.name
        self.documents = SqlDocuments(self._database)
        self.limits = SqlLimits(self._database)

    # -- the life of an attempt --------------------------------------------------------

    def create(self, job: NewJob) -> bool:
        check_size("message", job.message, self._limit)
        return self._call(lambda link, call: self._insert(link, job, call))

    def _insert(self, link: Link, job: NewJob, call: int) -> bool:
        """Record a job, also in the place of one whose retention is over."""
        params = {
            "id": job.id,
            "task": job.task,
            "status": str(JobStatus.SCHEDULED if job.delay else JobStatus.PENDING),
            "message": job.message,
            "delivery": job.delivery,
            "delay": float(job.delay),
            "check": float(job.delay + job.resend_after),
            "call": call,
            "owner": clean(job.owner),
            "key": clean(job.idempotency_key),
            "metadata": metadata_text(job.metadata),
        }
        while not link.run(self._sql.create, params):
            found = self._read(link, self._sql.read, job.id)
            if found is not None:
                return found.call == call
            with transaction(link):
                if link.run(self._sql.expire, {"id": job.id}):
                    link.run(self._sql.empty, {"id": job.id})
        return True

    def claim(self, delivery: Delivery, owner: str, lease_seconds: float) -> Claim:
        check_size("message", delivery.message, self._limit)
        params = {
            "id": delivery.job_id,
            "task": delivery.task,
            "number": delivery.number,
            "message": delivery.message or None,
            "worker": owner,
            "seconds": float(lease_seconds),
            "crash": CRASHED,
        }
        return self._call(lambda link, call: self._claim(link, delivery, {**params, "call": call}))

    def _claim(self, link: Link, delivery: Delivery, params: Params) -> Claim:
        while True:
            rows = link.fetch(self._sql.claim, params)
            if rows:
                return rules.granted(record_of(rows[0]))
            found = self._read(link, self._sql.read, delivery.job_id)
            if found is None:
                if delivery.message is None:
                    return Unknown(delivery.job_id)
                first = NewJob(delivery.job_id, delivery.task, delivery.message, delivery.number)
                self._insert(link, first, 0)
            elif found.call == params["call"]:
                return rules.granted(found)
            elif (why := rules.refusal(found, delivery.number)) is not None:
                return Refused(why, found.job)

    def commit(self, lease: Lease, delta: Delta) -> Signal | None:
        check_delta(delta, self._limit)
        if len(delta.writes) == 1 and not delta.deletes and delta.progress is None:
            return self._call(lambda link, call: self._put(link, lease, delta, call))
        return self._call(lambda link, call: self._commit(link, lease, delta, call))

    def _put(self, link: Link, lease: Lease, delta: Delta, call: int) -> Signal | None:
        """Write one field, and nothing else where the job's row can stay as it is.

        That leaves no trace of the call and needs none: it told no signal, and writing the
        field once more changes nothing.
        """
        ((name, value),) = delta.writes.items()
        params = {"id": lease.job_id, "fence": lease.fence, "name": name, "value": value}
        if link.run(self._sql.put, params):
            return None
        return self._commit(link, lease, delta, call)

    def _commit(self, link: Link, lease: Lease, delta: Delta, call: int) -> Signal | None:
        rows = link.save(self._sql.commit, _moved(lease, delta, call), delta)
        if not rows:
            raise LeaseLostError(lease.job_id, lease.fence)
        told = rows[0][1]
        return None if told is None else Signal(told)

    def commit_in(self, connection: Any, lease: Lease, delta: Delta) -> Signal | None:
        """Write a checkpoint inside the user's transaction; see :mod:`milepost.transactional`."""
        check_delta(delta, self._limit)
        with self._database.joined(driver_connection(self.name, connection)) as link:
            return self._commit(link, lease, delta, draw())

    def load(self, job_id: str) -> Mapping[str, bytes]:
        rows = self._call(lambda link, _: link.fetch(self._sql.load, {"id": job_id}))
        if not rows:
            raise JobNotFoundError(job_id)
        return {name: value for name, value in rows if name is not None}

    def settle(self, lease: Lease, settlement: Settlement) -> None:
        check_settlement(settlement, self._limit)
        self._call(lambda link, call: self._settle(link, lease, settlement, call))

    def _settle(self, link: Link, lease: Lease, end: Settlement, call: int) -> None:
        ended, note = end.status.is_terminal, end.error or end.reason
        line = history.line(end.status, lease.owner, note)
        params = {
            **_moved(lease, end.delta, call),
            "status": str(end.status),
            "reason": clean(end.reason),
            "result": end.result,
            "error": clean(end.error),
            "delay": None if end.delay is None else float(end.delay),
            "check": None if end.delay is None else float(end.delay + end.resend_after),
            "finishing": int(end.finishing),
            "ended": int(ended),
            "retention": self._retention,
            "interrupted": int(end.status is JobStatus.INTERRUPTED),
            "delivery": end.delivery,
            "message": end.message or None,
            "line": None if end.status is JobStatus.SUCCEEDED else line,
        }
        if not link.save(self._sql.settle, params, end.delta):
            found = self._read(link, self._sql.read, lease.job_id)
            if found is None or found.call != call:
                raise LeaseLostError(lease.job_id, lease.fence)

    # -- the keeper --------------------------------------------------------------------

    def finish(self, job_ids: Iterable[str]) -> None:
        ids = list(job_ids)
        if ids:
            params = {"ids": self._database.list_of(ids)}
            self._call(lambda link, _: link.run(self._sql.finish, params))

    def renew(self, owner: str, job_ids: Iterable[str]) -> frozenset[str]:
        ids = list(job_ids)
        return self._call(lambda link, _: self._renew(link, owner, ids)) if ids else frozenset()

    def _renew(self, link: Link, owner: str, ids: list[str]) -> frozenset[str]:
        whose = {"owner": owner, "prefix": f"{owner}:"}
        params = {"ids": self._database.list_of(ids), **whose}
        done = frozenset(row[0] for row in link.fetch(self._sql.renew, params))
        missed = [job_id for job_id in ids if job_id not in done]
        if missed:
            # A row somebody is writing right now is passed over. If it is still ours, the
            # writer is our attempt, whose checkpoint renews the lease where it needs it.
            params = {"ids": self._database.list_of(missed), **whose}
            done |= frozenset(row[0] for row in link.fetch(self._sql.owns, params))
        return done

    def release(
        self,
        job_id: str,
        owner: str,
        reason: str,
        status: JobStatus = JobStatus.INTERRUPTED,
    ) -> bool:
        why = clean(reason) or ""

        def work(link: Link, call: int) -> bool:
            with self._database.locked(link, job_id) as found:
                if found is None or found.call == call:
                    return found is not None
                if not rules.owns(found, owner):
                    return False
                after = rules.released(found, why, status, self._retention)
                self._write(link, found, after, call=call)
                return True

        return self._call(work)

    def due(self, limit: int) -> Sequence[str]:
        rows = self._call(lambda link, _: link.fetch(self._sql.due, {"limit": limit}))
        return [row[0] for row in rows]

    def claim_recovery(self, job_id: str, again_after: float) -> Recovery | None:
        def work(link: Link, call: int) -> Recovery | None:
            with self._database.locked(link, job_id, self._sql.grab) as found:
                if found is None:
                    return None
                if found.call == call:
                    return Recovery(found.job, finishing=found.job.status.is_terminal)
                verdict = rules.recovered(found, again_after)
                if verdict is None:
                    return None
                after, won = verdict
                if not won:
                    self._write(link, found, after)
                    return None
                self._write(link, found, after, call=call)
                return Recovery(after.job, finishing=after.job.status.is_terminal)

        return self._call(work)

    # -- the end -----------------------------------------------------------------------

    def delete(self, job_id: str) -> None:
        def work(link: Link, _: int) -> None:
            with transaction(link):
                # Two statements: the second one must see what a commit wrote that the
                # first one had to wait for.
                link.run(self._sql.delete, {"id": job_id})
                link.run(self._sql.empty, {"id": job_id})

        self._call(work)

    def purge(self) -> int:
        dropped = 0
        while batch := self._call(lambda link, _: self._purge(link)):
            dropped += batch
        self.limits.purge()
        return dropped

    def _purge(self, link: Link) -> int:
        with transaction(link):
            ids = [row[0] for row in link.fetch(self._sql.purge, {})]
            if ids:
                link.run(self._sql.empty_all, {"ids": self._database.list_of(ids)})
        return len(ids)

    def close(self) -> None:
        self._database.close()


def _moved(lease: Lease, delta: Delta, call: int) -> Params:
    """Return the parameters that commit and settle have in common."""
    progress = delta.progress
    return {
        "id": lease.job_id,
        "fence": lease.fence,
        "call": call,
        "wrote": 1 if delta.writes else 0,
        "moved": 1 if delta else 0,
        "done": None if progress is None else progress.done,
        "total": None if progress is None else progress.total,
        "doing": None if progress is None else clean(progress.message),
    }
