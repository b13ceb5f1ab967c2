"""The way back, whoever dies on it; the tracker; the rounds of the overseer."""

import logging

import pytest

from deliveries import deliver, make_app
from harness import Killed
from hosts import AdoptingHost, HostJobs
from milepost import CheckpointableTask
from milepost.errors import (
    ConfigurationError,
    InvalidTransitionError,
    StoreUnavailableError,
    UnknownJobTypeError,
)
from milepost.events import RollbackStepped
from milepost.model import Delivery, JobStatus, Settlement, Signal
from milepost.routing import ErrorLimit, Mode, Routing
from milepost.routing.bundle import routing_of
from milepost.routing.overseer import EVERY
from milepost.routing.shadows import Comparer
from milepost.routing.standing import State
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock


class MortalDocuments:
    """Documents whose writer can die at any write, before or after it took effect."""

    def __init__(self, store):
        self._store = store

    def write(self, name, data, *, version):
        return self._store.act(
            lambda: self._store.inner.documents.write(name, data, version=version)
        )

    def __getattr__(self, name):
        return getattr(self._store.inner.documents, name)


class MortalStore:
    """A store whose process can die at a chosen write, before or after it took effect."""

    def __init__(self, inner):
        self.inner = inner
        self.documents = MortalDocuments(self)
        self.revive()

    def revive(self, kill_at=None, after=True):
        self.kill_at, self.after, self.writes, self.dead = kill_at, after, 0, False

    def act(self, write):
        if self.dead:
            raise Killed
        self.writes += 1
        self.dead = self.writes == self.kill_at
        if self.dead and not self.after:
            raise Killed
        answer = write()
        if self.dead:
            raise Killed
        return answer

    def signal(self, *args, **kwargs):
        return self.act(lambda: self.inner.signal(*args, **kwargs))

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def host():
    return AdoptingHost()


@pytest.fixture
def store(clock):
    return MortalStore(MemoryStore(clock))


@pytest.fixture
def events():
    return []


@pytest.fixture
def asked(monkeypatch):
    """What the workers were told; two of them consume the queue."""
    told = []

    class Control:
        def inspect(self, timeout):
            return self

        def active_queues(self):
            return {"w1": [{"name": "imports"}], "w2": [{"name": "imports"}, {"name": "other"}]}

        def ping(self):
            return {} if ("shutdown",) in told else {"w1": {}}

        def cancel_consumer(self, queue, destination, **_):
            told.append(("cancel", queue, *destination))

        def add_consumer(self, queue, destination, **_):
            told.append(("add", queue, *destination))

        def shutdown(self):
            told.append(("shutdown",))

    monkeypatch.setattr("celery.app.base.Celery.control", Control())
    return told


@pytest.fixture
def make(store, clock, events, asked):
    def make(**routing):
        options = {"routing": Routing(**routing), "observers": [events.append]}
        app = make_app(milepost={"store": store, "clock": clock, **options})
        app.conf.task_routes = {"tasks.import_rows": "imports", "shared": "imports"}

        @app.task(base=CheckpointableTask, bind=True, name="tasks.import_rows", job_type="import")
        def import_rows(self, rows=3, stop_at=None, fail=False):
            for row in self.iterate(range(rows), name="rows", every=1):
                if row == stop_at:
                    app.milepost.jobs.pause(self.request.id, by="rollback")
            if fail:
                raise ValueError("no luck")
            return rows

        return app

    return make


@pytest.fixture
def app(make, host):
    return make(legacy=host)


def moved(app, *payloads):
    """Move the type to Celery and create jobs."""
    app.milepost.migrations.move("import", Mode.CELERY, by="ann", version="7")
    return [app.milepost.router.create_job("import", payload) for payload in payloads]


def run(app, job_id, **kwargs):
    return deliver(app.tasks["tasks.import_rows"], job_id=job_id, kwargs=kwargs)


def pause_at(app, job_id, row):
    """Let a job run to a row and be stopped there by the rollback."""
    run(app, job_id, rows=5, stop_at=row)
    assert app.milepost.jobs.get(job_id).status is JobStatus.PAUSED


# -- one type back ---------------------------------------------------------------------------


