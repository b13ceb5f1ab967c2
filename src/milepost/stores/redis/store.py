"""The store's verbs on Redis: each is one command, most of them one script.

Keys, where ``ns`` is the namespace::

    ns:{<job id>}         hash   the record
    ns:{<job id>}:data    hash   the checkpoint
    ns:index              zset   job id → the moment (ms) somebody should look after it

A call whose reply was lost may have been executed. Sent again it is answered as the first
one would have been: calls that win something carry a nonce, which the record remembers, and
the writes of an attempt come back under a new token, ``<fence>.<n>``, which also keeps the
first sending out should it arrive late.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from milepost.errors import InvalidTransitionError, JobNotFoundError, LeaseLostError
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
    Unknown,
)
from milepost.settings import Settings
from milepost.stores.limits import check_delta, check_settlement, check_size
from milepost.stores.redis import lua
from milepost.stores.redis.record import read_job, text, written
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
        self._retention = _ms(settings.retention)
        self._limit = settings.max_value_bytes
        self._resent: dict[str, tuple[int, int]] = {}

    @property
    def name(self) -> str:
        return self._wire.name

    def create(self, job: NewJob) -> bool:
        check_size("message", job.message, self._limit)
        return bool(
            self._run(
                "create",
                job.id,
                JobStatus.SCHEDULED if job.delay else JobStatus.PENDING,
                job.task,
                job.message,
                job.delivery,
                _ms(job.delay),
                _ms(job.resend_after),
                _nonce(),
            )
        )

    def claim(self, delivery: Delivery, owner: str, lease_seconds: float) -> Claim:
        check_size("message", delivery.message, self._limit)
        job_id = delivery.job_id
        message = () if delivery.message is None else (delivery.message,)
        reply = self._run(
            "claim",
            job_id,
            owner,
            delivery.number,
            _ms(lease_seconds),
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
        delta, values = settlement.delta, _values(settlement)
        command = (
            *("EVALSHA", lua.script("settle").sha, 2, self._record(lease.job_id), self._index),
            self._token(lease),
            lease.job_id,
            settlement.status,
            self._retention if settlement.status.is_terminal else "",
            "" if settlement.delay is None else _ms(settlement.delay),
            _ms(settlement.resend_after),
            int(settlement.finishing),
            written(delta.progress),
            len(values),
            len(delta.deletes),
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
            self._run("release", job_id, owner, _printable(reason), status, retention, _nonce())
        )

    def signal(self, job_id: str, signal: Signal) -> Job:
        return self._steer(job_id, signal, "signal", signal, self._retention, _nonce())

    def resume(self, job_id: str) -> Job:
        return self._steer(job_id, "resume", "resume")

    def get(self, job_id: str) -> Job:
        record = self._wire.ask(("HGETALL", self._record(job_id)))
        if not record:
            raise JobNotFoundError(job_id)
        return read_job(job_id, record)

    def due(self, limit: int) -> Sequence[str]:
        return [text(job_id) for job_id in self._wire.run("due", 1, self._index, limit)]

    def claim_recovery(self, job_id: str, again_after: float) -> Recovery | None:
        record = self._run("claim_recovery", job_id, _ms(again_after), _nonce())
        if record is None:
            return None
        job = read_job(job_id, record)
        return Recovery(job, finishing=job.status.is_terminal)

    def delete(self, job_id: str) -> None:
        self._run("delete", job_id)

    def purge(self) -> int:
        """Do nothing: Redis expires the keys itself."""
        return 0

    def close(self) -> None:
        self._wire.close()

    # -- keys and calls ------------------------------------------------------------------

    def _record(self, job_id: str) -> str:
        return f"{self._prefix}{job_id}}}"

    def _run(self, verb: str, job_id: str, *rest: Any) -> Any:
        return self._wire.run(verb, 2, self._record(job_id), self._index, job_id, *rest)

    def _run_batch(self, verb: str, job_ids: Sequence[str], *first: Any) -> Any:
        records = [self._record(job_id) for job_id in job_ids]
        return self._wire.run(verb, 1 + len(records), self._index, *records, *first, *job_ids)

    def _steer(self, job_id: str, act: str, verb: str, *rest: Any) -> Job:
        reply = self._run(verb, job_id, *rest)
        if reply is None:
            raise JobNotFoundError(job_id)
        word, record = reply
        job = read_job(job_id, record)
        if word == b"ended":
            raise InvalidTransitionError(job_id, job.status, act)
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


def _values(settlement: Settlement) -> list[Any]:
    """Return field, value, … of the record that a settlement sets."""
    error, reason = settlement.error, settlement.reason
    pairs = {
        "reason": None if reason is None else _printable(reason),
        "result": settlement.result,
        "error": None if error is None else _printable(error),
        "delivery": settlement.delivery,
        "message": settlement.message or None,
    }
    return [word for pair in pairs.items() if pair[1] is not None for word in pair]


def _printable(words: str) -> bytes:
    """Return words for people as bytes, whatever an exception's text may hold."""
    return words.encode("utf-8", "backslashreplace")


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _nonce() -> str:
    return secrets.token_hex(6)


def _batches(job_ids: Iterable[str]) -> Iterable[list[str]]:
    rest = iter(job_ids)
    while batch := list(islice(rest, BATCH)):
        yield batch
