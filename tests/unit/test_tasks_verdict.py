"""What an error means for the job: the record must say what Celery then really does."""

import asyncio
import sys
from datetime import UTC, datetime, timedelta

import pytest
from celery.exceptions import Ignore, Reject, WorkerTerminate
from kombu.exceptions import OperationalError

from deliveries import deliver, make_app, record, sent
from milepost import CheckpointableTask, EncryptedTask
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import (
    BodyExitError,
    CrashLimitError,
    JobFailedError,
    StoreUnavailableError,
)
from milepost.model import Delivery, JobStatus
from milepost.runtime import runtime_of
from milepost.tasks.message import FINISH_HEADER, unpack


class Mine(ValueError):
    """A subclass, for autoretry_for of its base."""


def raising(make):
    def body(self):
        raise make()

    return body


def retrying(**options):
    def body(self):
        raise self.retry(**{name: made() for name, made in options.items()})

    return body


def mine():
    return ValueError("mine")


def later():
    return datetime.now(UTC) + timedelta(seconds=50)


ERRORS = {
    "ValueError": raising(ValueError),
    "subclass": raising(Mine),
    "KeyError": raising(KeyError),
    "Ignore": raising(Ignore),
    "Reject": raising(lambda: Reject("no", requeue=False)),
    "Reject requeue": raising(lambda: Reject("later", requeue=True)),
    "retry": retrying(countdown=lambda: 7),
    "retry default": retrying(),
    "retry exc": retrying(exc=mine, countdown=lambda: 7),
    "retry other exc": retrying(exc=KeyError, countdown=lambda: 7),
    "retry max 1": retrying(exc=mine, max_retries=lambda: 1),
    "retry eta": retrying(eta=later),
}
OPTIONS = {
    "none": {},
    "autoretry": {"autoretry_for": (ValueError,)},
    "autoretry all": {"autoretry_for": (Exception,)},
    "autoretry but": {"autoretry_for": (ValueError,), "dont_autoretry_for": (Mine,)},
    "max 1": {"autoretry_for": (ValueError,), "max_retries": 1},
    "max 0": {"autoretry_for": (ValueError,), "max_retries": 0},
    "max None": {"autoretry_for": (ValueError,), "max_retries": None},
    "kwargs max 1": {"autoretry_for": (ValueError,), "retry_kwargs": {"max_retries": 1}},
    "kwargs max None": {"autoretry_for": (ValueError,), "retry_kwargs": {"max_retries": None}},
    "countdown": {"autoretry_for": (ValueError,), "retry_kwargs": {"countdown": 5}},
    "backoff": {"autoretry_for": (ValueError,), "retry_backoff": True},
    "backoff 3": {"autoretry_for": (ValueError,), "retry_backoff": 3, "retry_jitter": False},
    "backoff max": {
        "autoretry_for": (ValueError,),
        "retry_backoff": 100,
        "retry_backoff_max": 10,
        "retry_jitter": False,
    },
    "delay": {"autoretry_for": (ValueError,), "default_retry_delay": 11},
    "throws": {"throws": (ValueError,)},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("error", ERRORS)
def test_the_record_says_what_celery_does(error, options):
    """SCHEDULED where Celery sends a retry, with its number and not before its time; FAILED
    where Celery fails the task; nothing else, for every way to fail and to retry."""
    for retries in range(5):
        compare(error, OPTIONS[options], retries)


def compare(error, options, retries):
    app = make_app()
    task = app.task(base=CheckpointableTask, bind=True, name="t", **options)(ERRORS[error])
    outcome = deliver(task, retries=retries)
    job, messages = record(app), sent(app)
    retried = [headers for headers, _ in messages if headers["retries"] == retries + 1]
    assert len(messages) == len(retried) == (outcome.state == "RETRY")
    want = {
        "RETRY": JobStatus.SCHEDULED,
        "FAILURE": JobStatus.FAILED,
        "IGNORED": JobStatus.CANCELLED,
        "REJECTED": JobStatus.FAILED if error == "Reject" else JobStatus.INTERRUPTED,
    }[outcome.state]
    assert job.status is want
    if retried:
        assert job.delivery == retries + 1
        eta = retried[0]["eta"]
        eta = job.created_at if eta is None else datetime.fromisoformat(eta).timestamp()
        assert job.due_at >= eta - 1
        if not options.get("retry_backoff"):  # its jitter waits less than predicted
            assert job.due_at <= eta + 1
    if job.status is JobStatus.FAILED:
        assert job.error


def test_a_retry_goes_on_where_it_was():
    """The retry's delivery finds the checkpoint of the attempt before."""
    app = make_app()
    did = []

    @app.task(base=CheckpointableTask, bind=True, autoretry_for=(OSError,))
    def job(self):
        for item in self.iterate(range(5)):
            did.append(item)
            if item == 2 and self.request.retries == 0:
                raise OSError("down")

    assert deliver(job).state == "RETRY"
    assert record(app).progress.done == 2
    assert deliver(job).state == "IGNORED"
    assert deliver(job, retries=1).succeeded
    assert did == [0, 1, 2, 2, 3, 4]


def test_a_retry_with_other_arguments_is_on_record():
    """What the keeper would send again is the retry, not the first message."""
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True)
    def job(self, page):
        raise self.retry(args=(page + 1,), countdown=5)

    deliver(job, 1)
    from milepost.tasks.message import unpack

    signature = unpack(record(app).message, app)
    assert signature.args == [2]


def test_retry_without_throw_goes_on():
    """retry(throw=False) lets the body end; Celery takes that for the task's outcome."""
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True)
    def job(self):
        self.retry(throw=False, countdown=5)
        return "done"

    assert deliver(job).value == "done"
    assert len(sent(app)) == 1


