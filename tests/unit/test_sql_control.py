"""How both databases keep control, history and pages beyond the contract."""

import uuid

import pytest

from milepost import history
from milepost.errors import InvalidTransitionError
from milepost.history import Act
from milepost.model import (
    NOTHING,
    Delivery,
    Delta,
    JobStatus,
    NewJob,
    Progress,
    Settlement,
    Signal,
)
from milepost.query import Query
from milepost.settings import Settings
from milepost.stores import open_store


@pytest.fixture
def settings():
    return Settings(namespace=f"n{uuid.uuid4().hex[:8]}")


@pytest.fixture
def store(url, settings):
    store = open_store(url, settings)
    yield store
    store.close()


@pytest.fixture
def other(url, settings):
    other = open_store(url, settings)
    yield other
    other.close()


def granted(store, job_id="j"):
    store.create(NewJob(job_id, "t", b"m"))
    return store.claim(Delivery(job_id, "t"), "w:1", 60.0).lease


def acts(store, job_id="j"):
    return [entry.act for entry in store.get(job_id).history]


def test_what_people_say_is_cleaned_as_other_text_is(store):
    awkward = "nul \0 \ud800 \N{SNOWMAN}"
    metadata = {awkward: [awkward]}
    store.create(NewJob("j", "t", b"m", owner=awkward, idempotency_key=awkward, metadata=metadata))
    assert store.get("j").owner == "nul \ufffd ? \N{SNOWMAN}"
    assert store.get("j").metadata == metadata
    assert [job.id for job in store.find(Query(owner=awkward)).jobs] == ["j"]
    lease = granted(store)
    store.commit(lease, Delta(progress=Progress(1, None, awkward)))
    assert store.get("j").progress.message == "nul \ufffd ? \N{SNOWMAN}"
    store.signal("j", Signal.PAUSE, by=awkward)
    store.settle(lease, Settlement(JobStatus.PAUSED, f"{awkward}\n\t'%s :x ?"))
    by, note = store.get("j").history[0].by, store.get("j").history[1].note
    assert (by, note) == ("nul   ? \N{SNOWMAN}", "nul   ? \N{SNOWMAN}  '%s :x ?")


# -- history and pages ---------------------------------------------------------------------


