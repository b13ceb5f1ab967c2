"""What a task's class declares reaches the engine."""

import re
import sqlite3
from datetime import timedelta

import pytest
from pydantic import BaseModel

from deliveries import deliver, make_app, record, sent
from harness import Killed
from milepost import BaseTask, CheckpointableTask
from milepost.codecs.json import JsonCodec
from milepost.errors import CheckpointError, ConfigurationError
from milepost.model import JobStatus, Progress
from milepost.runtime import runtime_of
from milepost.settings import Settings
from milepost.tasks.declaring import check_leases


@pytest.fixture
def app():
    return make_app()


def crash(app, task):
    """Let a delivery die without a word, as a killed process does."""
    store = runtime_of(app).store
    plain = store.settle
    store.settle = lambda *args: (_ for _ in ()).throw(Killed)
    try:
        with pytest.raises(Killed):
            deliver(task)
    finally:
        store.settle = plain
    store.release("job", record(app).worker, "killed")


class Tally(BaseModel):
    count: int = 0


def test_state_model(app):
    """state_model= makes the state typed, over crashes too."""

    @app.task(base=CheckpointableTask, bind=True, state_model=Tally)
    def count(self):
        for item in self.iterate(range(4), every=1):
            if item == 2 and self.fence == 1:
                raise Killed
            self.state.count += 1
        return self.state.count

    crash(app, count)
    assert deliver(count).value == 4


def test_checkpoint_version_and_migration(app):
    """A class of a new version migrates what the old one left."""

    class Load(CheckpointableTask):
        name = "load"

        def run(self):
            self.step(len, "abc", name="old")
            raise Killed

    crash(app, app.register_task(Load()))

    class NewLoad(CheckpointableTask):
        name = "load"
        checkpoint_version = 2

        def migrate_checkpoint(self, data, from_version):
            return {**data, "steps": {"new": data["steps"]["old"] + from_version}}

        def run(self):
            return self.step(pytest.fail, name="new")

    del app.tasks["load"]
    assert deliver(app.register_task(NewLoad())).value == 4


def test_a_deploy_that_does_not_fit_parks_the_job(app):
    """The same without a version: the class's own code is the mark."""

    class Load(CheckpointableTask):
        name = "load"

        def run(self):
            self.step(len, "abc", name="old")
            raise Killed

    crash(app, app.register_task(Load()))

    class NewLoad(CheckpointableTask):
        name = "load"

        def run(self):
            return self.step(pytest.fail, name="new")

    del app.tasks["load"]
    assert deliver(app.register_task(NewLoad())).state == "IGNORED"
    job = record(app)
    assert job.status is JobStatus.PAUSED
    assert job.reason.startswith("needs-migration: step 'old'")


def test_lease_seconds(app):
    """A task whose work is silent for long asks for a longer lease."""

    @app.task(base=CheckpointableTask, bind=True, lease_seconds=120)
    def slow(self):
        return self.job.lease_seconds, record(app).lease_seconds

    assert deliver(slow).value == (120, 120)


def test_max_crashes_of_a_task_wins(app):
    """Over the application's setting, zero included."""

    @app.task(base=CheckpointableTask, bind=True, max_crashes=0)
    def job(self):
        raise Killed

    crash(app, job)
    assert deliver(job).state == "FAILURE"


def test_keep_result(app):
    """keep_result=False keeps the return value out of the record."""

    @app.task(base=CheckpointableTask, keep_result=False)
    def secret():
        return "secret"

    assert deliver(secret).value == "secret"
    assert record(app).result is None


class Reversed(JsonCodec):
    """A codec that can be told from the application's."""

    def encode(self, value):
        return super().encode(value)[::-1]

    def decode(self, data):
        return super().decode(data[::-1])


def test_codec(app):
    """A task's own codec writes and reads everything of its jobs."""

    @app.task(base=CheckpointableTask, bind=True, codec=Reversed())
    def job(self):
        self.save_checkpoint(self.job.id, "explicit")
        if self.fence == 1:
            self.step(str, "step")
            raise Killed
        return self.load_checkpoint(self.job.id), self.step(pytest.fail, name="str")

    crash(app, job)
    assert deliver(job).value == ("explicit", "step")
    assert all(data.endswith(b"1J") for name, data in fields(app).items() if name != "v")
    assert record(app).result.endswith(b"1J")
    assert job.load_checkpoint("job") == "explicit"
    assert app.milepost.jobs.result("job") == ("explicit", "step")


