"""What both databases keep beyond the contract: processes, forks, schema, awkward text."""

import multiprocessing
import os
import threading
import time
import uuid

import pytest

from milepost.errors import LeaseLostError, StoreError
from milepost.limits import Limit
from milepost.model import (
    NOTHING,
    Delivery,
    Delta,
    Granted,
    JobStatus,
    NewJob,
    Settlement,
    Signal,
)
from milepost.settings import Settings
from milepost.stores import open_store
from milepost.stores.sql import schema

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def settings():
    return Settings(namespace=f"n{uuid.uuid4().hex[:8]}")


@pytest.fixture
def store(url, settings):
    store = open_store(url, settings)
    yield store
    store.close()


def granted(store, job_id="j"):
    store.create(NewJob(job_id, "t", b"m"))
    return store.claim(Delivery(job_id, "t"), "w:1", 60.0).lease


def claim_all(url, settings, owner, ids, barrier, answers):
    store = open_store(url, settings)
    barrier.wait()
    won = [
        job_id
        for job_id in ids
        if isinstance(store.claim(Delivery(job_id, "t", 0, b"m"), owner, 60.0), Granted)
    ]
    answers.put(won)
    store.close()


def test_claimants_race_in_processes_from_the_first_use_on(url, settings):
    """Nothing exists yet: they also race for the schema and for the records."""
    ids = [uuid.uuid4().hex for _ in range(40)]
    barrier, answers = SPAWN.Barrier(3), SPAWN.Queue()
    racers = [
        SPAWN.Process(target=claim_all, args=(url, settings, f"w{n}:1", ids, barrier, answers))
        for n in range(3)
    ]
    for racer in racers:
        racer.start()
    won = [job_id for _ in racers for job_id in answers.get(timeout=60)]
    for racer in racers:
        racer.join()
    assert sorted(won) == sorted(ids)
    store = open_store(url, settings)
    assert {store.get(job_id).fence for job_id in ids} == {1}
    store.close()


def test_a_forked_child_leaves_its_parents_connection_alone(store):
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1"}))
    parent = store._database.sessions.get()
    calls = next(parent.calls)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            store.commit(lease, Delta({"b": b"2"}))
            mine = store._database.sessions.get()
            store.close()
            if mine is not parent and mine.closed and not parent.closed:
                status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert store._database.sessions.get() is parent
    assert next(parent.calls) == calls + 1
    store.commit(lease, Delta({"c": b"3"}))
    assert store.load("j") == {"a": b"1", "b": b"2", "c": b"3"}


def test_awkward_text_and_bytes_survive(store):
    lease = granted(store)
    every = bytes(range(256))
    store.commit(lease, Delta({"näme %s :x ' \N{SNOWMAN}": every, "empty": b""}))
    store.settle(
        lease, Settlement(JobStatus.FAILED, "nul \0 here", error="\0 \ud800 ok", result=every)
    )
    job = store.get("j")
    assert (job.reason, job.error) == ("nul \ufffd here", "\ufffd ? ok")
    assert job.result == every
    assert store.load("j") == {"näme %s :x ' \N{SNOWMAN}": every, "empty": b""}


def test_a_name_that_no_text_column_takes_is_a_store_error(store):
    lease = granted(store)
    with pytest.raises(StoreError):
        store.commit(lease, Delta({"\ud800": b"x"}))
    store.commit(lease, NOTHING)


def test_a_field_both_deleted_and_written_is_written(store):
    lease = granted(store)
    for delta in (
        Delta({"a": b"1", "b": b"1"}),
        Delta({"a": b"2"}, ("a", "b")),
        Delta({"a": b"3", "c": b"3"}, ("a", "c")),
    ):
        store.commit(lease, delta)
    assert store.load("j") == {"a": b"3", "c": b"3"}


# -- a commit that leaves the job's row as it is -------------------------------------------


def test_a_step_writes_the_row_only_when_it_must(store):
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1"}))
    first = store.get("j")
    store.commit(lease, Delta({"a": b"2"}))
    assert store.get("j") == first
    assert store.load("j") == {"a": b"2"}
    store.signal("j", Signal.DRAIN)
    assert store.commit(lease, Delta({"a": b"3"})) is Signal.DRAIN
    assert store.commit(lease, Delta({"a": b"4"})) is None
    assert store._call(lambda link, _: link.fetch(store._sql.read, {"id": "j"}))[0][-2] is None
    assert store.load("j") == {"a": b"4"}


def test_a_lease_that_ends_too_late_is_corrected(store, settings):
    """The clock was set back."""
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1"}))
    late = f"UPDATE {settings.namespace}_jobs SET lease_until = lease_until + 3600"
    store._call(lambda link, _: link.run(late, {}))
    before = store.get("j").lease_until
    store.commit(lease, Delta({"a": b"2"}))
    assert store.get("j").lease_until < before - 3000


def test_a_write_that_waited_for_a_takeover_is_refused(store, url, settings):
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1"}))
    other = open_store(url, settings)
    refused = []

    def write():
        try:
            other.commit(lease, Delta({"a": b"late"}))
        except LeaseLostError as exc:
            refused.append(exc)
        other.close()

    def take_over(link, _):
        with store._database.locked(link, "j"):
            writer = threading.Thread(target=write)
            writer.start()
            writer.join(0.2)
            assert writer.is_alive(), "it waits for the row"
            taken = f"UPDATE {settings.namespace}_jobs SET fence = fence + 1"
            link.run(taken, {})
        return writer

    store._call(take_over).join()
    assert len(refused) == 1
    assert store.load("j") == {"a": b"1"}


