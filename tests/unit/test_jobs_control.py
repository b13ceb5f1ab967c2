"""The manager: keys, lists, restarts, explanations, and what Celery is told of it all."""

import pickle
import threading
from datetime import UTC, datetime, timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from celery.backends.cache import CacheBackend
from celery.backends.rpc import RPCBackend
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError

from deliveries import deliver, make_app, record, sent
from milepost import CheckpointableTask
from milepost.engine.recovery import AGAIN_AFTER
from milepost.errors import (
    BrokerUnavailableError,
    CheckpointError,
    ConfigurationError,
    InvalidTransitionError,
)
from milepost.jobs.bulk import Bulk
from milepost.jobs.patience import attempt
from milepost.model import JobStatus, NewJob, Progress
from milepost.stores.memory import MemoryStore
from milepost.tasks import announce
from milepost.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def app(clock):
    return make_app(milepost={"store": MemoryStore(clock), "clock": clock})


@pytest.fixture
def jobs(app):
    return app.milepost.jobs


@pytest.fixture
def task(app):
    @app.task(base=CheckpointableTask, bind=True, name="work")
    def work(self, to=3, fail_at=None, pause_at=None):
        self.step(str, "once", name="once")
        for item in self.iterate(range(to), every=1):
            if item == fail_at and not self.job.history:
                raise ValueError("not this one")
            if item == pause_at and not self.job.history:
                app.milepost.jobs.pause(self.job.id, by="ann")
        return self.progress.done

    app.finalize()
    return app.tasks["work"]


def run(task, job, **options):
    sent(task.app)
    return deliver(task, job_id=job.id, kwargs=options.pop("kwargs", {}), **options)


# -- making ----------------------------------------------------------------------------------


def test_the_same_key_gives_the_same_job(app, jobs, task):
    """Once, whoever asks and however often, and only one message is sent."""
    first = jobs.create("work", {"to": 1}, idempotency_key="users-2026-11", owner="ann")
    again = jobs.create(task, {"to": 2}, idempotency_key="users-2026-11", owner="bob")
    assert again == first
    assert (first.owner, first.idempotency_key) == ("ann", "users-2026-11")
    assert len(sent(app)) == 1
    assert jobs.create("work", idempotency_key="users-2026-12").id != first.id


def test_a_key_is_not_spent_on_arguments_that_the_task_does_not_take(app, jobs, task):
    """Nothing is recorded: a keeper would try for ever to send what Celery refuses."""
    with pytest.raises(TypeError, match="steps"):
        jobs.create("work", {"steps": 1}, idempotency_key="k")
    assert jobs.find().jobs == ()
    assert jobs.create("work", {"to": 1}, idempotency_key="k").status is JobStatus.PENDING
    assert len(sent(app)) == 1


def test_a_key_is_of_its_task(app, jobs, task):
    @app.task(base=CheckpointableTask, name="other")
    def other():
        pass

    app.finalize()
    one = jobs.create("work", idempotency_key="k")
    two = jobs.create("other", idempotency_key="k")
    assert one.id != two.id


def test_a_key_gives_a_job_that_has_ended_too(jobs, task):
    job = jobs.create("work", idempotency_key="k")
    run(task, job)
    assert jobs.create("work", idempotency_key="k").status is JobStatus.SUCCEEDED


def test_a_keyed_job_stays_when_it_cannot_be_sent(app, jobs, task, monkeypatch):
    """Somebody else may have been told of it; a keeper will send it."""

    def refuse(*args, **kwargs):
        raise OSError("no broker")

    monkeypatch.setattr("celery.Task.apply_async", refuse)
    with pytest.raises(BrokerUnavailableError, match="no broker"):
        jobs.create("work", idempotency_key="k")
    with pytest.raises(BrokerUnavailableError, match="no broker"):
        jobs.create("work", task_id="unkeyed")
    monkeypatch.undo()
    assert [job.idempotency_key for job in jobs.find().jobs] == ["k"]
    assert jobs.create("work", idempotency_key="k").status is JobStatus.PENDING
    assert sent(app) == []