def fields(app):
    return runtime_of(app).store.load("job")


def test_durable_is_inherited(app):
    """A subclass of a durable class is durable; a mixin's run is wrapped where it is defined."""

    class Base(BaseTask):
        abstract = True
        durable = True

    @app.task(base=Base)
    def job():
        return 1

    deliver(job)
    assert record(app).status is JobStatus.SUCCEEDED


def test_progress_in_the_record(app):
    """A look at the record tells how far a job is, while it runs."""

    @app.task(base=CheckpointableTask, bind=True, ignore_result=True)
    def job(self):
        return [record(app).progress for _ in self.iterate(range(3), every=1)]

    assert deliver(job).value == [Progress(0), Progress(1, 3), Progress(2, 3)]


def test_a_retry_out_of_a_transaction(tmp_path):
    """retry() inside atomic() rolls the work back, sends the retry, and repeats that item."""
    path = tmp_path / "jobs.db"
    app = make_app(milepost={"store": f"sqlite:///{path}"})
    app.milepost.store.due(1)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE done (item)")
    db.commit()

    @app.task(base=CheckpointableTask, bind=True)
    def job(self):
        for item in self.iterate(range(4)):
            with self.atomic(db) as session:
                session.execute("INSERT INTO done VALUES (?)", (item,))
                if item == 2 and not self.request.retries:
                    raise self.retry(countdown=0)

    assert deliver(job).state == "RETRY"
    assert record(app).progress.done == 2
    assert len(sent(app)) == 1
    assert deliver(job, retries=1).succeeded
    assert [item for (item,) in db.execute("SELECT item FROM done")] == [0, 1, 2, 3]


def test_saving_for_another_job_is_refused(app):
    """Only the attempt that holds a job's lease writes its checkpoint."""

    @app.task(base=CheckpointableTask, bind=True)
    def job(self):
        self.save_checkpoint("other", 1)

    assert isinstance(deliver(job).value, CheckpointError)


class Counting:
    """A body that knows nothing of Celery."""

    def run(self, to):
        return list(self.iterate(range(to)))


class Plain(BaseTask):
    """A task that is not durable."""

    def run(self, to):
        return list(range(to))


@pytest.mark.parametrize("bases", [(Counting, CheckpointableTask), (Plain,)])
def test_an_inherited_body_is_durable(app, bases):
    """From a mixin or a base that is not durable: the job has one record and runs once."""
    cls = type("Inheriting", bases, {"name": "inheriting", "durable": True})
    task = app.register_task(cls())
    assert deliver(task, 3).value == [0, 1, 2]
    assert record(app).status is JobStatus.SUCCEEDED
    assert not deliver(task, 3).succeeded


def test_an_inherited_durable_body_is_wrapped_once(app):
    """A class between them, and super(), do not make an attempt of their own."""

    class Parent(CheckpointableTask):
        def run(self, to):
            self.state["runs"] = self.state.get("runs", 0) + 1
            return self.state["runs"]

    class Middle(Parent):
        pass

    class Child(Middle):
        name = "child"

        def run(self, to):
            return super().run(to)

    assert deliver(app.register_task(Child()), 1).value == 1
    assert record(app).attempts == 1


@pytest.mark.parametrize(
    "option",
    [
        *(
            {"lease_seconds": 0},
            {"lease_seconds": "3"},
            {"lease_seconds": True},
            {"lease_seconds": float("inf")},
        ),
        *({"checkpoint_every": -1}, {"checkpoint_every": timedelta(seconds=1)}),
        *({"max_crashes": -1}, {"max_crashes": 1.5}),
    ],
)
def test_an_unusable_number_is_told_at_once(app, option):
    """The error names task, option and value where the task is declared."""
    ((name, value),) = option.items()
    with pytest.raises(ConfigurationError, match=re.escape(f"Odd: {name}={value!r}: a ")):
        type("Odd", (CheckpointableTask,), {"name": "odd", **option})


def test_a_lease_too_short_to_be_renewed_stops_the_worker(app):
    """It would lapse between two renewals, and the job would be taken from a worker that lives."""

    @app.task(base=CheckpointableTask, bind=True, name="hasty", lease_seconds=1.5)
    def hasty(self):
        pass

    app.finalize()
    check_leases(app, Settings(renew_seconds=0.75))
    with pytest.raises(ConfigurationError, match=r"'hasty': lease_seconds=1.5 .*renew_seconds=1"):
        app.WorkController(hostname="hasty", pool_cls="solo")