def test_rollback(app, host, asked, events):
    """Flag off, consumers cancelled, jobs handed over with their checkpoints, all noted."""
    fresh, begun = moved(app, {"rows": 3}, {"rows": 5})
    pause_at(app, begun, 2)
    done = app.milepost.rollbacks.rollback_job_type("import", reason="errors", by="bob")
    assert [step.name for step in done.steps] == ["flags", "consumers", "jobs", "tracker"]
    assert not app.milepost.flags.is_enabled("celery_import")
    assert asked == [("cancel", "imports", "w1", "w2")]
    assert set(done.handed) == {fresh, begun}
    assert done.left == {}
    carried = {job.payload["rows"]: job.checkpoint["loops"] for job in host.jobs.values()}
    assert carried == {3: {}, 5: {"rows": 3}}
    assert [event.step for event in events if isinstance(event, RollbackStepped)] == [
        *("flags", "consumers", "jobs", "tracker"),
    ]
    (status,) = app.milepost.migrations.get_migration_status().details
    assert (status.state, status.mode, status.by, status.note) == (
        *("rolled_back", "legacy", "bob", "errors"),
    )
    for job_id in (fresh, begun):
        report = app.milepost.router.get_job_status(job_id)
        assert (report.engine, report.id) == ("legacy", done.handed[job_id])
        assert run(app, job_id).state == "IGNORED"
    assert app.milepost.rollbacks.unfinished() == {}


def test_new_jobs_go_to_the_legacy_system(app, host):
    moved(app)
    app.milepost.rollbacks.rollback_job_type("import")
    app.milepost.router.create_job("import", {"rows": 1})
    assert [job.payload for job in host.jobs.values()] == [{"rows": 1}]


def test_a_move_back_restores_the_consumers(app, asked):
    moved(app)
    app.milepost.rollbacks.rollback_job_type("import")
    moved(app)
    assert asked[-1] == ("add", "imports", "w1", "w2")
    moved(app)
    assert len(asked) == 2


def test_a_shared_queue_goes_on_being_consumed(app, asked):
    @app.task(base=CheckpointableTask, bind=True, name="shared")
    def shared(self):
        pass

    moved(app)
    done = app.milepost.rollbacks.rollback_job_type("import")
    assert asked == []
    assert "shared use it too" in done.steps[1].outcome


def test_what_somebody_paused_stays_paused(app, host):
    """A person's word is not undone; the report says so."""
    (job_id,) = moved(app, {"rows": 3})
    app.milepost.jobs.pause(job_id, by="ann")
    done = app.milepost.rollbacks.rollback_job_type("import")
    assert (done.handed, done.left) == ({}, {job_id: "paused: paused"})
    assert host.jobs == {}
    assert app.milepost.jobs.get(job_id).status is JobStatus.PAUSED


def test_shadows_are_ended(app, host):
    app.milepost.migrations.move("import", Mode.SHADOW)
    app.milepost.router.create_job("import")
    app.milepost.rollbacks.rollback_job_type("import")
    (shadow,) = app.milepost.jobs.find().jobs
    assert (shadow.status, len(host.jobs)) == (JobStatus.CANCELLED, 1)


def test_a_dead_workers_job_is_not_waited_for(app, host, store, clock):
    """Its lease has lapsed, and no keeper is there to see it."""
    (job_id,) = moved(app, {"rows": 5})
    store.claim(Delivery(job_id, "tasks.import_rows"), "w:1", 3.0)
    clock.advance(10.0)
    done = app.milepost.rollbacks.rollback_job_type("import")
    assert set(done.handed) == {job_id}


def test_a_job_that_does_not_checkpoint_is_waited_for_until_the_timeout(app, store, clock):
    (job_id,) = moved(app, {"rows": 5})
    store.claim(Delivery(job_id, "tasks.import_rows"), "w:1", 3600.0)
    before = clock.monotonic()
    done = app.milepost.rollbacks.rollback_job_type("import", timeout=30.0)
    assert 30 <= clock.monotonic() - before < 40
    assert done.left == {job_id: "still running"}