@pytest.mark.parametrize("key", ["", 7, "x" * 256])
def test_a_key_that_is_none(jobs, task, key):
    with pytest.raises(ConfigurationError, match="idempotency_key"):
        jobs.create("work", idempotency_key=key)


def test_a_key_and_an_id(jobs, task):
    with pytest.raises(ConfigurationError, match="both name the job"):
        jobs.create("work", idempotency_key="k", task_id="id")


def test_metadata_is_what_json_can_say(jobs, task):
    job = jobs.create("work", metadata={"tenant": "acme", "n": (1, 2)})
    assert jobs.get(job.id).metadata == {"tenant": "acme", "n": [1, 2]}
    for bad in ({"at": datetime.now(UTC)}, {"x": float("nan")}, [1]):
        with pytest.raises(ConfigurationError, match="metadata"):
            jobs.create("work", metadata=bad)


def test_create_job_gives_the_id(jobs, task):
    assert jobs.get(jobs.create_job("work", {"to": 1})).task == "work"


# -- looking ---------------------------------------------------------------------------------


def test_find_takes_what_people_write(jobs, task, clock):
    old = jobs.create("work", owner="ann")
    clock.advance(7200)
    new = jobs.create("work", owner="ann", task_id="new")
    jobs.pause(new.id)
    assert [j.id for j in jobs.find(owner="ann", limit=1).jobs] == [new.id]
    assert [j.id for j in jobs.find(status="paused").jobs] == [new.id]
    assert [j.id for j in jobs.find(status=["paused", JobStatus.PENDING]).jobs] == [
        *(new.id, old.id)
    ]
    since = datetime.fromtimestamp(clock.now() - 3600, UTC)
    assert [j.id for j in jobs.find(since=since).jobs] == [new.id]
    assert len(jobs.find(since=timedelta(days=100_000)).jobs) == 2
    assert jobs.find(job_type="other").jobs == ()
    assert jobs.stats() == {("work", JobStatus.PENDING): 1, ("work", JobStatus.PAUSED): 1}
    for bad in (
        *({"status": "asleep"}, {"cursor": "?"}),
        *({"limit": 0}, {"limit": 10**30}, {"limit": 1.5}, {"limit": "9"}),
        *({"since": datetime.min}, {"since": "2h"}, {"since": float("nan")}),
    ):
        with pytest.raises(ConfigurationError, match=next(iter(bad))):
            jobs.find(**bad)


def test_find_all_goes_through_the_pages(jobs, task):
    for _ in range(7):
        jobs.create("work")
    assert len(list(jobs.find_all(job_type="work", limit=3))) == 7


def test_a_report_says_how_a_job_is_doing(app, jobs, clock):
    @app.task(base=CheckpointableTask, bind=True, name="walk")
    def walk(self):
        for item in self.iterate(range(10), every=1):
            clock.advance(2.0)
            if item == 5:
                seen.append(jobs.get_job_status(self.job.id))
                clock.advance(700)
                seen.append(jobs.get_job_status(self.job.id))

    seen = []
    app.finalize()
    run(app.tasks["walk"], jobs.create("walk", owner="ann", metadata={"k": 1}))
    moving, still = seen
    assert (moving.status, moving.done, moving.total, moving.owner) == ("running", 5, 10, "ann")
    assert moving.fraction == 0.5
    assert moving.rate == pytest.approx(0.5)
    assert moving.seconds_left == pytest.approx(10)
    assert not moving.stalled
    assert still.stalled
    assert still.still_for == pytest.approx(702)
    assert moving.as_dict()["metadata"] == {"k": 1}
    end = jobs.get_job_status(moving.id)
    assert (end.stalled, end.heartbeat_age, end.seconds_left) == (False, None, None)
    assert pickle.loads(pickle.dumps(end)) == end


def test_a_worker_that_is_silent_stalls_its_job(jobs, task, app, clock):
    from milepost.model import Delivery

    job = jobs.create("work")
    app.milepost.store.claim(Delivery(job.id, "work"), "w1:1", 3.0)
    assert not jobs.get_job_status(job.id).stalled
    clock.advance(4)
    report = jobs.get_job_status(job.id)
    assert (report.stalled, report.heartbeat_age) == (True, 4.0)
    assert "lapsed" in jobs.explain(job.id).summary


