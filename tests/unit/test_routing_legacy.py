"""The manager of jobs in threads: on record, steered, and honest about its death."""

import itertools
import logging
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest

from deliveries import make_app
from milepost.engine.aftermath import Aftermath
from milepost.engine.recovery import GONE, Keeper
from milepost.errors import (
    ConfigurationError,
    InvalidTransitionError,
    JobFailedError,
    JobNotFoundError,
    StoreUnavailableError,
)
from milepost.jobs import Handover
from milepost.model import JobStatus, NewJob
from milepost.routing import BackgroundJobManager
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    return make_app(milepost={"store": MemoryStore(clock), "clock": clock})


@pytest.fixture
def gate():
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def manager(app, gate):
    manager = BackgroundJobManager(app, threads=1)

    @manager.job_type("double")
    def double(number):
        return number * 2

    @manager.job_type("fail")
    def fail():
        raise ValueError("no luck")

    @manager.job_type("wait")
    def wait():
        assert gate.wait(30)

    @manager.job_type("steps", bind=True)
    def steps(run, upto):
        position = run.saved or 0
        if position == 0 and run.adopted is not None:
            position = run.adopted["loops"]["rows"][0]
        begun.append(position)
        for number in range(position, upto):
            run.save(number + 1, done=number + 1, total=upto)
            reached.put(number + 1)
            assert go.acquire(timeout=30)
        return upto

    import queue

    begun, reached, go = [], queue.Queue(), threading.Semaphore(0)
    manager.begun, manager.reached, manager.go = begun, reached, go
    yield manager
    gate.set()
    go.release(1000)
    manager.close()


def test_a_job_runs_and_is_on_record(manager):
    job_id = manager.create_job("double", {"number": 4}, owner="ann", metadata={"a": 1})
    assert manager.result(job_id, timeout=30) == 8
    report = manager.get_job_status(job_id)
    assert (report.job_type, report.status, report.owner, report.metadata) == (
        *("double", "succeeded", "ann", {"a": 1}),
    )


def test_a_failure_is_on_record(manager):
    job_id = manager.create_job("fail")
    with pytest.raises(JobFailedError, match="no luck"):
        manager.result(job_id, timeout=30)
    manager.create_job("fail")
    manager.close()
    assert (manager.counts("fail").failed, manager.counts("fail").error_rate) == (2, 1.0)
    assert manager.counts("double").ended == 0


def test_what_nobody_does_is_refused(manager):
    with pytest.raises(ConfigurationError, match="known are: double, fail, steps, wait"):
        manager.create_job("triple")


def test_a_key_gives_one_job(manager):
    ids = {manager.create_job("double", {"number": 1}, idempotency_key="k") for _ in range(3)}
    assert len(ids) == 1


def test_a_key_starts_what_nobody_has_started(app, manager, monkeypatch):
    """The first call died, or lost the store, between the record and its claim."""
    store = app.milepost.store

    def fail(*args, **kwargs):
        raise StoreUnavailableError("memory://", "gone for a moment")

    with monkeypatch.context() as patch:
        patch.setattr(store, "claim", fail)
        with pytest.raises(StoreUnavailableError):
            manager.create_job("double", {"number": 4}, idempotency_key="k")
    job_id = manager.create_job("double", {"number": 4}, idempotency_key="k")
    assert manager.result(job_id, timeout=10) == 8
    assert manager.create_job("double", {"number": 4}, idempotency_key="k") == job_id
    assert manager.counts("double").ended == 1


def test_what_waits_for_a_thread_is_pending(manager, gate):
    first, second = manager.create_job("wait"), manager.create_job("wait")
    until(lambda: manager.get_job_status(first).status == "running")
    assert manager.get_job_status(second).status == "pending"
    assert manager.cancel(second).status is JobStatus.CANCELLED
    gate.set()
    manager.close()
    assert manager.get_job_status(first).status == "succeeded"
    assert manager.get_job_status(second).status == "cancelled"
    with pytest.raises(ConfigurationError, match="closed"):
        manager.create_job("wait")


def until(condition):
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not come to that")


def test_pause_and_resume(manager):
    """It stops where it saves, and goes on there."""
    job_id = manager.create_job("steps", {"upto": 5})
    assert manager.reached.get(timeout=30) == 1
    manager.pause(job_id, by="ann")
    manager.go.release()
    until(lambda: manager.get_job_status(job_id).status == "paused")
    manager.resume(job_id, by="ann")
    manager.go.release(10)
    assert manager.result(job_id, timeout=30) == 5
    assert manager.begun == [0, 2]
    report = manager.get_job_status(job_id)
    assert (report.done, report.total) == (5, 5)


