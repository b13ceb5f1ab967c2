"""The store in this process's memory: the reference implementation, and the one for tests."""

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from milepost.clock import Clock, SystemClock
from milepost.documents import DOCUMENT_BYTES, Document
from milepost.errors import ConfigurationError, JobNotFoundError, LeaseLostError
from milepost.history import Act
from milepost.model import (
    Claim,
    Delivery,
    Delta,
    Job,
    JobStatus,
    Lease,
    NewJob,
    Recovery,
    Refused,
    Settlement,
    Signal,
    Swap,
    Unknown,
)
from milepost.query import Page, Query, cursor_at, read_cursor
from milepost.settings import Settings
from milepost.store import NO_WRITES, Store
from milepost.stores import rules
from milepost.stores.bounds import check_delta, check_settlement, check_size
from milepost.stores.memory_limits import MemoryLimits
from milepost.stores.record import Record


class MemoryDocuments:
    """Documents and counters in dictionaries; see :class:`milepost.documents.Documents`.

    Args:
        clock: where to read time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[str, tuple[bytes, int]] = {}
        self._counters: dict[str, Counter[str]] = {}
        self._lock = threading.Lock()

    def read(self, name: str) -> Document:
        with self._lock:
            return self._read(name)

    def read_all(self, prefix: str) -> Sequence[Document]:
        with self._lock:
            found = [self._read(name) for name in sorted(self._kept) if name.startswith(prefix)]
        return [document for document in found if document.data]

    def write(self, name: str, data: bytes, *, version: int) -> bool:
        check_size(name, data, DOCUMENT_BYTES)
        with self._lock:
            if self._read(name).version != version:
                return False
            self._kept[name] = (data, version + 1)
            return True

    def add(self, name: str, amounts: Mapping[str, int]) -> Mapping[str, int]:
        with self._lock:
            counters = self._counters.setdefault(name, Counter())
            counters.update(amounts)
            return {counter: counters[counter] for counter in amounts}

    def totals(self, name: str) -> Mapping[str, int]:
        with self._lock:
            return dict(self._counters.get(name, {}))

    def _read(self, name: str) -> Document:
        data, version = self._kept.get(name, (b"", 0))
        return Document(name, data, version, self._clock.now())


class MemoryStore:
    """Jobs in a dictionary, gone with the process.

    Args:
        clock: where to read time.
        retention: seconds a record is kept after its job's end.
        max_value_bytes: the largest single value.
    """

    name = "memory://"

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        retention: float = 7 * 86400.0,
        max_value_bytes: int = 16 * 1024 * 1024,
    ) -> None:
        self._clock = clock or SystemClock()
        self.documents = MemoryDocuments(self._clock)
        self.limits = MemoryLimits(self._clock)
        self._retention = retention
        self._limit = max_value_bytes
        self._records: dict[str, Record] = {}
        self._fields: dict[str, dict[str, bytes]] = {}
        self._lock = threading.RLock()

    def create(self, job: NewJob) -> bool:
        check_size("message", job.message, self._limit)
        with self._lock:
            if self._find(job.id) is not None:
                return False
            self._insert(rules.created(job, self._clock.now()))
            return True

    def claim(self, delivery: Delivery, owner: str, lease_seconds: float) -> Claim:
        check_size("message", delivery.message, self._limit)
        with self._lock:
            found = self._find(delivery.job_id)
            if found is None:
                if delivery.message is None:
                    return Unknown(delivery.job_id)
                found = rules.recorded(delivery, self._clock.now())
                self._insert(found)
            why = rules.refusal(found, delivery.number)
            if why is not None:
                return Refused(why, found.job)
            after = rules.claimed(found, delivery, owner, lease_seconds)
            return rules.granted(self._keep(after))

    def commit(self, lease: Lease, delta: Delta) -> Signal | None:
        check_delta(delta, self._limit)
        with self._lock:
            after = self._keep(rules.committed(self._held_by(lease), delta))
            self._apply(lease.job_id, delta)
            return after.told

    def load(self, job_id: str) -> Mapping[str, bytes]:
        with self._lock:
            self._require(job_id)
            return dict(self._fields[job_id])

    def settle(self, lease: Lease, settlement: Settlement) -> None:
        check_settlement(settlement, self._limit)
        with self._lock:
            found = rules.committed(self._held_by(lease), settlement.delta)
            self._keep(rules.settled(found, settlement, self._retention))
            self._apply(lease.job_id, settlement.delta)

    def finish(self, job_ids: Iterable[str]) -> None:
        with self._lock:
            for job_id in job_ids:
                found = self._find(job_id)
                if found is not None and found.job.status.is_terminal:
                    self._keep(replace(found, index_at=None))

    def renew(self, owner: str, job_ids: Iterable[str]) -> frozenset[str]:
        with self._lock:
            return frozenset(job_id for job_id in job_ids if self._renew(owner, job_id))

    def _renew(self, owner: str, job_id: str) -> bool:
        found = self._find(job_id)
        if found is None or not rules.owns(found, owner):
            return False
        self._keep(rules.renewed(found))
        return True

    def release(
        self,
        job_id: str,
        owner: str,
        reason: str,
        status: JobStatus = JobStatus.INTERRUPTED,
    ) -> bool:
        with self._lock:
            found = self._find(job_id)
            if found is None or not rules.owns(found, owner):
                return False
            self._keep(rules.released(found, reason, status, self._retention))
            return True

    def signal(
        self, job_id: str, signal: Signal, *, by: str = "", force: bool = False, reason: str = ""
    ) -> Job:
        keep = self._retention
        return self._change(
            job_id,
            lambda found: rules.signalled(found, signal, keep, by, force=force, reason=reason),
        )

    def resume(self, job_id: str, *, by: str = "", writes: Mapping[str, bytes] = NO_WRITES) -> Job:
        check_delta(Delta(writes), self._limit)
        with self._lock:
            paused = self._require(job_id).job.status is JobStatus.PAUSED
            job = self._change(job_id, lambda found: rules.resumed(found, by))
            if paused and writes:
                self._fields[job_id].update(writes)
                self._keep(replace(self._require(job_id), kept=True))
            return job

    def wake(self, job_id: str, *, by: str = "") -> Job:
        return self._change(job_id, lambda found: rules.woken(found, by))

    def reopen(
        self, job_id: str, act: Act, *, drop: Sequence[str] | None = (), by: str = ""
    ) -> Job:
        with self._lock:
            job = self._change(job_id, lambda found: rules.reopened(found, act, by))
            fields = self._fields[job_id]
            for name in list(fields) if drop is None else drop:
                fields.pop(name, None)
            self._keep(replace(self._require(job_id), kept=bool(fields)))
            return job

    def find(self, query: Query) -> Page:
        with self._lock:
            after = read_cursor(query.cursor)
            found = [record.job for record in map(self._find, list(self._records)) if record]
        order = [(job.created_at, job.id) for job in found]
        ranked = sorted(zip(order, found, strict=True), key=lambda pair: pair[0], reverse=True)
        wanted = [job for at, job in ranked if query.wants(job) and (after is None or at < after)]
        jobs = tuple(wanted[: query.limit])
        return Page(jobs, cursor_at(jobs[-1]) if len(wanted) > len(jobs) else None)

    def tally(self) -> Mapping[tuple[str, JobStatus], int]:
        with self._lock:
            found = [record.job for record in map(self._find, list(self._records)) if record]
        return Counter((job.task, job.status) for job in found)

    def exchange(self, job_id: str, swaps: Sequence[Swap]) -> int:
        with self._lock:
            record, fields, made = self._require(job_id), self._fields[job_id], 0
            for swap in swaps:
                if swap.of_record and (after := _exchanged(record, swap)) is not None:
                    record, made = self._keep(after), made + 1
                elif not swap.of_record and fields.get(swap.name) == swap.before:
                    assert isinstance(swap.after, bytes)
                    fields[swap.name], made = swap.after, made + 1
            return made

    def _change(self, job_id: str, decide: Callable[[Record], Record]) -> Job:
        with self._lock:
            return self._keep(decide(self._require(job_id))).job

    def get(self, job_id: str) -> Job:
        with self._lock:
            return self._require(job_id).job

    def due(self, limit: int) -> Sequence[str]:
        with self._lock:
            now = self._clock.now()
            ripe = [
                (record.index_at, job_id)
                for job_id, record in self._records.items()
                if record.index_at is not None and record.index_at <= now
            ]
            return [job_id for _, job_id in sorted(ripe)[:limit]]

    def claim_recovery(self, job_id: str, again_after: float) -> Recovery | None:
        with self._lock:
            found = self._find(job_id)
            verdict = None if found is None else rules.recovered(found, again_after)
            if verdict is None:
                return None
            after, won = verdict
            job = self._keep(after).job
            return Recovery(job, finishing=job.status.is_terminal) if won else None

    def delete(self, job_id: str) -> None:
        with self._lock:
            self._records.pop(job_id, None)
            self._fields.pop(job_id, None)

    def purge(self) -> int:
        with self._lock:
            old = [job_id for job_id in self._records if self._find(job_id) is None]
            for job_id in old:
                self.delete(job_id)
            return len(old)

    def close(self) -> None:
        """Keep everything: memory has no connections to give back."""

    def _find(self, job_id: str) -> Record | None:
        record = self._records.get(job_id)
        if record is None:
            return None
        now = self._clock.now()
        record = replace(record, now=now, job=replace(record.job, read_at=now))
        return None if record.is_expired else record

    def _require(self, job_id: str) -> Record:
        record = self._find(job_id)
        if record is None:
            raise JobNotFoundError(job_id)
        return record

    def _held_by(self, lease: Lease) -> Record:
        found = self._find(lease.job_id)
        if found is None or not rules.holds(found, lease):
            raise LeaseLostError(lease.job_id, lease.fence)
        return found

    def _insert(self, record: Record) -> None:
        self._fields[record.job.id] = {}
        self._keep(record)

    def _keep(self, record: Record) -> Record:
        self._records[record.job.id] = record
        return record

    def _apply(self, job_id: str, delta: Delta) -> None:
        fields = self._fields[job_id]
        for name in delta.deletes:
            fields.pop(name, None)
        fields.update(delta.writes)


def _exchanged(found: Record, swap: Swap) -> Record | None:
    """Return the row with one of its values exchanged, or None where it is another by now."""
    job = found.job
    if swap.name == "doing":
        if job.progress.message != swap.before:
            return None
        progress = replace(job.progress, message=str(swap.after))
        return replace(found, job=replace(job, progress=progress))
    if getattr(job, swap.name) != swap.before:
        return None
    changed: dict[str, Any] = {swap.name: swap.after}
    return replace(found, job=replace(job, **changed))


def connect(url: str, settings: Settings) -> Store:
    """Open a new, empty store; ``memory://`` takes nothing else in its URL."""
    if url != "memory://":
        raise ConfigurationError(f"{url!r}: a memory store is just 'memory://'")
    return MemoryStore(retention=settings.retention, max_value_bytes=settings.max_value_bytes)