@pytest.mark.parametrize("options", ["autoretry all", "max None"])
def test_too_many_crashes_are_not_retried(options):
    """autoretry_for=(Exception,) must not keep a job that kills its workers alive."""
    app = make_app()
    options = {**OPTIONS[options], "autoretry_for": (Exception,)}

    @app.task(base=CheckpointableTask, max_crashes=0, **options)
    def task():
        pass

    store = app.milepost.store
    store.claim(Delivery("job", task.name, message=b"-"), "dead:1", 0.000001)
    outcome = deliver(task)
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.value, CrashLimitError)
    assert record(app).status is JobStatus.FAILED
    assert sent(app) == []


def test_a_replayed_failure_is_not_retried():
    """The end of a job whose worker died in between is told, not tried again."""
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True, autoretry_for=(Exception,), max_retries=1)
    def job(self):
        raise ValueError("mine")

    assert deliver(job, retries=1).state == "FAILURE"
    job.max_retries = None
    outcome = deliver(job, retries=1, headers={FINISH_HEADER: True})
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.value, JobFailedError)
    assert sent(app) == []


def test_an_error_text_is_bounded():
    """A record keeps a few kilobytes of an error's text, not all of it."""
    app = make_app()

    @app.task(base=CheckpointableTask)
    def job():
        raise ValueError("x" * 100_000)

    deliver(job)
    assert len(record(app).error) == 4096
    assert record(app).error.startswith("ValueError: xxx")


class MuteError(Exception):
    """An error that cannot say what it is."""

    def __str__(self):
        raise ZeroDivisionError

    __repr__ = __str__


class MuteExit(BaseException):
    __repr__ = MuteError.__str__


@pytest.mark.parametrize("base", [CheckpointableTask, EncryptedTask])
def test_an_error_that_cannot_be_described_ends_its_job_like_any_other(base):
    """Else the record would say that it runs, and the keeper send it again for ever."""
    keys = Keyring([Key("k1", b"k" * 32, is_current=True)])
    app = make_app(milepost={"keys": keys})

    @app.task(base=base, bind=True)
    def work(self):
        raise MuteError

    args = work.milepost_outgoing((), {}, "job")[0] if base is EncryptedTask else ()
    assert deliver(work, *args).state == "FAILURE"
    job = app.milepost.jobs.get("job")
    assert job.status is JobStatus.FAILED
    assert job.error == "MuteError: it cannot say what it is (ZeroDivisionError)"


def test_an_end_that_cannot_be_described_interrupts_its_job():
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True)
    def work(self):
        raise MuteExit

    with pytest.raises(MuteExit):
        deliver(work)
    assert record(app).status is JobStatus.INTERRUPTED


def test_an_exit_of_the_bodys_own_is_a_failure():
    """sys.exit() in a task, and a cancelled coroutine, must not run the job again for ever."""
    app = make_app()

    @app.task(base=CheckpointableTask, name="leave")
    def leave():
        sys.exit("no rows")

    @app.task(base=CheckpointableTask, name="cancel")
    async def cancel():
        inner = asyncio.create_task(asyncio.sleep(10))
        inner.cancel()
        await inner

    for task, what in ((leave, "SystemExit('no rows')"), (cancel, "CancelledError()")):
        outcome = deliver(task, job_id=task.name)
        assert outcome.state == "FAILURE"
        assert isinstance(outcome.value, BodyExitError)
        job = record(app, task.name)
        assert job.status is JobStatus.FAILED
        assert what in job.error


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (SystemExit(15 - 256), "its process was ended by signal 15 (Terminated)"),
        (WorkerTerminate(1), "its process ended: WorkerTerminate(1)"),
    ],
)
def test_an_exit_that_was_asked_for_is_an_interruption(end, why):
    """A terminated pool process, or worker, steps aside and the job goes on elsewhere."""
    app = make_app()

    @app.task(base=CheckpointableTask, name="leave")
    def leave():
        raise end

    with pytest.raises(SystemExit):
        deliver(leave)
    assert (record(app).status, record(app).reason) == (JobStatus.INTERRUPTED, why)


def test_an_outage_uses_up_no_retry(monkeypatch):
    """While the store is away nothing runs; autoretry_for must not count that as a try."""
    monkeypatch.setattr("milepost.engine.lease.PATIENCE", 0.0)
    app = make_app()

    @app.task(base=CheckpointableTask, name="any", autoretry_for=(Exception,), max_retries=1)
    def any_error():
        pytest.fail("it has no lease")

    def away(*_):
        raise StoreUnavailableError("memory://", "nobody home")

    runtime_of(app).store.claim = away
    outcome = deliver(any_error)
    assert (outcome.state, outcome.value.requeue) == ("REJECTED", True)
    assert sent(app) == []


@pytest.mark.parametrize("options", [{}, {"autoretry_for": (ValueError,)}])
def test_a_retry_needs_no_broker(monkeypatch, options):
    """What made the body fail may be the broker's outage; the record brings the retry later."""
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True, name="again", **options)
    def again(self, number=1):
        if options:
            raise ValueError
        raise self.retry((2,), countdown=7)

    def send_task(*_, **__):
        raise OperationalError("broker down")

    monkeypatch.setattr(app, "send_task", send_task)
    outcome = deliver(again)
    job = record(app)
    assert (outcome.state, job.status, job.delivery) == ("RETRY", JobStatus.SCHEDULED, 1)
    if not options:
        assert job.due_at == pytest.approx(job.started_at + 7, abs=2)
        assert list(unpack(job.message, app).args) == [2]
    with pytest.raises(OperationalError):
        again.apply_async(retries=1, task_id="another")
