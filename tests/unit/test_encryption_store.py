"""The store as encrypted tasks have it: the engine sees everything, the store nothing."""

from dataclasses import replace

import pytest

from harness import Bench, Killed, crash_everywhere
from milepost.codecs.encrypted import Cipher, is_record
from milepost.codecs.keyring import Key, Keyring
from milepost.engine.endings import Completed, Stopped
from milepost.errors import PlaintextError, TamperedError, ValueTooLargeError
from milepost.model import Delivery, Delta, JobStatus, NewJob, Progress, Settlement, Signal, Swap
from milepost.stores.memory import MemoryStore
from milepost.stores.names import NAMES
from milepost.stores.readable import readable, result_of
from milepost.stores.sealed import sealed
from milepost.testing import FakeClock
from milepost.testing.contracts import (
    CheckpointContract,
    ControlContract,
    DocumentsContract,
    EndingContract,
    LeaseContract,
    ListingContract,
    RecoveryContract,
    StartingContract,
)

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32, is_current=True)
CANARY = "canary-4711"


def cipher(*keys):
    return Cipher(Keyring(keys or [NEW]))


class SealedBench(Bench):
    """A bench whose store sees ciphertext only."""

    keys = (NEW,)
    accept_plaintext = False

    def attempt(self, kill_at=None, *, after=True):
        inner = self.runtime
        store = sealed(
            self.store, cipher(*self.keys), "task", accept_plaintext=self.accept_plaintext
        )
        self.runtime = replace(inner, store=store)
        try:
            return super().attempt(kill_at, after=after)
        finally:
            self.runtime = inner

    def readable_bytes(self):
        """Return all that the store has of the job, names included."""
        fields = self.inner.load("job")
        job = self.inner.get("job")
        parts = [*map(str.encode, fields), *fields.values(), job.result or b"", repr(job).encode()]
        return b"\n".join([*parts, repr(job.history).encode()])


def everything(task):
    """Use each way to keep something, with the canary in names, keys and values."""
    task.report(f"{CANARY} at work")
    task.state[CANARY] = CANARY
    task.step(lambda: CANARY, name=CANARY)
    keys = [f"{CANARY}-{n}" for n in range(3)]
    for item in task.iterate(keys, key=str, name=f"{CANARY}-loop", every=1):
        task.step(str, item)
    for _ in task.iterate(lambda after: [] if after else [CANARY], cursor=str, every=1):
        pass
    doubled = task.map(lambda item: item * 2, keys, key=str, name=f"{CANARY}-map")
    task.save_checkpoint("job", {CANARY: doubled})
    return [CANARY, task.state, doubled]


def test_nothing_readable_reaches_the_store():
    """Not in names, keys, values, progress, result or history; the job is none the wiser."""
    bench, plain = SealedBench(everything), Bench(everything)
    assert bench.attempt() == plain.attempt()
    assert CANARY.encode() not in bench.readable_bytes()
    job = bench.inner.get("job")
    assert all(is_record(data) for data in bench.inner.load("job").values())
    assert is_record(job.result)
    assert readable(job, cipher()).progress.message == f"{CANARY} at work"
    assert readable(job, None).progress.message == "***"
    assert bench.runtime.codec.decode(result_of(job, cipher()))[0] == CANARY


@pytest.mark.parametrize("after", [True, False])
def test_killed_at_every_write_it_goes_on_as_a_plain_job_does(after):
    """The same steps are kept, the same items left, whichever write was the last one."""
    ran = []

    def body(task):
        for item in task.iterate(["a", "b", "c"], key=str, every=1):
            task.step(ran.append, item)
        return task.map(str.upper, ["x", "y"], key=str)

    for bench in crash_everywhere(lambda: SealedBench(body), after=after):
        assert bench.runtime.codec.decode(result_of(bench.job, cipher())) == ["X", "Y"]
    sealed_runs, ran[:] = list(ran), []
    crash_everywhere(lambda: Bench(body), after=after)
    assert sealed_runs == ran


def test_a_field_that_is_written_again_takes_its_own_place():
    """Also under another key, and by another attempt: names outlive rotations."""

    def body(task):
        for item in task.iterate(range(10), every=1):
            if item == 5 and task.job.attempts == 1:
                raise Killed
        return "done"

    bench = SealedBench(body)
    bench.keys = (replace(OLD, is_current=True),)
    with pytest.raises(Killed):
        bench.attempt()
    before = set(bench.inner.load("job"))
    bench.lapse()
    bench.keys = (OLD, NEW)
    assert bench.attempt() == Completed("done")
    # The cursor gave way to the end's mark.
    assert len(set(bench.inner.load("job")) - before) == 1
    assert len(bench.inner.load("job")) == len(before)