def test_a_checkpoint_is_shown_as_people_read_it(jobs, task):
    job = jobs.create("work")
    run(task, job, kwargs={"pause_at": 1})
    seen = jobs.checkpoint(job.id)
    assert (seen["steps"], seen["loops"]) == ({"once": "once"}, {"loop": 2})


def test_watch_tells_of_changes_until_the_end(app, jobs, task, monkeypatch):
    job = jobs.create("work", {"to": 3})
    acts = iter(
        [
            lambda: jobs.pause(job.id),
            lambda: None,
            lambda: jobs.resume(job.id),
            lambda: run(task, job),
        ]
    )
    monkeypatch.setattr("milepost.jobs.waiting.time.sleep", lambda _: next(acts)())
    assert [seen.status for seen in jobs.watch(job.id)] == [
        *("pending", "paused", "pending", "succeeded")
    ]


# -- explaining ------------------------------------------------------------------------------


def test_explanations(app, jobs, task, clock):
    job = jobs.create("work")
    clock.advance(75)
    said = jobs.explain(job.id, ask_workers=False)
    assert "1 min 15 s" in said.summary
    said = jobs.explain(job.id, timeout=0.05)
    assert "no worker answers" in said.summary
    assert any(app.conf.task_default_queue in fact for fact in said.facts)
    jobs.pause(job.id, by="ann")
    assert "paused by ann" in jobs.explain(job.id, ask_workers=False).summary
    jobs.cancel(job.id, by="bob")
    assert "cancelled by bob" in jobs.explain(job.id).summary
    later = jobs.create("work", countdown=3600)
    assert "1 h 0 min from now" in jobs.explain(later.id, ask_workers=False).summary


def test_an_explanation_of_a_parked_job(app, jobs, task):
    from milepost.model import Delivery, Settlement

    job = jobs.create("work")
    granted = app.milepost.store.claim(Delivery(job.id, "work"), "w1:1", 3.0)
    parked = Settlement(JobStatus.PAUSED, "needs-migration: step 'a' is gone")
    app.milepost.store.settle(granted.lease, parked)
    assert "needs-migration" in jobs.explain(job.id, ask_workers=False).summary


# -- steering --------------------------------------------------------------------------------


def test_who_did_what_is_kept(jobs, task):
    job = jobs.create("work")
    jobs.pause(job.id, by="ann")
    jobs.pause(job.id, by="bob")
    jobs.resume(job.id, by="cem")
    jobs.cancel(job.id, by="dee")
    history = jobs.get(job.id).history
    assert [(entry.act, entry.by) for entry in history] == [
        *(("pause", "ann"), ("resume", "cem"), ("cancel", "dee"))
    ]


def test_retry_goes_on_where_the_job_failed(app, jobs, task):
    job = jobs.create("work")
    assert run(task, job, kwargs={"fail_at": 2}).state == "FAILURE"
    assert jobs.get(job.id).status is JobStatus.FAILED
    again = jobs.retry(job.id, by="ann")
    assert (again.status, again.error) == (JobStatus.PENDING, None)
    assert len(sent(app)) == 1
    assert app.AsyncResult(job.id).state == "PENDING"
    assert run(task, job, kwargs={"fail_at": 2}).succeeded
    end = jobs.get(job.id)
    assert (end.status, end.attempts, end.progress) == (JobStatus.SUCCEEDED, 2, Progress(3, 3))


@pytest.mark.parametrize(("from_start", "kept"), [(True, []), (False, ["once"])])
def test_restart_begins_again(app, jobs, task, from_start, kept):
    job = jobs.create("work")
    run(task, job)
    assert jobs.get(job.id).status is JobStatus.SUCCEEDED
    again = jobs.restart(job.id, from_start=from_start)
    assert (again.status, again.progress, again.result) == (JobStatus.PENDING, Progress(), None)
    assert sorted(jobs.checkpoint(job.id)["steps"]) == kept
    assert jobs.checkpoint(job.id)["loops"] == {}
    assert len(sent(app)) == 1
    assert run(task, job).value == 3