def test_another_process_cannot_resume_it(app, manager):
    job_id = manager.create_job("steps", {"upto": 5})
    manager.reached.get(timeout=30)
    manager.pause(job_id)
    manager.go.release()
    until(lambda: manager.get_job_status(job_id).status == "paused")
    with pytest.raises(InvalidTransitionError, match="the process that has it"):
        BackgroundJobManager(app).resume(job_id)
    manager.cancel(job_id)
    assert manager.get_job_status(job_id).status == "cancelled"


def test_a_running_job_is_cancelled_where_it_saves(manager):
    job_id = manager.create_job("steps", {"upto": 5})
    manager.reached.get(timeout=30)
    manager.cancel(job_id)
    manager.go.release()
    until(lambda: manager.get_job_status(job_id).status == "cancelled")
    with pytest.raises(InvalidTransitionError):
        manager.resume(job_id)


def test_an_adopted_job_goes_on_where_it_was(manager):
    """Asked twice, it is the same job."""
    handover = Handover("celery-id", "steps", {"upto": 5})
    manager.go.release(10)
    ids = {manager.adopt(handover, {"loops": {"rows": [3, 3]}}) for _ in range(2)}
    (job_id,) = ids
    assert manager.result(job_id, timeout=30) == 5
    assert manager.begun == [3]


def test_it_knows_only_its_own_jobs(app, manager):
    app.milepost.store.create(NewJob("other", "some.task", b"message"))
    for verb in (manager.get_job_status, manager.pause, manager.resume, manager.cancel):
        for job_id in ("other", "nothing"):
            with pytest.raises(JobNotFoundError):
                verb(job_id)


def dead_job(app, manager, clock):
    """Return the id of a job whose process has died: nobody renews its lease."""
    job_id = manager.create_job("wait")
    until(lambda: app.milepost.jobs.get(job_id).moved_at is not None)
    manager._running.clear()
    clock.advance(100.0)
    return job_id


def test_leases_that_are_not_renewed_are_not_well_because_nothing_runs(
    app, clock, caplog, monkeypatch
):
    caplog.set_level(logging.INFO, "milepost")
    manager, renew = BackgroundJobManager(app), app.milepost.store.renew

    def away(*_):
        raise StoreUnavailableError("memory://", "nobody home")

    def turn(number):
        """Go on to the next round: first one has nothing to do, then one goes well."""
        clock.advance(5.0)
        manager._running = {1: {}, 2: {"job": 1}}.get(number, {})
        monkeypatch.setattr(app.milepost.store, "renew", renew)
        if number == 3:
            manager._closing.set()

    manager._running = {"job": 1}
    monkeypatch.setattr(app.milepost.store, "renew", away)
    turns = itertools.count(1)
    own_time = SimpleNamespace(sleep=lambda _: turn(next(turns)))
    monkeypatch.setattr("milepost.routing.legacy.time", own_time)
    manager._renew()
    assert [record.getMessage() for record in caplog.records if record.name == "milepost"][1:] == [
        "over after 10 s: leases are not renewed"
    ]


def test_the_death_of_its_process_is_seen_by_whoever_looks(app, manager, clock):
    report = BackgroundJobManager(app).get_job_status(dead_job(app, manager, clock))
    assert (report.status, report.error) == ("failed", GONE)


def test_the_death_of_its_process_is_seen_by_a_keeper(app, manager, clock):
    """A job without a message is sent to nobody."""
    job_id = dead_job(app, manager, clock)
    resent = []
    keeper = Keeper(
        app.milepost.runtime,
        "keeper",
        resend=lambda job, finishing: resent.append(job),
        is_lost=lambda job: True,
        aftermath=lambda job: Aftermath.DONE,
    )
    keeper.recover()
    assert (app.milepost.jobs.get(job_id).status, resent) == (JobStatus.FAILED, [])
    assert app.milepost.jobs.get(job_id).error == GONE


def test_a_held_place_that_nobody_takes_is_given_up(app, clock):
    """Its key is free again after that."""
    from milepost.routing import pins

    store = app.milepost.store
    assert pins.hold(store, "place", "task", "k", None, {})
    keeper = Keeper(
        app.milepost.runtime,
        "keeper",
        resend=lambda job, finishing: None,
        is_lost=lambda job: True,
        aftermath=lambda job: Aftermath.DONE,
    )
    clock.advance(60.0)
    keeper.recover()
    assert store.get("place").status is JobStatus.PENDING
    clock.advance(pins.ABANDONED_AFTER)
    keeper.recover()
    with pytest.raises(JobNotFoundError):
        store.get("place")