def test_a_job_whose_key_is_missing_is_parked_with_everything():
    """Its steps and its progress are untouched, and the reason names the key."""

    def body(task):
        task.step(str, "x")
        task.report("half", done=3, total=6)
        task.checkpoint()
        if task.job.attempts == 1:
            raise Killed
        return "done"

    bench = SealedBench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    kept, progress = bench.inner.load("job"), bench.job.progress
    bench.keys = (replace(OLD, is_current=True),)
    ending = bench.attempt()
    assert isinstance(ending, Stopped)
    assert ending.status is JobStatus.PAUSED
    assert bench.job.reason == (
        "needs-key: job: checkpoint: its key 'new' is not in the keyring: add it, or it is lost"
    )
    assert (bench.inner.load("job"), bench.job.progress) == (kept, progress)
    bench.keys = (NEW,)
    bench.resume()
    assert bench.attempt() == Completed("done")


def test_errors_and_reasons_are_ciphertext():
    """Only the class' name, and milepost's own words, are in the clear."""

    def body(task):
        raise ValueError(CANARY)

    bench = SealedBench(body)
    with pytest.raises(ValueError):
        bench.attempt()
    assert CANARY.encode() not in bench.readable_bytes()
    assert bench.job.error.startswith("ValueError: mp1.")
    assert bench.job.history[-1].note == "ValueError: ***"
    assert readable(bench.job, cipher()).error == f"ValueError: {CANARY}"
    assert readable(bench.job, cipher(OLD)).error == "ValueError: ***"


@pytest.fixture
def failed():
    """A store with a job that has an error, a reason and a progress message."""
    inner = MemoryStore(FakeClock())
    store = sealed(inner, cipher(), "task")
    store.create(NewJob("job", "task", b""))
    lease = store.claim(Delivery("job", "task"), "w:1", 60.0).lease
    end = Settlement(JobStatus.FAILED, "stopped: by Ann", error="ValueError: 3")
    store.settle(lease, replace(end, delta=Delta({}, (), Progress(1, 2, "at work"))))
    return inner


def texts(inner, *, accept_plaintext=False, **changes):
    """Return a job's texts as its task's store shows them, once somebody has changed them."""
    job = inner.get("job")
    before = {"error": job.error, "reason": job.reason, "doing": job.progress.message}
    swaps = [Swap(name, before[name], after, of_record=True) for name, after in changes.items()]
    inner.exchange("job", swaps)
    shown = sealed(inner, cipher(), "task", accept_plaintext=accept_plaintext).get("job")
    return shown.error, shown.reason, shown.progress.message


def test_each_text_opens_as_itself_only(failed):
    assert texts(failed) == ("ValueError: 3", "stopped: by Ann", "at work")
    job = failed.get("job")
    words = job.error.removeprefix("ValueError: ")
    moved = texts(failed, error=job.reason, reason=f"stopped: {words}", doing=words)
    assert moved == ("stopped: ***", "stopped: ***", "***")


def test_the_class_of_an_error_is_bound_to_its_words(failed):
    words = failed.get("job").error.removeprefix("ValueError: ")
    assert texts(failed, error=f"KeyError: {words}")[0] == "KeyError: ***"
    assert texts(failed, error=words)[0] == "***"


def test_texts_in_the_clear_are_not_shown_but_for_our_own_words(failed):
    forged = {"error": "ValueError: pay Bob", "doing": "pay Bob"}
    assert texts(failed, **forged) == ("ValueError: ***", "stopped: by Ann", "***")
    assert texts(failed, accept_plaintext=True)[::2] == ("ValueError: pay Bob", "pay Bob")
    quoting = f"pay {failed.get('job').reason.removeprefix('stopped: ')}"
    assert texts(failed, doing=quoting)[2] == "***"
    ended = "its process died: signal 9"  # by a keeper, which has no key
    assert texts(failed, error=ended, reason=ended)[:2] == (ended, ended)
    assert texts(failed, error="cancelled by force")[0] == "cancelled by force"


def test_a_misfit_does_not_tell_names():
    def first(task):
        task.step(str, CANARY, name=CANARY)
        raise Killed

    bench = SealedBench(first)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.body, bench.code = lambda task: task.step(str, 1, name="other"), "code-2"
    assert isinstance(bench.attempt(), Stopped)
    assert bench.job.reason.startswith("needs-migration: mp1.")
    assert CANARY in readable(bench.job, cipher()).reason
    assert CANARY.encode() not in bench.readable_bytes()


def start(*, keys=(NEW,), accept=False, inner=None, fence_from=None):
    inner = inner or MemoryStore(FakeClock())
    store = sealed(inner, cipher(*keys), "task", accept_plaintext=accept)
    return inner, store