def test_what_cannot_be_done_says_both_states(jobs, task):
    job = jobs.create("work")
    for act, wanted, advice in (
        (jobs.retry, "pending", "cancel it before a retry"),
        (jobs.restart, "pending", "cancel it before a restart"),
    ):
        with pytest.raises(InvalidTransitionError, match=advice) as caught:
            act(job.id)
        assert (caught.value.status, caught.value.wanted) == ("pending", wanted)
    run(task, job)
    with pytest.raises(InvalidTransitionError, match="restart runs it again"):
        jobs.retry(job.id)
    with pytest.raises(InvalidTransitionError, match="cannot become paused"):
        jobs.pause(job.id)


def test_wake_starts_what_waits(app, jobs, task):
    job = jobs.create("work", countdown=3600)
    sent(app)
    assert jobs.wake(job.id, by="ann").status is JobStatus.PENDING
    (message,) = sent(app)
    assert message[0]["id"] == job.id
    assert message[0].get("eta") is None
    assert jobs.wake(job.id).status is JobStatus.PENDING
    jobs.pause(job.id)
    with pytest.raises(InvalidTransitionError, match="resume it"):
        jobs.wake(job.id)


def test_a_job_that_waited_for_its_moment_waits_again_when_resumed(app, jobs, task):
    """Nothing is sent before: what its keeper sends then, or its own message, starts it."""
    job = jobs.create("work", countdown=3600)
    sent(app)
    jobs.pause(job.id)
    assert "and does so again until that moment" in jobs.explain(job.id, ask_workers=False).summary
    resumed = jobs.resume(job.id)
    assert (resumed.status, resumed.due_at) == (JobStatus.SCHEDULED, job.due_at)
    assert app.AsyncResult(job.id).state == "RESUMED"
    assert sent(app) == []
    assert jobs.resume(job.id).status is JobStatus.SCHEDULED
    assert jobs.wake(job.id).status is JobStatus.PENDING
    assert len(sent(app)) == 1


def test_a_broker_that_is_away_does_not_stop_a_resume(app, jobs, task, monkeypatch):
    job = jobs.create("work")
    jobs.pause(job.id)
    monkeypatch.setattr(
        "celery.Task.apply_async", lambda *_, **__: (_ for _ in ()).throw(OSError("away"))
    )
    assert jobs.resume(job.id).status is JobStatus.PENDING


def test_a_broker_and_a_backend_that_are_away_cost_one_line_each(
    app, jobs, task, monkeypatch, caplog
):
    """What is recorded stands; no traceback frightens whoever has paused a job."""

    def away(*_, **__):
        raise OSError("away")

    jobs.create("work", task_id="job")
    monkeypatch.setattr("celery.Task.apply_async", away)
    monkeypatch.setattr(app.events, "default_dispatcher", away)
    for name in ("store_result", "mark_as_revoked", "forget"):
        monkeypatch.setattr(app.backend, name, away)
    assert jobs.pause("job").status is JobStatus.PAUSED
    assert jobs.resume("job").status is JobStatus.PENDING
    assert jobs.cancel("job").status is JobStatus.CANCELLED
    assert jobs.restart("job").status is JobStatus.PENDING
    assert len(caplog.records) >= 5
    for said in caplog.records:
        assert (said.levelname, said.exc_info) == ("WARNING", None)
        assert "away" in said.getMessage()
        assert "\n" not in said.getMessage()


def test_bulk(app, jobs, task):
    mine = [jobs.create("work", owner="ann") for _ in range(3)]
    other = jobs.create("work", owner="bob")
    run(task, mine[0])
    outcome = jobs.bulk("pause", owner="ann", by="ops")
    assert set(outcome.done) == {mine[1].id, mine[2].id}
    assert list(outcome.refused) == [mine[0].id]
    assert "succeeded" in outcome.refused[mine[0].id]
    assert jobs.get(other.id).status is JobStatus.PENDING
    assert jobs.bulk("cancel", status="paused") == Bulk(outcome.done)
    assert jobs.bulk("restart", status="succeeded", from_start=False).done == (mine[0].id,)
    with pytest.raises(ConfigurationError, match="filter"):
        jobs.bulk("pause")
    with pytest.raises(ConfigurationError, match="act"):
        jobs.bulk("explode", owner="ann")
    assert len(jobs.bulk("pause", everything=True).done) == 2