def test_lost_answer_of_a_write_before_a_signal(store):
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1"}))
    link, call, delta = store._database.sessions.get().link, 42, Delta({"a": b"2"})
    assert store._put(link, lease, delta, call) is None
    store.signal("j", Signal.DRAIN)
    for _ in range(2):
        assert store._put(link, lease, delta, call) is Signal.DRAIN
    assert store.commit(lease, delta) is None


# -- a call made again after its answer was lost -------------------------------------------


@pytest.fixture
def again(store, monkeypatch):
    """Let each verb do its work twice under one number, as after a lost answer."""

    def twice():
        call = store._call

        def doubled(work):
            def lost_then_found(link, number):
                work(link, number)
                return work(link, number)

            return call(lost_then_found)

        monkeypatch.setattr(store, "_call", doubled)

    return twice


def test_lost_answer_of_an_attempt(store, again):
    again()
    assert store.create(NewJob("j", "t", b"m", resend_after=0.0)) is True
    claim = store.claim(Delivery("j", "t"), "w:1", 60.0)
    assert isinstance(claim, Granted)
    assert (claim.lease.fence, claim.job.attempts) == (1, 1)
    store.signal("j", Signal.PAUSE)
    assert store.commit(claim.lease, Delta({"a": b"1"})) is Signal.PAUSE
    assert store.commit(claim.lease, NOTHING) is None
    store.settle(claim.lease, Settlement(JobStatus.INTERRUPTED, delay=0.0))
    assert store.get("j").interruptions == 1
    assert store.claim_recovery("j", 60.0) is not None
    assert store.claim_recovery("j", 60.0) is None
    assert isinstance(store.claim(Delivery("j", "t"), "w:1", 60.0), Granted)
    assert store.release("j", "w", "gone") is True
    assert store.get("j").crashes == 1
    assert store.signal("j", Signal.CANCEL).status is JobStatus.CANCELLED


def test_a_signal_between_the_two_sendings_is_not_lost(store):
    lease = granted(store)
    store.signal("j", Signal.DRAIN)
    link, call = store._database.sessions.get().link, 42
    assert store._commit(link, lease, NOTHING, call) is Signal.DRAIN
    store.signal("j", Signal.CANCEL)
    assert store._commit(link, lease, NOTHING, call) is Signal.DRAIN
    assert store.commit(lease, NOTHING) is Signal.CANCEL


# -- schema --------------------------------------------------------------------------------


def test_newer_schema_is_refused(store, url, settings):
    store.create(NewJob("j", "t", b"m"))
    link = store._database.sessions.get().link
    link.run(f"UPDATE {settings.namespace}_meta SET version = 99", {})
    store.close()
    with pytest.raises(StoreError, match=r"version 99.*upgrade milepost"):
        store.get("j")


def test_older_schema_is_migrated_once(store, url, settings, monkeypatch):
    store.create(NewJob("j", "t", b"m"))
    store.close()
    step = ("ALTER TABLE {jobs} ADD COLUMN mood {text}", "UPDATE {jobs} SET mood = 'calm'")
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, step))
    for _ in range(2):
        newer = open_store(url, settings)
        assert newer.get("j").status is JobStatus.PENDING
        link = newer._database.sessions.get().link
        assert link.fetch(f"SELECT mood FROM {settings.namespace}_jobs", {}) == [("calm",)]
        assert link.fetch(f"SELECT version FROM {settings.namespace}_meta", {}) == [
            (len(schema.STEPS),)
        ]
        newer.close()


def test_tables_of_the_first_version_are_brought_up_to_date(url, settings, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", (schema.FIRST,))
        old = open_store(url, settings)
        old.create(NewJob("j", "t", b"m"))
        old.close()
    new = open_store(url, settings)
    assert new.get("j").status is JobStatus.PENDING
    assert new.documents.write("d", b"x", version=0)
    new.close()


def test_a_failed_migration_changes_nothing(store, url, settings, monkeypatch):
    store.create(NewJob("j", "t", b"m"))
    store.close()
    step = ("ALTER TABLE {jobs} ADD COLUMN mood {text}", "UPDATE {jobs} SET nonsense = 1")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "STEPS", (*schema.STEPS, step))
        with pytest.raises(StoreError, match="nonsense"):
            store.get("j")
    assert store.get("j").status is JobStatus.PENDING


def test_two_namespaces_share_a_database(store, url):
    other = open_store(url, Settings(namespace=f"o{uuid.uuid4().hex[:8]}"))
    store.create(NewJob("j", "t", b"mine"))
    assert other.create(NewJob("j", "t", b"theirs"))
    assert (store.get("j").message, other.get("j").message) == (b"mine", b"theirs")
    other.close()


def test_limits_that_no_longer_matter_are_purged(store, settings):
    limits = store.limits
    limits.acquire("old", Limit(requests=1, per=0.01))
    limits.acquire("new", Limit(requests=1, per=600.0))
    limits.push("pushed", 600.0)
    limits.settle(limits.acquire("settled", Limit(tokens=9, per=0.01), 3).permit, 2)
    time.sleep(0.05)
    store.purge()
    names = f"SELECT name FROM {settings.namespace}_limits ORDER BY name"
    rows = store._call(lambda link, _: link.fetch(names, {}))
    assert [row[0] for row in rows] == ["new", "pushed"]
