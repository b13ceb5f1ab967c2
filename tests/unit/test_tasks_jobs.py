"""The job manager: create, get, pause, resume, cancel, wait, result, and what they refuse."""

import importlib

import pytest
from kombu.exceptions import OperationalError

from deliveries import deliver, make_app, sent
from milepost import CheckpointableTask, Milepost
from milepost.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    InvalidTransitionError,
    JobFailedError,
    JobNotFoundError,
    MissingExtraError,
    StoreUnavailableError,
    UnknownJobTypeError,
)
from milepost.jobs import JobManager, waiting
from milepost.model import Job, JobStatus, Progress
from milepost.tasks.message import unpack
from milepost.testing import FakeClock


@pytest.fixture(params=["publish", "start"])
def app(request):
    return make_app(milepost={"record_at": request.param})


@pytest.fixture
def jobs(app):
    return app.milepost.jobs


@pytest.fixture
def count(app):
    @app.task(base=CheckpointableTask, bind=True, name="count")
    def count(self, to=3, ask=None):
        for _ in self.iterate(range(to), every=1):
            if ask:
                getattr(app.milepost.jobs, ask)(self.job.id)
        return self.progress.done

    @app.task(name="plain")
    def plain():
        pass

    app.finalize()
    return app.tasks["count"]


def run(task, job, **options):
    return deliver(task, job_id=job.id, kwargs=unpack(job.message, task.app).kwargs, **options)


def test_create_records_and_sends(app, jobs, count):
    """A created job is on record and in its queue, by task or by name, in either mode."""
    for task in (count, "count"):
        job = jobs.create(task, {"to": 5})
        assert job == jobs.get(job.id)
        assert (job.status, job.task) == (JobStatus.PENDING, "count")
        ((headers, body),) = sent(app)
        assert headers["id"] == job.id
        assert body[:2] == [[], {"to": 5}]


def test_create_refuses_what_is_no_durable_task(jobs, count):
    """The error names the durable tasks that are like it."""
    for name in ("nothing", "plain"):
        problem = f"no job type or durable task '{name}'.*imported"
        with pytest.raises(UnknownJobTypeError, match=problem):
            jobs.create(name)
    with pytest.raises(UnknownJobTypeError, match="did you mean 'count'"):
        jobs.create("cuont")


def test_create_refuses_eager_mode(app, jobs, count):
    """A job that nobody could look up is not created."""
    app.conf.task_always_eager = True
    with pytest.raises(ConfigurationError, match="task_always_eager"):
        jobs.create("count")


def test_a_job_that_cannot_be_sent_is_not_created(app, jobs, count, monkeypatch):
    """Neither is anything left on record."""
    made = []

    def send_task(*args, **options):
        made.append(options["task_id"])
        raise OperationalError("broker down")

    monkeypatch.setattr(app, "send_task", send_task)
    with pytest.raises(BrokerUnavailableError, match="broker down"):
        jobs.create("count")
    with pytest.raises(JobNotFoundError):
        jobs.get(made[0])


def test_a_job_that_cannot_be_taken_back_does_not_hide_the_brokers_error(
    app, jobs, count, monkeypatch
):
    def send_task(*args, **options):
        raise OperationalError("broker down")

    def away(*args, **options):
        raise StoreUnavailableError("memory://", "nobody home")

    monkeypatch.setattr(app, "send_task", send_task)
    monkeypatch.setattr(app.milepost.store, "delete", away)
    with pytest.raises(BrokerUnavailableError, match="broker down") as raised:
        jobs.create("count")
    assert "nobody home" in raised.value.__notes__[0]


def test_an_unknown_id_is_an_error(jobs, count):
    """Never "pending": an id that is not on record is not found, by any verb."""
    for verb in (jobs.get, jobs.pause, jobs.resume, jobs.cancel, jobs.result, jobs.wait):
        with pytest.raises(JobNotFoundError, match="'nothing'"):
            verb("nothing")


def test_pause_and_resume_before_the_start(app, jobs, count):
    """A waiting job is paused at once; its message is dropped; a resume sends another."""
    job = jobs.create("count")
    sent(app)
    assert jobs.pause(job.id).status is JobStatus.PAUSED
    assert jobs.pause(job.id).status is JobStatus.PAUSED
    assert run(count, job).state == "IGNORED"
    assert jobs.resume(job.id).status is JobStatus.PENDING
    assert [headers["id"] for headers, _ in sent(app)] == [job.id]
    assert run(count, job).value == 3


def test_pause_and_resume_while_it_runs(app, jobs, count):
    """A running job stops at its next checkpoint, and goes on from there."""
    job = jobs.create("count", {"ask": "pause"})
    sent(app)
    assert run(count, job).state == "IGNORED"
    job = jobs.get(job.id)
    assert (job.status, job.progress, job.reason) == (JobStatus.PAUSED, Progress(1, 3), "paused")
    jobs.resume(job.id)
    assert len(sent(app)) == 1
    for _ in range(2):
        run(count, job)
        jobs.resume(job.id)
    assert run(count, job).value == 3


def test_resume_of_a_job_that_is_not_paused_changes_nothing(app, jobs, count):
    """A pending job is not sent a second time."""
    job = jobs.create("count")
    sent(app)
    assert jobs.resume(job.id).status is JobStatus.PENDING
    assert sent(app) == []