# -- what Celery is told -----------------------------------------------------------------------


def test_a_job_that_is_paused_and_resumed_shows_it_in_celery(app, jobs, task):
    job = jobs.create("work")
    result = app.AsyncResult(job.id)
    assert run(task, job, kwargs={"pause_at": 1}).state == "IGNORED"
    assert (result.state, result.info) == ("PAUSED", {"reason": "paused"})
    jobs.resume(job.id)
    assert result.state == "RESUMED"
    assert run(task, job, kwargs={"pause_at": 1}).succeeded
    assert jobs.get(job.id).attempts == 2


def test_a_caller_whose_results_come_by_message_is_told_of_a_resume(app, jobs, task, monkeypatch):
    """Such a backend knows no state, and would declare a queue to find that out."""
    job, told = jobs.create("work"), []

    class Replies(RPCBackend):
        def get_state(self, task_id):
            pytest.fail("it was asked for a state")

        def store_result(self, task_id, result, state, **_):
            told.append((task_id, state))

    monkeypatch.setattr(task, "_backend", Replies(app))
    jobs.pause(job.id)
    jobs.resume(job.id)
    assert told == [(job.id, "PAUSED"), (job.id, "RESUMED")]


def test_a_job_that_fails_when_it_is_resumed_does_not_look_as_if_it_went_on(
    app, jobs, task, monkeypatch
):
    """Else whoever waits for it waits for ever. It may fail before the act of resuming is over."""
    job = jobs.create("work")
    run(task, job, kwargs={"pause_at": 1})
    monkeypatch.setattr(
        "milepost.jobs.sending.resend",
        lambda _, job: app.backend.mark_as_failure(job.id, ValueError("at once")),
    )
    jobs.resume(job.id)
    assert app.AsyncResult(job.id).state == "FAILURE"
    announce.resumed(app, announce.request_of(app, jobs.get(job.id)))  # as if a message was quicker
    assert app.AsyncResult(job.id).state == "FAILURE"


def test_a_keeper_that_is_quicker_than_a_restart_leaves_its_result_alone(
    app, jobs, task, monkeypatch
):
    """A job that a keeper has sent, and that has ended again, is not forgotten."""
    job = jobs.create("work")
    assert run(task, job).succeeded
    store = app.milepost.store
    reopen = store.reopen

    def overtaken(job_id, *args, **options):
        reopened = reopen(job_id, *args, **options)
        assert store.claim_recovery(job_id, 10.0) is not None  # by a keeper, which sends it
        run(task, job)
        return reopened

    monkeypatch.setattr(store, "reopen", overtaken)
    jobs.restart(job.id)
    assert (jobs.get(job.id).attempts, app.AsyncResult(job.id).state) == (2, "SUCCESS")


@pytest.fixture
def backend(app, jobs, task, monkeypatch):
    """A function that makes a result backend slow, after a job was paused or has failed.

    Each control act gives up on it soon; the other function lets it answer at last.
    """
    gate = threading.Event()
    monkeypatch.setattr("milepost.jobs.sending.attempt", partial(attempt, seconds=0.05))

    def slow_down(owner, name):
        does = getattr(owner, name)
        monkeypatch.setattr(
            owner, name, lambda *given, **more: (does(*given, **more), gate.wait(30))[0]
        )

    def answer():
        gate.set()
        for thread in threading.enumerate():
            if thread.name == "milepost-control":
                thread.join(30)

    yield SimpleNamespace(slow_down=slow_down, answer=answer)
    answer()


