"""Keys rotated: what is stored is encrypted anew, job by job, while tasks run.

Each value is replaced only if it is still the one that was read. So a running attempt's newer
value always stays, and wherever a rotation dies, every value is whole: under its old key or
under its new one.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from milepost.ciphertext import MARK, TOKEN, head_of
from milepost.codecs import places, tokens
from milepost.codecs.encrypted import Cipher, is_record
from milepost.codecs.json import HEAD as JSON
from milepost.codecs.places import Words
from milepost.codecs.texts import is_sealed
from milepost.errors import (
    EncryptedDataError,
    JobNotFoundError,
    NoKeysError,
    TamperedError,
)
from milepost.model import RECORDED, Job, Swap
from milepost.query import Query, cursor_at, pages
from milepost.runtime import Runtime, cipher_of, runtime_of
from milepost.store import Store
from milepost.stores.names import NAMES
from milepost.tasks import message
from milepost.tasks.checkpointable import CheckpointableTask

NAME = "milepost.rotate_keys"
PAGE = 200
TEXTS = {"error": Words.ERROR, "reason": Words.REASON, "doing": Words.PROGRESS}


@dataclass(frozen=True, slots=True)
class Survey:
    """What is stored of a job, by the keys that it is encrypted with.

    Attributes:
        swaps: what a rotation would exchange.
        by_key: how many values each key has encrypted.
        unreadable: why values cannot be read: how many for each reason.
    """

    swaps: tuple[Swap, ...] = ()
    by_key: Mapping[str, int] = field(default_factory=dict)
    unreadable: Mapping[str, int] = field(default_factory=dict)


class Surveyor:
    """Looks at one value after the other, and encrypts anew what is not under a current key.

    Args:
        cipher: the application's.
        job: whose values they are.
        allow_pickle: read a message that is pickled.
    """

    def __init__(self, cipher: Cipher, job: Job, allow_pickle: bool) -> None:
        self._cipher, self._job, self._allow_pickle = cipher, job, allow_pickle
        self.by_key: Counter[str] = Counter()
        self.unreadable: Counter[str] = Counter()

    def renewed(self, record: bytes, *where: bytes, may_be_elsewhere: bool = False) -> bytes | None:
        """Return a record under its tenant's current key; None where it is, or is unreadable.

        Args:
            record: what was found.
            where: the places it may be in.
            may_be_elsewhere: one that opens in none of them counts for its key, and stays.
        """
        cipher, name = self._cipher, f"{self._job.id}: value"
        trouble: EncryptedDataError | NoKeysError | None = None
        for place in where:
            try:
                found = cipher.open(place, record, name)
                self.by_key[found.key_id] += 1
                key = cipher.keys.get(found.key_id)
                sealer = cipher.sealer("" if key is None else key.tenant)
                if sealer.key.id == found.key_id:
                    return None
                return sealer.seal(place, found.data, found.sequence)
            except TamperedError as exc:  # made for another place, maybe the next one
                trouble = exc
            except (EncryptedDataError, NoKeysError) as exc:
                trouble = exc
                break
        if may_be_elsewhere and isinstance(trouble, TamperedError):
            self.by_key[trouble.key_id] += 1
        elif isinstance(trouble, EncryptedDataError):
            self.unreadable[f"{type(trouble).__name__} {trouble.key_id}".rstrip()] += 1
        return None

    def renewed_kept(self, data: bytes, place: bytes) -> bytes | None:
        """Return a field, or a result, renewed; None where there is nothing to renew."""
        return self.renewed(data, place) if is_record(data) else self.renewed_within(data)

    def renewed_token(self, token: str, *where: bytes, may_be_elsewhere: bool = False) -> str:
        """Return an encrypted text under the current key; any other text as it is."""
        if not tokens.is_token(token):
            return token
        record = tokens.record_in(token)
        after = self.renewed(record, *where, may_be_elsewhere=may_be_elsewhere)
        return token if after is None else tokens.token_of(after)

    def renewed_words(self, what: Words, text: str) -> str:
        """Return a text of the job with its words under the current key."""
        if not is_sealed(text):
            return text
        head = head_of(text)
        place = places.words(what, self._job.id, self._job.task, head)
        return head + self.renewed_token(text[len(head) :], place)

    def renewed_within(self, data: bytes) -> bytes | None:
        """Return bytes of a plain task with results of encrypted ones in them renewed.

        None where there are none, or where the form of the bytes may not bear other lengths.
        """
        if MARK.encode() not in data:
            return None
        where = places.returned(), places.told()
        text = data.decode("latin-1")  # which has a character for each byte
        after = TOKEN.sub(
            lambda found: self.renewed_token(found[0], *where, may_be_elsewhere=True), text
        )
        fits = len(after) == len(text) or data.startswith(JSON)
        return after.encode("latin-1") if fits and after != text else None

    def renewed_message(self, packed: bytes) -> bytes | None:
        """Return a job's message with all ciphertext in it renewed; None if it may not be read."""
        task = self._job.task
        try:
            return message.rewritten(
                packed,
                lambda found: self.renewed_signature(found, task),
                allow_pickle=self._allow_pickle,
            )
        except Exception as exc:  # pickled where that is refused, or damaged in any way
            self.unreadable[f"{type(exc).__name__} message"] += 1
            return None

    def renewed_signature(self, found: Any, task: str) -> Any:
        """Return a signature, or a part of one, with all ciphertext in it renewed."""
        if isinstance(found, str):
            return self.renewed_token(found, *self._places(task))
        if isinstance(found, list | tuple):
            return type(found)([self.renewed_signature(one, task) for one in found])
        if isinstance(found, dict):
            task = str(found.get("task", task))
            return {name: self.renewed_signature(one, task) for name, one in found.items()}
        return found

    def _places(self, task: str) -> tuple[bytes, ...]:
        job_id = self._job.id
        own = places.call(job_id, task), places.part(task), places.sensitive(job_id, task)
        return *own, places.returned()


