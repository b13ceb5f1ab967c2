"""What somebody outside asks of a job: the row is locked, the decision is taken in Python.

A call's number goes to a column of its own, ``asked``: between the two sendings of a call
whose answer was lost, the job's attempt may well have written the number of one of its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from milepost.errors import JobNotFoundError
from milepost.history import Act
from milepost.model import Delta, Job, JobStatus, Signal, Swap
from milepost.store import NO_WRITES
from milepost.stores import rules
from milepost.stores.bounds import check_delta
from milepost.stores.record import Record
from milepost.stores.sql.database import OnDatabase
from milepost.stores.sql.dialect import Link, clean


class Control(OnDatabase):
    """The verbs that change a job from outside."""

    def signal(
        self, job_id: str, signal: Signal, *, by: str = "", force: bool = False, reason: str = ""
    ) -> Job:
        keep = self._retention
        return self._change(
            job_id,
            lambda _, found: rules.signalled(
                found, signal, keep, by, force=force, reason=clean(reason) or ""
            ),
        )

    def resume(self, job_id: str, *, by: str = "", writes: Mapping[str, bytes] = NO_WRITES) -> Job:
        check_delta(Delta(writes), self._limit)

        def decide(link: Link, found: Record) -> Record:
            after = rules.resumed(found, by)
            if found.job.status is not JobStatus.PAUSED or not writes:
                return after
            for name, value in writes.items():
                link.run(self._sql.set_field, {"id": job_id, "name": name, "value": value})
            return replace(after, kept=True)

        return self._change(job_id, decide)

    def wake(self, job_id: str, *, by: str = "") -> Job:
        return self._change(job_id, lambda _, found: rules.woken(found, by))

    def reopen(
        self, job_id: str, act: Act, *, drop: Sequence[str] | None = (), by: str = ""
    ) -> Job:
        def decide(link: Link, found: Record) -> Record:
            after = rules.reopened(found, act, by)
            return replace(after, kept=self._drop(link, job_id, drop))

        return self._change(job_id, decide)

    def exchange(self, job_id: str, swaps: Sequence[Swap]) -> int:
        def work(link: Link, _: int) -> int:
            # Each statement decides and writes for itself: a writer that is there first wins.
            made = sum(self._exchange(link, job_id, swap) for swap in swaps)
            if not made and self._read(link, self._sql.read, job_id) is None:
                raise JobNotFoundError(job_id)
            return made

        return self._call(work)

    def _exchange(self, link: Link, job_id: str, swap: Swap) -> int:
        params = {"id": job_id, "before": swap.before, "after": swap.after}
        if swap.of_record:
            return link.run(self._sql.exchange_in_record(swap.name), params)
        return link.run(self._sql.exchange, {**params, "name": swap.name})

    def _drop(self, link: Link, job_id: str, names: Sequence[str] | None) -> bool:
        """Drop fields (None: all) of a job that is locked, and return whether any are left."""
        if names is None:
            link.run(self._sql.empty, {"id": job_id})
        elif names:
            ids = self._database.list_of(names)
            link.run(self._sql.drop, {"id": job_id, "ids": ids})
        return bool(link.fetch(self._sql.has_fields, {"id": job_id}))

    def _change(self, job_id: str, decide: Callable[[Link, Record], Record]) -> Job:
        def work(link: Link, call: int) -> Job:
            with self._database.locked(link, job_id, self._sql.ask) as found:
                if found is None:
                    raise JobNotFoundError(job_id)
                if found.call == call:
                    return found.job
                after = decide(link, found)
                self._write(link, found, after, asked=call)
                return after.job

        return self._call(work)
