"""The store's verbs on Redis: each is one command, most of them one script.

Keys, where ``ns`` is the namespace::

    ns:{<job id>}         hash   the record
    ns:{<job id>}:data    hash   the checkpoint
    ns:index              zset   job id → the moment (ms) somebody should look after it
    ns:jobs               zset   job id → the moment (ms) it was created

What is shared beside jobs is in :mod:`~milepost.stores.redis.documents` and
:mod:`~milepost.stores.redis.limits`.

A call whose reply was lost may have been executed. Sent again it is answered as the first
one would have been: calls that win or ask something carry a nonce, which the record remembers, and
the writes of an attempt come back under a new token, ``<fence>.<n>``, which also keeps the
first sending out should it arrive late.
"""

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from milepost import history
from milepost.errors import InvalidTransitionError, JobNotFoundError, LeaseLostError
from milepost.history import Act
from milepost.model import (
    Claim,
    Delivery,
    Delta,
    Granted,
    Job,
    JobStatus,
    Lease,
    NewJob,
    Recovery,
    Refusal,
    Refused,
    Settlement,
    Signal,
    Swap,
    Unknown,
)
from milepost.query import Page, Query
from milepost.settings import Settings
from milepost.store import FINISH_AFTER, NO_WRITES
from milepost.stores import rules
from milepost.stores.bounds import check_delta, check_settlement, check_size
from milepost.stores.redis import lua
from milepost.stores.redis.documents import RedisDocuments
from milepost.stores.redis.exchanging import exchange
from milepost.stores.redis.limits import RedisLimits
from milepost.stores.redis.listing import Listing
from milepost.stores.redis.record import (
    described,
    ended,
    ms,
    printable,
    read_job,
    text,
    written,
)
from milepost.stores.redis.wire import Command, Wire

BATCH = 500
"""How many records one script may touch, so that it never holds the server up."""