def test_cancel(app, jobs, count):
    """A waiting job is cancelled at once, a running one at its next checkpoint, for good."""
    waiting, running = jobs.create("count"), jobs.create("count", {"ask": "cancel"})
    assert jobs.cancel(waiting.id).status is JobStatus.CANCELLED
    assert run(count, waiting).state == "IGNORED"
    assert run(count, running).state == "IGNORED"
    assert jobs.get(running.id).status is JobStatus.CANCELLED
    assert jobs.wait(running.id).status is JobStatus.CANCELLED


def test_what_has_ended_takes_no_orders(jobs, count):
    """The error says what was asked, and what the job is."""
    job = jobs.create("count")
    run(count, job)
    for verb in ("pause", "resume", "cancel"):
        with pytest.raises(InvalidTransitionError, match="is succeeded and cannot become"):
            getattr(jobs, verb)(job.id)


def test_result(jobs, count, app):
    """The return value is kept in the record; without success there is none."""

    @app.task(base=CheckpointableTask, name="fail")
    def fail():
        raise KeyError("mine")

    good, bad = jobs.create("count"), jobs.create("fail")
    with pytest.raises(TimeoutError, match="is still pending"):
        jobs.result(good.id)
    run(count, good)
    run(app.tasks["fail"], bad)
    assert jobs.result(good.id) == 3
    with pytest.raises(JobFailedError, match="KeyError: 'mine'"):
        jobs.result(bad.id)


def test_wait_gives_up(jobs, count):
    """A job that does not end in time is told as it stands."""
    job = jobs.create("count")
    with pytest.raises(TimeoutError, match=r"is still pending after 0.01 s"):
        jobs.wait(job.id, timeout=0.01, interval=0.001)
    run(count, job)
    assert jobs.wait(job.id, timeout=0.01).status is JobStatus.SUCCEEDED


def test_wait_ends_when_its_time_is_over(monkeypatch):
    """The last look is at the timeout, however far the interval would reach past it."""
    clock, looks = FakeClock(), []
    start = clock.monotonic()
    monkeypatch.setattr(waiting, "time", clock)

    def look():
        looks.append(clock.monotonic() - start)
        return Job("j", "t", JobStatus.PENDING, 0.0)

    with pytest.raises(TimeoutError, match="after 5 s"):
        waiting.end_of(look, 5, 2.0)
    assert looks == [0.0, 2.0, 4.0, 5.0]


def test_the_manager_keeps_the_protocol(jobs):
    """What CeleryJobManager can do is what every manager can do, and more."""
    verbs = [name for name in vars(JobManager) if not name.startswith("_")]
    assert {"create_job", "get_job_status", "pause", "resume", "cancel"} <= set(verbs)
    assert all(callable(getattr(jobs, verb)) for verb in verbs)


# -- opening a store ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url, problem",
    [
        ("mysql://host/db", "scheme 'mysql'; known are memory://, redis://"),
        ("nothing", r"scheme '\(none\)'"),
        ("memory://somewhere", "a memory store is just 'memory://'"),
    ],
)
def test_a_store_that_does_not_exist_is_an_error_at_once(url, problem):
    """The mistake is told where it is made, not when the first job is sent."""
    with pytest.raises(ConfigurationError, match=problem):
        Milepost(make_app(milepost=False), store=url)


def test_a_missing_driver_names_the_pip_line(monkeypatch):
    """What to install is what the error says."""
    app, plain = make_app(milepost=False), importlib.import_module

    def import_module(name, *rest, **more):
        if name.startswith("psycopg"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return plain(name, *rest, **more)

    monkeypatch.setattr(importlib, "import_module", import_module)
    with pytest.raises(MissingExtraError, match=r"pip install 'milepost\[postgres\]'"):
        Milepost(app, store="postgresql://localhost/x").store.get("x")


def test_an_app_without_redis_is_asked_where():
    """A store is never guessed: without Redis the error says what to write."""
    app = make_app(milepost=False)
    milepost = Milepost(app)
    with pytest.raises(ConfigurationError, match=r'store="sqlite:///jobs.db"'):
        _ = milepost.store


@pytest.mark.parametrize(
    "conf",
    [
        {"broker_url": "redis://one/0"},
        {"broker_url": "amqp://x;redis://one/0"},
        {"result_backend": "redis://one/0"},
        {"broker_write_url": "redis://one/0"},
    ],
)
def test_the_store_defaults_to_the_redis_of_celery(conf):
    """As broker, as one of several, or for results."""
    from celery import Celery

    from milepost.app import redis_of

    app = Celery(set_as_current=False)
    app.conf.update(conf)
    assert redis_of(app) == "redis://one/0"


def test_sentinel_is_no_store():
    """Whoever has a Redis behind Sentinel is not told that there is none."""
    from celery import Celery

    from milepost.app import redis_of
    from milepost.errors import ConfigurationError

    app = Celery("shop", broker="sentinel://a:26379;sentinel://b:26379", set_as_current=False)
    with pytest.raises(ConfigurationError, match="uses Sentinel; the store needs the address"):
        redis_of(app)