def test_dry_run_changes_nothing(app, host, asked, store):
    moved(app, {"rows": 3})
    store.revive()
    done = app.milepost.rollbacks.rollback_job_type("import", dry_run=True)
    assert store.writes == 0
    assert done.dry_run
    assert [(step.name, step.outcome) for step in done.steps] == [
        ("flags", "switch off celery_import, shadow_import"),
        ("consumers", "let no worker consume queue 'imports'"),
        ("jobs", "hand over 1 open jobs, at their checkpoints"),
        ("tracker", "note that import has gone back"),
    ]
    assert asked == []


def test_a_system_that_cannot_adopt(make, asked):
    """It gets what has not begun, under the same key; what has begun ends in Celery."""
    host = HostJobs()
    app = make(legacy=host)
    fresh, begun = moved(app, {"rows": 3}, {"rows": 5})
    app.milepost.store.claim(Delivery(begun, "tasks.import_rows"), "w:1", 3600.0)
    done = app.milepost.rollbacks.rollback_job_type("import", timeout=5.0)
    assert [step.name for step in done.steps] == ["flags", "jobs", "consumers", "tracker"]
    assert (set(done.handed), set(done.left)) == ({fresh}, {begun})
    assert app.milepost.jobs.get(begun).signal is None
    assert asked == []
    assert [job.payload for job in host.jobs.values()] == [{"rows": 3}]
    assert next(iter(host.keys))[1] == app.milepost.jobs.get(fresh).idempotency_key


def test_nowhere_to_go_back_to(make):
    app = make()
    with pytest.raises(ConfigurationError, match="no legacy system"):
        app.milepost.rollbacks.emergency_rollback_all()
    with pytest.raises(ConfigurationError, match="no legacy system"):
        app.milepost.rollbacks.rollback_job_type("import", dry_run=True)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("everything", [False, True], ids=["one", "all"])
def test_whoever_rolls_back_may_die_at_any_write(make, store, clock, asked, after, everything):
    """The next one goes on: each job is handed over once, and all steps are taken."""

    def roll_back(app):
        if everything:
            return app.milepost.rollbacks.emergency_rollback_all(reason="fire", by="bob")
        return app.milepost.rollbacks.rollback_job_type("import", by="bob")

    for kill_at in range(1, 100):
        store.inner = MemoryStore(clock)
        store.revive()
        asked.clear()
        host = AdoptingHost()
        app = make(legacy=host)
        fresh, begun = moved(app, {"rows": 3}, {"rows": 5})
        pause_at(app, begun, 2)
        store.revive(kill_at, after)
        try:
            roll_back(app)
            killed = False
        except Killed:
            killed = True
        store.revive()
        roll_back(app)
        assert not app.milepost.flags.is_enabled("celery_import")
        assert app.milepost.rollbacks.unfinished() == {}
        assert sorted(job.payload["rows"] for job in host.jobs.values()) == [3, 5]
        for job_id in (fresh, begun):
            assert app.milepost.router.get_job_status(job_id).engine == "legacy"
        assert app.milepost.migrations.history("import")[-1].state == "rolled_back"
        assert asked[0][0] == ("shutdown" if everything else "cancel")
        if not killed:
            assert kill_at > 10
            return
    raise AssertionError("it writes for ever")


# -- everything back -------------------------------------------------------------------------


def test_emergency(make, host, asked):
    """Flags known and unknown are off, traffic is turned, workers go, jobs are handed over."""
    turned = []
    app = make(legacy=host, traffic=turned.append)
    (job_id,) = moved(app, {"rows": 3})
    done = app.milepost.rollbacks.emergency_rollback_all(reason="fire", by="bob")
    assert [step.name for step in done.steps] == [
        *("flags", "traffic", "workers", "jobs:import", "tracker:import"),
    ]
    assert (turned, asked) == (["fire"], [("shutdown",)])
    for flag in ("celery_import", "celery_never_heard_of", "shadow_import"):
        assert not app.milepost.flags.is_enabled(flag)
    assert set(done.handed) == {job_id}
    assert app.milepost.migrations.history("import")[-1].note == "fire"


def test_emergency_dry_run(app, asked, store):
    moved(app, {"rows": 3})
    store.revive()
    done = app.milepost.rollbacks.emergency_rollback_all(dry_run=True)
    assert (store.writes, asked) == (0, [])
    assert done.steps[0].outcome == "switch off celery_*, shadow_*"
    assert done.steps[2].outcome == "shut down all workers warmly"