def test_history_of_a_job_that_settles_for_ever_is_bounded(store, settings):
    store.create(NewJob("j", "t", b"m"))
    for n in range(history.LONGEST // 200 + 20):
        lease = store.claim(Delivery("j", "t"), "w:1", 60.0).lease
        store.settle(
            lease, Settlement(JobStatus.INTERRUPTED, f"{n} " + "\N{SNOWMAN}" * 300, delay=0.0)
        )
    sql = f"SELECT length(history) FROM {settings.namespace}_jobs"
    ((length,),) = store._call(lambda link, _: link.fetch(sql, {}))
    assert length < history.LONGEST + 300
    job = store.get("j")
    assert job.history[-1].note.startswith(f"{n} ")
    assert len(job.history) > 30
    assert all(entry.at >= job.created_at - 0.001 for entry in job.history)


def test_a_lease_that_lapsed_leaves_its_owner_in_the_history(store):
    store.create(NewJob("j", "t", b"m"))
    store.claim(Delivery("j", "t"), "old?:1", 0.0)
    job = store.claim(Delivery("j", "t"), "new:1", 60.0).job
    assert [(e.act, e.by, e.note) for e in job.history] == [
        ("crash", "old?:1", "its worker died"),
    ]
    assert acts(store) == ["crash"]


def test_pages_of_jobs_of_one_moment(store, settings):
    """Their ids alone keep them apart, and the moment must come back exactly as it was."""
    ids = ["B", "a", "b", "ä", "\N{SNOWMAN}", "\N{GRINNING FACE}", ":", "1:2"]
    for job_id in ids:
        store.create(NewJob(job_id, "t", b"m"))
    moment = 1_700_000_000.1 + 2**-22
    same = f"UPDATE {settings.namespace}_jobs SET created_at = {moment!r}"
    store._call(lambda link, _: link.run(same, {}))
    seen, cursor = [], None
    while cursor is not None or not seen:
        page = store.find(Query(limit=3, since=moment, cursor=cursor))
        seen += [job.id for job in page.jobs]
        cursor = page.cursor
    assert seen == sorted(ids, reverse=True)
    assert page.jobs[-1].created_at == moment


# -- a call made again after its answer was lost -------------------------------------------


def test_lost_answer_of_control(store, monkeypatch):
    for job_id in ("j", "later"):
        store.create(NewJob(job_id, "t", b"m", delay=60.0 if job_id == "later" else 0.0))
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1", "b": b"2"}))
    call = store._call

    def twice(work):
        return call(lambda link, number: (work(link, number), work(link, number))[1])

    monkeypatch.setattr(store, "_call", twice)
    assert store.wake("later").status is JobStatus.PENDING
    assert acts(store, "later") == ["wake"]
    assert store.signal("j", Signal.PAUSE).signal is Signal.PAUSE
    assert store.resume("j").signal is None
    assert store.signal("j", Signal.CANCEL, force=True).worker == "w:1"
    assert store.reopen("j", Act.RETRY, drop=["a"]).status is JobStatus.PENDING
    assert store.load("j") == {"b": b"2"}
    assert acts(store) == ["pause", "resume", "cancel", "retry"]


def work_between(store, monkeypatch, between):
    """Do something of somebody else's between the two sendings of the next call."""
    call = store._call

    def broken(work):
        def lost_then_found(link, number):
            work(link, number)
            monkeypatch.setattr(store, "_call", call)
            between()
            return work(link, number)

        return call(lost_then_found)

    monkeypatch.setattr(store, "_call", broken)


def test_signal_that_was_obeyed_between_the_two_sendings(store, other, monkeypatch):
    lease = granted(store)
    work_between(store, monkeypatch, lambda: other.commit(lease, NOTHING))
    assert store.signal("j", Signal.DRAIN, by="ann").status is JobStatus.RUNNING
    assert store.commit(lease, NOTHING) is None
    assert acts(store) == ["drain"]


def test_reopened_job_that_began_between_the_two_sendings(store, other, monkeypatch):
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1"}))
    store.settle(lease, Settlement(JobStatus.FAILED, error="boom"))

    def begin():
        lease = other.claim(Delivery("j", "t"), "w:2", 60.0).lease
        other.commit(lease, Delta({"a": b"2"}))

    work_between(store, monkeypatch, begin)
    assert store.reopen("j", Act.RESTART, drop=None).fence == 2
    assert store.load("j") == {"a": b"2"}
    assert acts(store) == ["failed", "restart"]


def test_attempts_calls_are_known_again_after_a_word_from_outside(store, other, monkeypatch):
    lease = granted(store)
    store.signal("j", Signal.DRAIN)
    work_between(store, monkeypatch, lambda: other.signal("j", Signal.CANCEL, force=True))
    store.settle(lease, Settlement(JobStatus.INTERRUPTED, "drained", delay=0.0))
    assert store.get("j").status is JobStatus.CANCELLED
    assert acts(store) == ["drain", "interrupted", "cancel"]


# -- reopening -----------------------------------------------------------------------------


def test_a_refused_reopen_drops_nothing(store):
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1"}))
    with pytest.raises(InvalidTransitionError):
        store.reopen("j", Act.RESTART, drop=None)
    assert store.load("j") == {"a": b"1"}
    assert acts(store) == []


def test_kept_tells_whether_fields_are_left(store):
    for drop, resumed in ((["a"], True), (["b"], False)):
        lease = granted(store)
        if drop == ["a"]:
            store.commit(lease, Delta({"a": b"1", "b": b"2"}))
        store.settle(lease, Settlement(JobStatus.FAILED))
        store.reopen("j", Act.RETRY, drop=drop)
        claim = store.claim(Delivery("j", "t"), "w:1", 60.0)
        assert claim.resumed is resumed
        store.settle(claim.lease, Settlement(JobStatus.INTERRUPTED, delay=0.0))


def test_a_step_after_a_restart_is_seen_as_a_checkpoint_again(store):
    lease = granted(store)
    store.commit(lease, Delta({"a": b"1"}))
    store.settle(lease, Settlement(JobStatus.SUCCEEDED))
    store.reopen("j", Act.RESTART, drop=None)
    lease = granted(store)
    store.commit(lease, Delta({"a": b"2"}))
    store.release("j", "w", "gone")
    assert store.claim(Delivery("j", "t"), "w:1", 60.0).resumed is True