def granted(store, number=0):
    from milepost.model import Delivery

    return store.claim(Delivery("job", "task", number, b"m"), "w:1", 3.0).lease


def test_a_value_that_is_moved_is_refused():
    """To another field, another job or another task: nothing opens where it was not made."""
    inner, store = start()
    lease = granted(store)
    store.commit(lease, Delta({"sa": b"1", "sb": b"2"}))
    fields = dict(inner.load("job"))
    names = sorted(set(fields) - {NAMES})
    a, b = (fields[name] for name in names)
    inner.commit(lease, Delta({names[0]: b, names[1]: a}))
    with pytest.raises(TamperedError, match="job: checkpoint"):
        start(inner=inner)[1].load("job")
    inner.commit(lease, Delta({names[0]: a, names[1]: b}))
    assert dict(start(inner=inner)[1].load("job")) == {"sa": b"1", "sb": b"2"}
    with pytest.raises(TamperedError):
        sealed(inner, cipher(), "other").load("job")


def test_a_value_of_a_later_attempt_is_refused():
    """A record cannot claim to be newer than the attempt that reads it."""
    inner, store = start()
    lease = granted(store)
    store.commit(replace(lease), Delta({"sa": b"1"}))
    newer = replace(lease, fence=lease.fence)
    other = start(inner=inner)[1]
    other.load("job")
    data = other._sealed(replace(newer, fence=9), Delta({"sa": b"2"}))
    inner.commit(lease, data)
    reader = start(inner=inner)[1]
    granted(reader, number=1)
    with pytest.raises(TamperedError):
        reader.load("job")


def test_plaintext_is_refused_until_a_migration_is_declared():
    """Old fields are then taken, and leave as soon as they are written again."""
    inner, store = start()
    lease = granted(store)
    inner.commit(lease, Delta({"sold": b"1", "crows": b"2"}))
    with pytest.raises(PlaintextError):
        store.load("job")
    migrating = start(inner=inner, accept=True)[1]
    assert dict(migrating.load("job")) == {"sold": b"1", "crows": b"2"}
    migrating.commit(lease, Delta({"crows": b"3"}, ["sold"]))
    assert set(inner.load("job")) & {"sold", "crows"} == set()
    assert dict(start(inner=inner)[1].load("job")) == {"crows": b"3"}


def test_a_restart_that_keeps_steps_drops_the_rest_by_its_stored_name():
    inner, store = start()
    lease = granted(store)
    store.commit(lease, Delta({"sa": b"1", "crows": b"2"}))
    store.settle(lease, Settlement(JobStatus.FAILED, error="E: x"))
    later = start(inner=inner)[1]
    later.load("job")
    from milepost.history import Act

    later.reopen("job", Act.RESTART, drop=["crows"])
    assert dict(start(inner=inner)[1].load("job")) == {"sa": b"1"}


def test_a_progress_message_does_not_grow_over_attempts():
    """It comes back as words, and is not encrypted twice."""

    def body(task):
        if task.job.attempts == 1:
            task.report("words")
            task.checkpoint()
            raise Killed
        assert task.progress == Progress(0, None, "words")
        return "done"

    bench = SealedBench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    assert bench.attempt() == Completed("done")
    assert readable(bench.job, cipher()).progress.message == "words"


def test_signals_come_through():
    def body(task):
        for item in task.iterate(range(5), every=1):
            if item == 2:
                bench.signal(Signal.PAUSE)

    bench = SealedBench(body)
    assert isinstance(bench.attempt(), Stopped)
    assert bench.job.reason == "paused"


class TestSealedStoreKeepsTheContract(
    StartingContract,
    CheckpointContract,
    EndingContract,
    LeaseContract,
    ControlContract,
    ListingContract,
    RecoveryContract,
    DocumentsContract,
):
    """The sealed store is a store: every rule of the contract holds through it.

    But for that of exchanging, which deals with what is stored as it is stored.
    """

    LIMIT = 1024 * 1024

    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def store(self, clock):
        self.clock = clock
        inner = MemoryStore(clock, retention=self.RETENTION, max_value_bytes=self.LIMIT)
        return sealed(inner, Cipher(Keyring([NEW]), None), "t")

    def elapse(self, seconds):
        self.clock.advance(seconds)

    def test_oversized_value_writes_nothing(self, store):
        """As the contract has it, but for the field's name, which an error would tell to logs."""
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        with pytest.raises(ValueTooLargeError) as caught:
            store.commit(lease, Delta({"small": b"1", "big": b"x" * (self.LIMIT + 1)}))
        assert caught.value.field == "big"  # the engine goes by it
        assert "big" not in repr(caught.value) + str(caught.value)
        assert store.load(job_id) == {}