# -- the tracker -----------------------------------------------------------------------------


def test_the_way_of_a_type_is_on_record(app, clock):
    tracker = app.milepost.migrations
    assert tracker.get_migration_status().details[0].state == "legacy"
    began = clock.now()
    for mode, share in ((Mode.SHADOW, 10), (Mode.PERCENTAGE, 5), (Mode.PERCENTAGE, 50)):
        tracker.move("import", mode, share=share, by="ann", version="7", note="slowly")
        clock.advance(60.0)
    assert not tracker.is_migrated("import")
    tracker.move("import", Mode.CELERY, by="ann")
    assert tracker.is_migrated("import")
    status = tracker.get_migration_status()
    assert (status.total, status.migrated, status.pending, status.progress) == (1, 1, 0, 1.0)
    (one,) = status.details
    assert [(move.state, move.share, move.at - began) for move in one.history] == [
        ("shadow", 10, 0),
        ("percentage", 5, 60),
        ("percentage", 50, 120),
        ("migrated", 100, 180),
    ]
    assert (one.since, one.by, one.mode, one.share) == (began + 180, "ann", "celery", 100)
    assert one.history[0].version == "7"


def test_the_same_move_twice_is_one(app):
    moved(app)
    moved(app)
    assert len(app.milepost.migrations.history("import")) == 1


def test_marks(app):
    tracker = app.milepost.migrations
    tracker.mark_job_type_migrated("import", by="ann", version="8")
    assert tracker.is_migrated("import")
    tracker.mark_job_type_rollback("import", by="ann", reason="too slow")
    assert not tracker.is_migrated("import")
    assert [move.note for move in tracker.history("import")] == ["", "too slow"]


def test_counts_of_both_sides(app, host):
    """From the records: what was delivered twice counts once."""
    good, bad, _ = moved(app, {}, {}, {})
    for _ in range(2):
        run(app, good, rows=1)
        run(app, bad, rows=1, fail=True)
    (one,) = app.milepost.migrations.get_migration_status().details
    celery = one.sides["celery"]
    assert (celery.succeeded, celery.failed, celery.open, celery.error_rate) == (1, 1, 1, 0.5)
    assert "legacy" not in one.sides, "this host does not count"
    assert one.as_dict()["sides"]["celery"]["error_rate"] == 0.5


@pytest.mark.parametrize("share", [0, 100, -1, 120])
def test_a_share_that_is_none(app, share):
    with pytest.raises(ConfigurationError, match="share"):
        app.milepost.migrations.move("import", Mode.PERCENTAGE, share=share)


@pytest.mark.parametrize(
    "mode, share", [(Mode.CELERY, 20), (Mode.CELERY, 150), (Mode.LEGACY, 20), (Mode.SHADOW, 0)]
)
def test_a_share_that_another_mode_has(app, mode, share):
    """Whoever means a fifth must not get all, and no shadows are none."""
    with pytest.raises(ConfigurationError, match="share"):
        app.milepost.migrations.move("import", mode, share=share)
    assert (app.milepost.flags.rules(), app.milepost.migrations.history("import")) == ((), ())


def test_a_type_that_celery_does_not_know_cannot_move(app):
    with pytest.raises(UnknownJobTypeError):
        app.milepost.migrations.move("imprt", Mode.CELERY)
    assert app.milepost.flags.rules() == ()


# -- the overseer ----------------------------------------------------------------------------


class Rounds:
    """Stands for the event that ends an overseer, after so many rounds."""

    def __init__(self, clock, number):
        self._clock, self._left = clock, number

    def wait(self, seconds):
        self._clock.advance(seconds)
        self._left -= 1
        return self._left < 0


def test_rounds_that_fail_are_not_well_because_another_has_its_turn(
    app, clock, caplog, monkeypatch
):
    caplog.set_level(logging.INFO, "milepost")
    overseer, turns = routing_of(app).overseer(), [True, False, True]
    fails = [StoreUnavailableError("memory://", "nobody home")]

    def make_round():
        if fails:
            raise fails.pop()

    monkeypatch.setattr(overseer, "is_mine", lambda: turns.pop(0))
    monkeypatch.setattr(overseer, "make_round", make_round)
    overseer.run(Rounds(clock, 3))
    assert [record.getMessage() for record in caplog.records if record.name == "milepost"][1:] == [
        f"over after {2 * EVERY:.0f} s: no round of the migration for now"
    ]