@pytest.mark.parametrize(("act", "waits"), [("retry", "forget"), ("resume", "get_state")])
def test_a_job_is_sent_by_a_keeper_where_celery_was_not_told_in_time(
    app, jobs, task, backend, clock, act, waits
):
    """It could end before Celery is told, which would take the place of its end."""
    job = jobs.create("work")
    run(task, job, kwargs={"pause_at": 1} if act == "resume" else {"fail_at": 1})
    backend.slow_down(CacheBackend, waits)
    assert getattr(jobs, act)(job.id).status is JobStatus.PENDING
    assert sent(app) == []
    assert job.id not in app.milepost.store.due(10)
    clock.advance(AGAIN_AFTER)
    assert job.id in app.milepost.store.due(10)


@pytest.mark.parametrize(
    ("act", "owner", "waits"),
    [("retry", announce, "_keeps_result"), ("resume", CacheBackend, "get_state")],
)
def test_what_comes_too_late_leaves_a_new_end_alone(app, jobs, task, backend, act, owner, waits):
    job = jobs.create("work")
    run(task, job, kwargs={"pause_at": 1} if act == "resume" else {"fail_at": 1})
    backend.slow_down(owner, waits)
    getattr(jobs, act)(job.id)
    app.backend.mark_as_failure(job.id, ValueError("again"))
    backend.answer()
    assert app.backend.get_task_meta(job.id, cache=False)["status"] == "FAILURE"


def test_a_job_that_is_paused_before_it_starts_shows_it_too(app, jobs, task):
    job = jobs.create("work")
    jobs.pause(job.id)
    assert app.AsyncResult(job.id).state == "PAUSED"
    assert run(task, job).state == "IGNORED"
    jobs.resume(job.id)
    assert run(task, job).succeeded


@pytest.mark.parametrize("when", ["before", "during"])
def test_who_waits_for_a_cancelled_job_is_told(app, jobs, when):
    @app.task(base=CheckpointableTask, bind=True, name="walk")
    def walk(self):
        for _ in self.iterate(range(3), every=1):
            jobs.cancel(self.job.id, by="ann")

    app.finalize()
    job = jobs.create("walk")
    if when == "before":
        jobs.cancel(job.id)
    else:
        assert run(app.tasks["walk"], job).state == "IGNORED"
    assert jobs.get(job.id).status is JobStatus.CANCELLED
    with pytest.raises(TaskRevokedError):
        app.AsyncResult(job.id).get(timeout=1)


def test_a_cancellation_that_celery_was_not_told_of_is_told_by_a_worker(
    app, jobs, task, clock, monkeypatch
):
    job = jobs.create("work")
    with monkeypatch.context() as patch:
        patch.setattr(type(app.backend), "mark_as_revoked", lambda *_, **__: 1 / 0)
        jobs.cancel(job.id)
    assert app.AsyncResult(job.id).state == "PENDING"
    store = app.milepost.store
    clock.advance(11)
    assert store.claim_recovery(job.id, 60.0).finishing
    outcome = run(task, job, headers={"milepost_finish": True})
    assert outcome.state == "IGNORED"
    assert app.AsyncResult(job.id).state == "REVOKED"
    clock.advance(600)
    assert store.due(10) == []


def test_results_that_are_ignored_are_not_stored(app, jobs):
    @app.task(base=CheckpointableTask, name="quiet", ignore_result=True)
    def quiet():
        pass

    app.finalize()
    job = jobs.create("quiet")
    jobs.pause(job.id)
    jobs.resume(job.id)
    jobs.cancel(job.id)
    assert app.AsyncResult(job.id).state == "PENDING"


# -- progress ----------------------------------------------------------------------------------


def test_a_hot_loop_writes_its_progress_once_a_second(app, jobs, clock):
    commits = []
    store = app.milepost.store
    commit = store.commit

    def count(lease, delta):
        commits.append(delta.progress)
        return commit(lease, delta)

    store.commit = count

    @app.task(base=CheckpointableTask, bind=True, name="hot")
    def hot(self):
        for n in range(1000):
            self.report(f"item {n}", done=n, total=1000)
            clock.advance(0.01)

    app.finalize()
    job = jobs.create("hot")
    assert run(app.tasks["hot"], job).succeeded
    assert 8 <= len(commits) <= 10
    assert jobs.get(job.id).progress == Progress(999, 1000, "item 999")