def test_the_manager_of_celerys_jobs_starts_none_of_these(app, manager):
    """They have no message: what it let go on would wait for ever, and end as lost."""
    job_id = manager.create_job("fail")
    with pytest.raises(JobFailedError):
        manager.result(job_id, timeout=10)
    for act in (app.milepost.jobs.retry, app.milepost.jobs.restart):
        with pytest.raises(InvalidTransitionError, match="another system has it"):
            act(job_id)
    assert manager.get(job_id).status is JobStatus.FAILED


def test_the_manager_of_celerys_jobs_resumes_none_of_these(app, manager):
    job_id = manager.create_job("steps", {"upto": 5})
    assert manager.reached.get(timeout=30) == 1
    app.milepost.jobs.pause(job_id)
    manager.go.release()
    until(lambda: manager.get_job_status(job_id).status == "paused")
    with pytest.raises(InvalidTransitionError, match="another system has it"):
        app.milepost.jobs.resume(job_id)
    manager.resume(job_id)
    manager.go.release(10)
    assert manager.result(job_id, timeout=30) == 5


def paused(manager):
    """Return the id of a job that was paused where it saved."""
    job_id = manager.create_job("steps", {"upto": 5})
    assert manager.reached.get(timeout=30) == 1
    manager.pause(job_id)
    manager.go.release()
    until(lambda: manager.get_job_status(job_id).status == "paused")
    return job_id


def test_a_job_resumed_before_its_old_thread_is_done_keeps_its_lease(clock):
    """The old run takes its own name off the list of what runs, never the new one's."""
    store, done, renewed = MemoryStore(clock), threading.Event(), []
    app = make_app(milepost={"store": store, "clock": clock, "renew_seconds": 0.01})
    manager = BackgroundJobManager(app, threads=2)
    go, running = threading.Semaphore(0), []

    @manager.job_type("steps", bind=True)
    def steps(run):
        running.append(threading.current_thread())
        while not done.is_set():
            run.save(None)
            go.acquire(timeout=30)

    settle, renew, settled = store.settle, store.renew, threading.Semaphore(0)

    def settle_and_dawdle(lease, settlement):
        settle(lease, settlement)
        if settlement.status is JobStatus.PAUSED:
            assert settled.acquire(timeout=30)

    forget = manager._forget_if_ended
    forgotten = threading.Event()
    manager._forget_if_ended = lambda job_id: (forget(job_id), forgotten.set())
    store.settle = settle_and_dawdle
    store.renew = lambda owner, ids: (renewed.append(tuple(ids)), renew(owner, ids))[1]
    job_id = manager.create_job("steps")
    until(lambda: running)
    manager.pause(job_id)
    go.release()
    until(lambda: manager.get_job_status(job_id).status == "paused")
    manager.resume(job_id)
    until(lambda: len(running) == 2)
    settled.release()
    assert forgotten.wait(30)
    renewed.clear()
    until(lambda: (job_id,) in renewed)
    done.set()
    go.release(100)
    manager.close()
    assert manager.get(job_id).status is JobStatus.SUCCEEDED


def test_a_job_that_obeys_a_pause_while_it_is_resumed_goes_on(app, manager):
    """Whoever resumes it has seen it running: nobody else would start it."""
    job_id = paused(manager)
    seen = manager.get(job_id)
    get = manager.get
    manager.get = lambda job_id: replace(seen, status=JobStatus.RUNNING)
    manager.resume(job_id)
    manager.get = get
    manager.go.release(10)
    assert manager.result(job_id, timeout=30) == 5


def test_a_closed_manager_resumes_nothing(manager):
    """The job stays paused: it is not claimed for a thread that never comes."""
    job_id = paused(manager)
    manager.close()
    with pytest.raises(ConfigurationError, match="closed"):
        manager.resume(job_id)
    assert manager.get(job_id).status is JobStatus.PAUSED
    assert manager.cancel(job_id).status is JobStatus.CANCELLED


def test_closing_waits_for_a_job_that_is_being_started(app, manager, gate):
    """It is recorded, claimed and run, and not left between two of these."""
    store, recorded, go_on = app.milepost.store, threading.Event(), threading.Event()
    create, ids = store.create, []

    def create_and_dawdle(new):
        create(new)
        recorded.set()
        assert go_on.wait(30)

    store.create = create_and_dawdle
    caller = threading.Thread(
        target=lambda: ids.append(manager.create_job("double", {"number": 4}))
    )
    caller.start()
    assert recorded.wait(30)
    closer = threading.Thread(target=manager.close)
    closer.start()
    until(manager._closing.is_set)
    go_on.set()
    caller.join(30)
    closer.join(30)
    assert manager.result(ids[0], timeout=30) == 8