def end_jobs(app, good, bad):
    for fail in [False] * good + [True] * bad:
        job_id = app.milepost.router.create_job("import")
        run(app, job_id, rows=1, fail=fail)


LIMIT = ErrorLimit(rate=0.2, window=600.0, at_least=10)


def test_too_many_errors_send_a_type_back(make, host):
    app = make(legacy=host, error_limit=LIMIT)
    moved(app)
    end_jobs(app, good=8, bad=1)
    overseer = routing_of(app).overseer()
    assert overseer.make_round() == ()
    end_jobs(app, good=0, bad=2)
    (done,) = overseer.make_round()
    assert done.job_type == "import"
    last = app.milepost.migrations.history("import")[-1]
    assert (last.state, last.by, last.note) == (
        *("rolled_back", "automatic", "3 of the latest 11 jobs failed"),
    )
    assert overseer.make_round() == ()


def test_what_fails_in_one_type_keeps_no_other_from_its_limit(make, host, monkeypatch):
    app = make(legacy=host, error_limit=LIMIT)
    app.milepost.migrations.note("a-type-before-it", State.SHADOW)
    moved(app)
    end_jobs(app, good=2, bad=8)
    compare = Comparer.compare

    def fail(self, job_type):
        if job_type == "a-type-before-it":
            raise KeyError("a host's own function")
        return compare(self, job_type)

    monkeypatch.setattr(Comparer, "compare", fail)
    (gone_back,) = routing_of(app).overseer().make_round()
    assert gone_back.job_type == "import"


def test_a_type_that_moves_again_starts_afresh(make, host, clock):
    """What failed before does not count against the new attempt."""
    app = make(legacy=host, error_limit=LIMIT)
    moved(app)
    end_jobs(app, good=0, bad=20)
    overseer = routing_of(app).overseer()
    assert len(overseer.make_round()) == 1
    clock.advance(5.0)
    moved(app)
    assert overseer.make_round() == ()
    end_jobs(app, good=0, bad=20)
    assert len(overseer.make_round()) == 1


def test_an_overseer_that_dies_is_followed_by_another(make, host, store, clock):
    """Half a rollback would leave jobs behind for ever: the flag is off, nobody judges again."""
    app = make(legacy=host, error_limit=LIMIT)
    moved(app)
    end_jobs(app, good=0, bad=20)
    waiting = app.milepost.router.create_job("import")
    store.revive(kill_at=5)
    with pytest.raises(Killed):
        routing_of(app).overseer().make_round()
    store.revive()
    assert not app.milepost.flags.is_enabled("celery_import")
    assert len(routing_of(app).overseer().make_round()) == 1
    assert app.milepost.router.get_job_status(waiting).engine == "legacy"
    assert app.milepost.migrations.history("import")[-1].by == "automatic"
    assert routing_of(app).overseer().make_round() == ()


def test_nothing_moves_while_a_rollback_has_not_ended(app, store):
    """It would go on at a step behind the one that switches the flags off."""
    moved(app)
    store.revive(kill_at=8)
    with pytest.raises(Killed):
        app.milepost.rollbacks.rollback_job_type("import")
    store.revive()
    with pytest.raises(ConfigurationError, match="has not ended"):
        moved(app)
    app.milepost.migrations.move("import", Mode.LEGACY)
    app.milepost.rollbacks.rollback_job_type("import")
    moved(app)


def test_a_job_that_somebody_lets_go_on_while_it_is_handed_over(app, host, monkeypatch):
    """It is told, and looked at again: nobody must take it to be in one system only."""
    (job_id,) = moved(app, {"rows": 3})
    adopt = host.adopt

    def slowly(job, checkpoint):
        app.milepost.jobs.resume(job_id)
        claimed.append(app.milepost.store.claim(Delivery(job_id, "tasks.import_rows"), "w:1", 900))
        return adopt(job, checkpoint)

    claimed = []
    host.adopt = slowly
    done = app.milepost.rollbacks.rollback_job_type("import", timeout=3.0)
    assert (done.handed, set(done.left)) == ({}, {job_id})