def test_a_task_that_only_reports_can_be_paused(app, jobs, clock):
    @app.task(base=CheckpointableTask, bind=True, name="talk")
    def talk(self):
        jobs.pause(self.job.id)
        clock.advance(2)
        self.report("half way")
        raise AssertionError("it should have stopped")

    app.finalize()
    job = jobs.create("talk")
    assert run(app.tasks["talk"], job).state == "IGNORED"
    paused = jobs.get(job.id)
    assert (paused.status, paused.progress.message) == ("paused", "half way")


def test_the_message_stays_beside_what_loops_count(app, jobs):
    @app.task(base=CheckpointableTask, bind=True, name="both")
    def both(self):
        for item in self.iterate(range(4), every=1):
            self.report(f"at {item}" * 100)
        self.report("")
        return

    app.finalize()
    job = jobs.create("both")
    run(app.tasks["both"], job)
    assert jobs.get(job.id).progress == Progress(4, 4, "")


@pytest.mark.parametrize("bad", [{"done": -1}, {"done": "3"}, {"done": 1, "total": -2}])
def test_a_report_of_nonsense(app, jobs, bad):
    @app.task(base=CheckpointableTask, bind=True, name="lie")
    def lie(self):
        self.report(**bad)

    app.finalize()
    assert isinstance(run(app.tasks["lie"], jobs.create("lie")).value, CheckpointError)


# -- soft time limits ----------------------------------------------------------------------------


def soft_task(app, policy, **more):
    class Soft(CheckpointableTask):
        abstract = True
        on_soft_time_limit = policy

    @app.task(base=Soft, bind=True, name="soft", **more)
    def soft(self, to=4, limit_at=2):
        for item in self.iterate(range(to), every=100):
            if item == limit_at and self.job.attempts == 1:
                raise SoftTimeLimitExceeded(5)
        return self.progress.done

    app.finalize()
    return app.tasks["soft"]


def test_a_soft_time_limit_fails_a_job_as_in_celery(app, jobs):
    task = soft_task(app, "fail")
    job = jobs.create("soft")
    assert isinstance(run(task, job).value, SoftTimeLimitExceeded)
    assert jobs.get(job.id).status is JobStatus.FAILED


def test_a_soft_time_limit_may_just_free_the_slot(app, jobs, clock):
    task = soft_task(app, "continue", autoretry_for=(Exception,))
    job = jobs.create("soft")
    assert run(task, job).state == "IGNORED"
    waiting = jobs.get(job.id)
    assert (waiting.status, waiting.reason) == (JobStatus.SCHEDULED, "soft time limit")
    assert (waiting.progress.done, waiting.delivery) == (2, 0)
    assert app.milepost.store.due(10) == [job.id]
    assert run(task, job).value == 4


def test_a_soft_time_limit_in_a_loop_that_has_only_begun_fails(app, jobs):
    """That its first item has a step of its own on record, or its loop a place, is no progress."""

    class Soft(CheckpointableTask):
        abstract = True
        on_soft_time_limit = "continue"

    @app.task(base=Soft, bind=True, name="soft")
    def soft(self):
        for _ in self.iterate(range(3)):
            self.step(lambda: (_ for _ in ()).throw(SoftTimeLimitExceeded(5)), name="slow")

    app.finalize()
    job = jobs.create("soft")
    assert isinstance(run(app.tasks["soft"], job).value, SoftTimeLimitExceeded)
    assert jobs.get(job.id).status is JobStatus.FAILED


def test_a_soft_time_limit_without_any_progress_fails(app, jobs):
    """Else the job would go round for ever."""
    task = soft_task(app, "continue")
    job = jobs.create("soft")
    assert isinstance(run(task, job, kwargs={"limit_at": 0}).value, SoftTimeLimitExceeded)
    assert record(app, job.id).status is JobStatus.FAILED


def test_a_policy_that_does_not_exist(app):
    with pytest.raises(ConfigurationError, match="on_soft_time_limit='explode'"):
        soft_task(app, "explode")


def test_new_job_has_empty_metadata():
    assert NewJob("id", "t", b"").metadata == {}
