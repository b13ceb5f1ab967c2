"""The store as an encrypted task's jobs use it: nothing reaches it that is readable.

The engine above works with plain names and values; the store below gets names that are keyed
hashes, values that are records, and texts that are ciphertext. A field's real name is inside of
its record. The key that names are hashed with is drawn by a job's first checkpoint and kept,
encrypted, as a field of its own, so that names stay when keys are rotated.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from milepost.codecs import places
from milepost.codecs.encrypted import HEAD, Cipher, Sealer, is_record, key_id_of
from milepost.codecs.places import Words
from milepost.codecs.texts import seal_text, seal_words
from milepost.documents import Documents
from milepost.errors import (
    EncryptedDataError,
    NoKeysError,
    PlaintextError,
    TamperedError,
    ValueTooLargeError,
)
from milepost.history import Act
from milepost.limits import Limits
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
    Refused,
    Settlement,
    Signal,
    Swap,
)
from milepost.query import Page, Query
from milepost.store import NO_WRITES, Store
from milepost.stores.names import NAMES, Names
from milepost.stores.readable import readable, result_of
from milepost.transactional import Transactional

LARGEST_SEQUENCE = 2**32


class SealedStore:
    """Implements :class:`milepost.store.Store` for the jobs of one task.

    Args:
        inner: the store that keeps them.
        cipher: encrypts and decrypts.
        task: the registered name of the task.
        tenant: whose key encrypts; None: a tenant's whose key is gone. Texts are left out
            then, and nothing else is taken.
        accept_plaintext: take what was stored before the task was encrypted.
    """

    def __init__(
        self,
        inner: Store,
        cipher: Cipher,
        task: str,
        tenant: str | None = "",
        *,
        accept_plaintext: bool = False,
    ) -> None:
        self._inner = inner
        self._cipher = cipher
        self._task = task
        self._tenant = tenant
        self._accepts = accept_plaintext
        self._names: dict[str, Names] = {}
        self._fences: dict[str, int] = {}

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def documents(self) -> Documents:
        return self._inner.documents

    @property
    def limits(self) -> Limits:
        return self._inner.limits

    # -- an attempt ----------------------------------------------------------------------

    def claim(self, delivery: Delivery, owner: str, lease_seconds: float) -> Claim:
        claim = self._inner.claim(delivery, owner, lease_seconds)
        if isinstance(claim, Granted):
            self._fences[claim.job.id] = claim.lease.fence
        if isinstance(claim, Granted | Refused):
            return replace(claim, job=self._shown(claim.job))
        return claim

    def load(self, job_id: str) -> Mapping[str, bytes]:
        """Return every field of a job's checkpoint, decrypted.

        Raises:
            JobNotFoundError: no record.
            EncryptedDataError: one of them cannot be read; says why, and tells no content.
        """
        stored = self._inner.load(job_id)
        key = stored.get(NAMES)
        name = f"{job_id}: checkpoint"
        place, open_, fields = self._place(job_id), self._cipher.open, {}
        opened = None if key is None else open_(place + NAMES.encode(), key, name)
        names = self._names[job_id] = Names(place, None if opened is None else opened.data)
        newest = self._fences.get(job_id, LARGEST_SEQUENCE)
        records = []
        for field, data in stored.items():
            if is_record(data):
                if field != NAMES:
                    records.append((field, data))
            elif self._accepts:
                fields[field] = data
                names.plain.add(field)
            else:
                raise PlaintextError(name)
        for field, plain, sequence in self._cipher.open_all(place, records, name):
            if sequence > newest:
                raise TamperedError(name, key_id_of(stored[field], name))
            end = 4 + int.from_bytes(plain[:4], "big")
            fields[plain[4:end].decode("utf-8", "surrogatepass")] = plain[end:]
        return fields

    def commit(self, lease: Lease, delta: Delta) -> Signal | None:
        try:
            signal = self._inner.commit(lease, self._sealed(lease, delta))
        except ValueTooLargeError as exc:
            raise self._names_of(lease.job_id).own(exc, delta.writes) from None
        if delta.writes:
            self._names_of(lease.job_id).is_saved = True
        return signal

    def settle(self, lease: Lease, settlement: Settlement) -> None:
        job_id = lease.job_id
        sealed = replace(
            settlement,
            error=self._sealed_text(Words.ERROR, job_id, settlement.error),
            reason=self._sealed_text(Words.REASON, job_id, settlement.reason),
            delta=self._sealed(lease, settlement.delta),
        )
        if settlement.result is not None:
            place = places.result(job_id, self._task)
            result = self._current().seal(place, settlement.result, lease.fence)
            sealed = replace(sealed, result=result)
        try:
            self._inner.settle(lease, sealed)
        except ValueTooLargeError as exc:
            raise self._names_of(job_id).own(exc, settlement.delta.writes) from None

    # -- sealing ---------------------------------------------------------------------------

    def _sealed_text(self, what: Words, job_id: str, text: str | None) -> str | None:
        if text is None:
            return None
        return seal_text(self._sealer_or_none(), what, job_id, self._task, text)

    def _sealed(self, lease: Lease, delta: Delta) -> Delta:
        names = self._names_of(lease.job_id)
        writes, deletes, progress = delta.writes, delta.deletes, delta.progress
        if deletes or names.plain:
            deletes = [*(n for n in writes if n in names.plain), *names.all_stored(deletes)]
        if writes:
            writes = self._sealed_fields(names, writes, lease.fence)
        if progress is not None and progress.message:
            place = places.words(Words.PROGRESS, lease.job_id, self._task)
            words = seal_words(self._sealer_or_none(), place, progress.message)
            progress = replace(progress, message=words)
        return Delta(writes, deletes, progress)

    def _sealed_fields(
        self, names: Names, fields: Mapping[str, bytes], fence: int
    ) -> dict[str, bytes]:
        place, stored, seal, sealed = names.place, names.stored, self._current().seal, {}
        for name, data in fields.items():
            plain = name.encode("utf-8", "surrogatepass")
            field = stored(plain)
            content = len(plain).to_bytes(4, "big") + plain + data
            sealed[field.decode()] = seal(place + field, content, fence)
        if not names.is_saved:
            sealed[NAMES] = seal(place + NAMES.encode(), names.key, fence)
        return sealed

    def _names_of(self, job_id: str) -> Names:
        found = self._names.get(job_id)
        if found is None:
            # Two threads may make the first checkpoint: one key to the names has to win.
            found = self._names.setdefault(job_id, Names(self._place(job_id)))
        return found

    def _place(self, job_id: str) -> bytes:
        return places.field(job_id, self._task)

    def _current(self) -> Sealer:
        # Asked for each time: a job of two days must not go on with a key that was rotated.
        return self._cipher.sealer_of_job(self._tenant)

    def _sealer_or_none(self) -> Sealer | None:
        """Return what encrypts texts: without a key they are left out, and nothing is lost."""
        try:
            return self._current()
        except NoKeysError:
            return None

    def _shown(self, job: Job) -> Job:
        shown = readable(job, self._cipher, takes_plaintext=self._accepts)
        try:
            result = result_of(job, self._cipher, takes_plaintext=self._accepts)
        except PlaintextError:
            result = HEAD  # a record of nothing: whoever reads it is refused, as by the original
        except EncryptedDataError:
            return shown
        return replace(shown, result=result)

    # -- what is handed on -------------------------------------------------------------------

    def create(self, job: NewJob) -> bool:
        return self._inner.create(job)

    def finish(self, job_ids: Iterable[str]) -> None:
        self._inner.finish(job_ids)

    def renew(self, owner: str, job_ids: Iterable[str]) -> frozenset[str]:
        return self._inner.renew(owner, job_ids)

    def release(
        self, job_id: str, owner: str, reason: str, status: JobStatus = JobStatus.INTERRUPTED
    ) -> bool:
        return self._inner.release(job_id, owner, reason, status)

    def signal(
        self, job_id: str, signal: Signal, *, by: str = "", force: bool = False, reason: str = ""
    ) -> Job:
        return self._shown(self._inner.signal(job_id, signal, by=by, force=force, reason=reason))

    def resume(self, job_id: str, *, by: str = "", writes: Mapping[str, bytes] = NO_WRITES) -> Job:
        """As the inner store does; what is written is encrypted for the job's next attempt."""
        if writes:
            self.load(job_id)  # the key to its names
            fence = self._inner.get(job_id).fence
            writes = self._sealed_fields(self._names_of(job_id), writes, fence)
        return self._shown(self._inner.resume(job_id, by=by, writes=writes))

    def wake(self, job_id: str, *, by: str = "") -> Job:
        return self._shown(self._inner.wake(job_id, by=by))

    def reopen(
        self, job_id: str, act: Act, *, drop: Sequence[str] | None = (), by: str = ""
    ) -> Job:
        """As the inner store does; the names to drop are plain ones, of a job that was loaded."""
        if drop:
            drop = self._names_of(job_id).all_stored(drop)
        return self._shown(self._inner.reopen(job_id, act, drop=drop, by=by))

    def exchange(self, job_id: str, swaps: Sequence[Swap]) -> int:
        return self._inner.exchange(job_id, swaps)

    def find(self, query: Query) -> Page:
        page = self._inner.find(query)
        return replace(page, jobs=tuple(map(self._shown, page.jobs)))

    def tally(self) -> Mapping[tuple[str, JobStatus], int]:
        return self._inner.tally()

    def get(self, job_id: str) -> Job:
        return self._shown(self._inner.get(job_id))

    def due(self, limit: int) -> Sequence[str]:
        return self._inner.due(limit)

    def claim_recovery(self, job_id: str, again_after: float) -> Recovery | None:
        won = self._inner.claim_recovery(job_id, again_after)
        return None if won is None else replace(won, job=self._shown(won.job))

    def delete(self, job_id: str) -> None:
        self._inner.delete(job_id)

    def purge(self) -> int:
        return self._inner.purge()

    def close(self) -> None:
        self._inner.close()


class SealedTransactionalStore(SealedStore):
    """The same over a store that can join a transaction of the user's."""

    def commit_in(self, connection: Any, lease: Lease, delta: Delta) -> Signal | None:
        """Write a checkpoint inside the user's transaction; see :class:`Transactional`."""
        inner: Any = self._inner
        # Whether the transaction is committed is not seen here, so the key to the names goes
        # along until a checkpoint outside of one has brought it.
        signal: Signal | None = inner.commit_in(connection, lease, self._sealed(lease, delta))
        return signal


def sealed(
    inner: Store,
    cipher: Cipher,
    task: str,
    tenant: str | None = "",
    *,
    accept_plaintext: bool = False,
) -> Store:
    """Return a store as an encrypted task's jobs use it; see :class:`SealedStore`."""
    transactional = isinstance(inner, Transactional)
    make: Callable[..., Store] = SealedTransactionalStore if transactional else SealedStore
    return make(inner, cipher, task, tenant, accept_plaintext=accept_plaintext)