def test_a_retry_that_was_asked_to_pause_is_not_waited_for(app, host, store):
    """It settled before it saw the question; its next attempt may never come."""
    (job_id,) = moved(app, {"rows": 3})
    lease = store.claim(Delivery(job_id, "tasks.import_rows"), "w:1", 900.0).lease
    store.inner.signal(job_id, Signal.PAUSE, by="rollback")
    store.settle(lease, Settlement(JobStatus.SCHEDULED, "retry: later", delay=900.0))
    done = app.milepost.rollbacks.rollback_job_type("import")
    assert set(done.handed) == {job_id}


def test_one_bad_job_does_not_keep_the_rest(app, host, monkeypatch):
    """It is left paused, with the reason; the next rollback tries it again."""
    bad, good = moved(app, {"rows": 1}, {"rows": 2})
    adopt = host.adopt

    def refuse(job, checkpoint):
        if job.job_id == bad:
            raise OSError("the table is locked")
        return adopt(job, checkpoint)

    host.adopt = refuse
    positional = app.tasks["tasks.import_rows"].delay(3).id
    done = app.milepost.rollbacks.rollback_job_type("import")
    assert set(done.handed) == {good}
    assert "the table is locked" in done.left[bad]
    assert "positional" in done.left[positional]
    assert app.milepost.jobs.get(bad).status is JobStatus.PAUSED
    host.adopt = adopt
    assert set(app.milepost.rollbacks.rollback_job_type("import").handed) == {bad}


def test_what_was_asked_to_end_ends(app, host, store, clock):
    """A cancel that its dead worker never saw is not undone by the hand-over."""
    (job_id,) = moved(app, {"rows": 3})
    store.claim(Delivery(job_id, "tasks.import_rows"), "w:1", 3.0)
    app.milepost.jobs.cancel(job_id, by="ann")
    clock.advance(10.0)
    done = app.milepost.rollbacks.rollback_job_type("import")
    assert (done.handed, done.left, host.jobs) == ({}, {}, {})
    assert app.milepost.jobs.get(job_id).status is JobStatus.CANCELLED


def test_old_errors_do_not_count(make, host, clock):
    app = make(legacy=host, error_limit=LIMIT)
    moved(app)
    end_jobs(app, good=0, bad=20)
    clock.advance(601.0)
    assert routing_of(app).overseer().make_round() == ()


def test_one_overseer_at_a_time(make, host, clock):
    app = make(legacy=host)
    one, other = routing_of(app).overseer(), routing_of(app).overseer()
    assert (one.is_mine(), other.is_mine(), one.is_mine()) == (True, False, True)
    clock.advance(4 * EVERY + 1)
    assert (other.is_mine(), one.is_mine()) == (True, False)


def test_an_app_that_moves_nothing_has_no_overseer(make):
    assert routing_of(make()).overseer() is None


@pytest.mark.parametrize(
    "wrong", [{"rate": 0}, {"rate": 1}, {"window": 0}, {"at_least": 0}, {"at_least": 1001}]
)
def test_limits_that_cannot_be(wrong):
    with pytest.raises(ConfigurationError, match="a rate between"):
        ErrorLimit(**wrong)


@pytest.mark.parametrize("act", ["retry", "restart"])
def test_what_was_handed_over_is_not_begun_again_here(app, host, act):
    """The legacy system has it; the record here would run it a second time."""
    (job_id,) = moved(app, {"rows": 3})
    done = app.milepost.rollbacks.rollback_job_type("import")
    where = f"another system has it, as '{done.handed[job_id]}'"
    with pytest.raises(InvalidTransitionError, match=where):
        getattr(app.milepost.jobs, act)(job_id)
    assert app.milepost.jobs.get(job_id).status is JobStatus.CANCELLED
    assert app.milepost.jobs.bulk(act, job_type="import").done == ()
    assert app.milepost.router.get_job_status(job_id).engine == "legacy"


def test_what_was_cancelled_here_is_begun_again_here(app):
    """As opposed to what was handed over."""
    (job_id,) = moved(app, {"rows": 3})
    app.milepost.jobs.cancel(job_id)
    assert app.milepost.jobs.retry(job_id).status is JobStatus.PENDING