class RedisStore:
    """Jobs in Redis; the contract of each verb is :class:`milepost.store.Store`'s.

    Args:
        wire: the way to the server.
        settings: namespace, retention and the limit of a value.
    """

    def __init__(self, wire: Wire, settings: Settings) -> None:
        self._wire = wire
        self._prefix = f"{settings.namespace}:{{"
        self._index = f"{settings.namespace}:index"
        self._retention = ms(settings.retention)
        self._listing = Listing(wire, settings.namespace, self._retention)
        self.documents = RedisDocuments(wire, settings.namespace)
        self.limits = RedisLimits(wire, settings.namespace)
        self._limit = settings.max_value_bytes
        self._resent: dict[str, tuple[int, int]] = {}

    @property
    def name(self) -> str:
        return self._wire.name

    def create(self, job: NewJob) -> bool:
        check_size("message", job.message, self._limit)
        return bool(
            self._run_listed(
                "create",
                job.id,
                JobStatus.SCHEDULED if job.delay else JobStatus.PENDING,
                job.task,
                job.message,
                job.delivery,
                ms(job.delay),
                ms(job.resend_after),
                _nonce(),
                *described(job),
            )
        )

    def claim(self, delivery: Delivery, owner: str, lease_seconds: float) -> Claim:
        check_size("message", delivery.message, self._limit)
        job_id = delivery.job_id
        message = () if delivery.message is None else (delivery.message,)
        reply = self._run_listed(
            "claim",
            job_id,
            owner,
            delivery.number,
            ms(lease_seconds),
            _nonce(),
            delivery.task,
            *message,
        )
        if reply is None:
            return Unknown(job_id)
        word, has_checkpoint, record = reply
        job = read_job(job_id, record)
        if word != b"granted":
            return Refused(Refusal(text(word)), job)
        lease = Lease(job_id, owner, job.fence, job.lease_seconds)
        return Granted(lease, job, resumed=bool(has_checkpoint))

    def commit(self, lease: Lease, delta: Delta) -> Signal | None:
        check_delta(delta, self._limit)
        command = (
            *("EVALSHA", lua.script("commit").sha, 1, self._record(lease.job_id)),
            self._token(lease),
            written(delta.progress),
            len(delta.deletes),
            *delta.deletes,
            *chain.from_iterable(delta.writes.items()),
        )
        reply = self._write(lease, command)
        return None if reply is None else Signal(text(reply))

    def load(self, job_id: str) -> Mapping[str, bytes]:
        record = self._record(job_id)
        flat = self._wire.ask(("HGETALL", f"{record}:data"))
        if not flat and not self._wire.ask(("EXISTS", record)):
            raise JobNotFoundError(job_id)
        # What text() does, without its call: a checkpoint may have 100,000 fields.
        names = [name.decode("utf-8", "surrogatepass") for name in flat[::2]]
        return dict(zip(names, flat[1::2], strict=True))

    def settle(self, lease: Lease, settlement: Settlement) -> None:
        check_settlement(settlement, self._limit)
        delta, values = settlement.delta, ended(settlement)
        is_noted = settlement.status is not JobStatus.SUCCEEDED
        note = settlement.error or settlement.reason
        command = (
            *("EVALSHA", lua.script("settle").sha, 2, self._record(lease.job_id), self._index),
            self._token(lease),
            lease.job_id,
            settlement.status,
            self._retention if settlement.status.is_terminal else "",
            "" if settlement.delay is None else ms(settlement.delay),
            ms(settlement.resend_after),
            int(settlement.finishing),
            written(delta.progress),
            len(values),
            len(delta.deletes),
            history.line(settlement.status, lease.owner, note) if is_noted else "",
            *values,
            *delta.deletes,
            *chain.from_iterable(delta.writes.items()),
        )
        self._write(lease, command)
        self._resent.pop(lease.job_id, None)

    def finish(self, job_ids: Iterable[str]) -> None:
        for batch in _batches(job_ids):
            self._run_batch("finish", batch)

    def renew(self, owner: str, job_ids: Iterable[str]) -> frozenset[str]:
        return frozenset(
            text(job_id)
            for batch in _batches(job_ids)
            for job_id in self._run_batch("renew", batch, owner)
        )

    def release(
        self,
        job_id: str,
        owner: str,
        reason: str,
        status: JobStatus = JobStatus.INTERRUPTED,
    ) -> bool:
        retention = self._retention if status.is_terminal else ""
        return bool(
            self._run("release", job_id, owner, printable(reason), status, retention, _nonce())
        )

    def signal(
        self, job_id: str, signal: Signal, *, by: str = "", force: bool = False, reason: str = ""
    ) -> Job:
        return self._steer(
            *("signal", job_id, history.line(signal, by, reason), signal, self._retention),
            *(ms(FINISH_AFTER), printable(reason), rules.FORCED if force else ""),
            history.line(signal, by, rules.FORCED),
            wanted=rules.WANTED[signal],
        )

    def resume(self, job_id: str, *, by: str = "", writes: Mapping[str, bytes] = NO_WRITES) -> Job:
        check_delta(Delta(writes), self._limit)
        fields = chain.from_iterable(writes.items())
        return self._steer("resume", job_id, history.line(Act.RESUME, by), *fields)

    def wake(self, job_id: str, *, by: str = "") -> Job:
        def advice(job: Job) -> str:
            return rules.OVER if job.status.is_terminal else "resume it"

        return self._steer("wake", job_id, history.line(Act.WAKE, by), advice=advice)

    def reopen(
        self, job_id: str, act: Act, *, drop: Sequence[str] | None = (), by: str = ""
    ) -> Job:
        return self._steer(
            "reopen",
            job_id,
            history.line(act, by),
            f" {' '.join(rules.REOPENS[act])} ",
            int(act is Act.RESTART),
            int(drop is None),
            *(drop or ()),
            advice=partial(rules.advice_to_reopen, act=act),
        )

    def exchange(self, job_id: str, swaps: Sequence[Swap]) -> int:
        return exchange(self._wire, self._record(job_id), job_id, swaps)

    def find(self, query: Query) -> Page:
        return self._listing.find(query)

    def tally(self) -> Mapping[tuple[str, JobStatus], int]:
        return self._listing.tally()

    def get(self, job_id: str) -> Job:
        record = self._wire.run("get", 1, self._record(job_id))
        if record is None:
            raise JobNotFoundError(job_id)
        return read_job(job_id, record)

    def due(self, limit: int) -> Sequence[str]:
        return [text(job_id) for job_id in self._wire.run("due", 1, self._index, limit)]

    def claim_recovery(self, job_id: str, again_after: float) -> Recovery | None:
        record = self._run("claim_recovery", job_id, ms(again_after), _nonce())
        if record is None:
            return None
        job = read_job(job_id, record)
        return Recovery(job, finishing=job.status.is_terminal)

    def delete(self, job_id: str) -> None:
        self._run_listed("delete", job_id)

    def purge(self) -> int:
        return self._listing.purge()

    def close(self) -> None:
        self._wire.close()

    # -- keys and calls ------------------------------------------------------------------

    def _record(self, job_id: str) -> str:
        return f"{self._prefix}{job_id}}}"

    def _run(self, verb: str, job_id: str, *rest: Any) -> Any:
        return self._wire.run(verb, 2, self._record(job_id), self._index, job_id, *rest)

    def _run_listed(self, verb: str, job_id: str, *rest: Any) -> Any:
        """Run the script of a verb that makes or drops a record."""
        record = self._record(job_id)
        return self._wire.run(verb, 3, record, self._index, self._listing.key, job_id, *rest)

    def _run_batch(self, verb: str, job_ids: Sequence[str], *first: Any) -> Any:
        records = [self._record(job_id) for job_id in job_ids]
        return self._wire.run(verb, 1 + len(records), self._index, *records, *first, *job_ids)

    def _steer(
        self,
        verb: str,
        job_id: str,
        *rest: Any,
        wanted: JobStatus = JobStatus.PENDING,
        advice: Callable[[Job], str] = lambda _: rules.OVER,
    ) -> Job:
        """Run the script of a control act."""
        reply = self._run(verb, job_id, _nonce(), *rest)
        if reply is None:
            raise JobNotFoundError(job_id)
        word, record = reply
        job = read_job(job_id, record)
        if word == b"refused":
            raise InvalidTransitionError(job_id, job.status, wanted, advice(job))
        return job

    # -- writes of an attempt ------------------------------------------------------------

    def _write(self, lease: Lease, command: Command) -> Any:
        reply = self._wire.ask(command, partial(self._renumber, lease))
        if reply == b"lost" and self._token(lease) != lease.fence:
            # Another thread of the attempt may have moved the token while this one was sending.
            reply = self._wire.ask(self._with_token(lease, command))
        if reply == b"lost":
            self._resent.pop(lease.job_id, None)
            raise LeaseLostError(lease.job_id, lease.fence)
        return reply

    def _token(self, lease: Lease) -> int | str:
        if self._resent:
            fence, times = self._resent.get(lease.job_id, (0, 0))
            if fence == lease.fence:
                return f"{fence}.{times}"
        return lease.fence

    def _with_token(self, lease: Lease, command: Command) -> Command:
        first = 3 + int(command[2])
        return (*command[:first], self._token(lease), *command[first + 1 :])

    def _renumber(self, lease: Lease, command: Command) -> Command:
        """Put a write of unknown fate under the lease's next token, and all that follow."""
        fence, times = self._resent.get(lease.job_id, (0, 0))
        self._resent[lease.job_id] = (lease.fence, times + 1 if fence == lease.fence else 1)
        return self._with_token(lease, command)


def _nonce() -> str:
    return secrets.token_hex(6)


def _batches(job_ids: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(job_ids)
    while batch := list(islice(rest, BATCH)):
        yield batch