def survey(cipher: Cipher, store: Store, job: Job, *, allow_pickle: bool = False) -> Survey:
    """Look at all that is stored of a job.

    Args:
        cipher: the application's.
        store: the one that keeps it, not one that decrypts.
        job: its record, as stored.
        allow_pickle: read its message too where that is pickled.
    """
    surveyor, swaps = Surveyor(cipher, job, allow_pickle), []
    for name in RECORDED:
        before = job.progress.message if name == "doing" else getattr(job, name)
        if before:
            after = _renewed_part(surveyor, job, name, before)
            if after is not None and after != before:
                swaps.append(Swap(name, before, after, of_record=True))
    place = places.field(job.id, job.task)
    for name, data in store.load(job.id).items():
        after = surveyor.renewed_kept(data, place + name.encode("utf-8", "surrogatepass"))
        if after is not None:
            swaps.append(Swap(name, data, after))
    # The key to the names last: until then every value is as good as before.
    swaps.sort(key=lambda swap: swap.name == NAMES)
    return Survey(tuple(swaps), surveyor.by_key, surveyor.unreadable)


def _renewed_part(surveyor: Surveyor, job: Job, name: str, before: Any) -> Any:
    if name == "message":
        if MARK.encode() not in before:
            return None
        return surveyor.renewed_message(before)
    if name == "result":
        return surveyor.renewed_kept(before, places.result(job.id, job.task))
    return surveyor.renewed_words(TEXTS[name], before)


def _survey(runtime: Runtime, cipher: Cipher, job: Job) -> Survey:
    return survey(cipher, runtime.store, job, allow_pickle=runtime.settings.allow_pickle)


def surveys(runtime: Runtime, cipher: Cipher) -> Iterator[tuple[Job, Survey]]:
    """Yield every job with what is stored of it."""
    for page in pages(runtime.store.find, Query(limit=PAGE)):
        for job in page.jobs:
            try:
                yield job, _survey(runtime, cipher, job)
            except JobNotFoundError:  # gone meanwhile
                continue


def renew(runtime: Runtime, cipher: Cipher, job: Job) -> tuple[int, int]:
    """Encrypt anew what is stored of a job under keys that are not current.

    Returns:
        How many values were exchanged, and how many could not be read.
    """
    try:
        found = _survey(runtime, cipher, job)
        made = runtime.store.exchange(job.id, found.swaps) if found.swaps else 0
    except JobNotFoundError:
        return 0, 0
    return made, sum(found.unreadable.values())


def rotate_all(task: Any) -> dict[str, int]:
    """Be the body of the rotation's task: go over all jobs, and on where a dead one was."""
    runtime, cipher = runtime_of(task.app), cipher_of(task.app)

    def source(after: str | None) -> Iterable[Job]:
        return runtime.store.find(Query(limit=PAGE, cursor=after)).jobs

    counts = task.state
    for job in task.iterate(source, cursor=cursor_at, total=sum(runtime.store.tally().values())):
        exchanged, unreadable = renew(runtime, cipher, job)
        counts["exchanged"] = counts.get("exchanged", 0) + exchanged
        counts["unreadable"] = counts.get("unreadable", 0) + unreadable
    return {"exchanged": counts.get("exchanged", 0), "unreadable": counts.get("unreadable", 0)}


def declare(app: Any) -> None:
    """Register the rotation's task with an app, which has keys."""
    if NAME not in app.tasks:
        app.task(name=NAME, base=CheckpointableTask, bind=True, shared=False)(rotate_all)
