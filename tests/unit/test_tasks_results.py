"""What follows a body: one outcome, told once, the same in the record and in Celery."""

import json
import pickle
import re
import uuid

import pytest
from celery import Task
from celery.backends.cache import CacheBackend
from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import EncodeError, OperationalError
from kombu.serialization import register

from deliveries import deliver, make_app, record, sent
from milepost import CheckpointableTask, EncryptedTask
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import InvalidInputError, JobResultError
from milepost.model import JobStatus
from milepost.stores.memory import MemoryStore
from milepost.tasks.message import FINISH_HEADER
from milepost.testing import FakeClock

KEYS = Keyring([Key("k1", b"k" * 32, is_current=True)])


class Strange:
    """What no serializer knows."""


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make(clock):
    """A function that makes an app whose results are nobody else's."""

    def make(**given):
        prefix = {"global_keyprefix": str(uuid.uuid4())}
        milepost = {"store": MemoryStore(clock), "keys": KEYS, **given.pop("milepost", {})}
        app = make_app(milepost=milepost, result_backend_transport_options=prefix, **given)
        app.task(name="link")(identity)
        app.task(name="errback")(identity)
        return app

    return make


@pytest.fixture
def app(make):
    return make()


def identity(value):
    return value


def returning(app, value, base=CheckpointableTask, **options):
    def body():
        return value

    return app.task(base=base, name="t", **options)(body)


def followed(app):
    """Return what Celery is to send after a job's end, as its message has it."""
    link, errback = app.tasks["link"], app.tasks["errback"]
    return {"callbacks": [dict(link.s())], "errbacks": [dict(errback.si("job"))]}


def names(messages):
    return [headers["task"] for headers, _ in messages]


def is_due(app, clock):
    """Whether a keeper would look at the job, however long it waits."""
    clock.advance(100_000.0)
    return "job" in app.milepost.store.due(10)


# -- what cannot be stored ---------------------------------------------------------------------


@pytest.mark.parametrize("value", [Strange(), {Strange()}, {"a": [Strange()]}])
@pytest.mark.parametrize("options", [{}, {"autoretry_for": (Exception,), "max_retries": None}])
def test_a_result_that_celery_cannot_store_fails_its_job(app, value, options):
    task = returning(app, value, **options)
    outcome = deliver(task, **followed(app))
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.value, JobResultError)
    assert type(value).__name__ in str(outcome.value)
    job = record(app)
    assert job.status is JobStatus.FAILED
    assert job.error.startswith("JobResultError: the body of 't' returned a value of type")
    assert isinstance(app.AsyncResult("job").result, JobResultError)
    assert names(sent(app)) == ["errback"]


def test_a_result_that_an_encrypted_task_cannot_store_fails_its_job(app):
    task = returning(app, Strange(), base=EncryptedTask)
    args, kwargs = task.milepost_outgoing((), {}, "job")
    assert deliver(task, *args, kwargs=kwargs).state == "FAILURE"
    assert record(app).status is JobStatus.FAILED
    assert app.AsyncResult("job").state == "FAILURE"


@pytest.mark.parametrize(
    ("value", "options", "conf"),
    [
        (b"plain", {}, {}),
        ({1, 2}, {"ignore_result": True}, {}),
        (Strange(), {"ignore_result": True}, {}),
        ({1, 2}, {}, {"result_serializer": "pickle", "accept_content": ["json", "pickle"]}),
    ],
)
def test_what_celery_can_store_or_need_not_is_a_success(make, value, options, conf):
    app = make(milepost={"allow_pickle": True}, **conf)
    assert deliver(returning(app, value, **options)).succeeded
    assert record(app).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize(
    "value",
    [None, True, 1, 0.5, "word", {"a": [1, None, {"b": "word"}]}, [], [[0.5]] * 3],
)
def test_most_results_are_encoded_once(app, monkeypatch, value):
    encoded = []
    encode = CacheBackend.encode

    def count(self, data):
        encoded.append(data)
        return encode(self, data)

    monkeypatch.setattr(CacheBackend, "encode", count)
    assert deliver(returning(app, value)).succeeded
    assert len(encoded) == 1


class Refusing:
    """A serializer that takes what MessagePack does of integers, and nothing else."""

    @staticmethod
    def dumps(data):
        packed = json.dumps(data)
        if any(abs(int(number)) >= 2**64 for number in re.findall(r"\d+", packed)):
            raise OverflowError("Integer value out of range")
        return packed


@pytest.mark.parametrize("value", [2**64, [2**64], {"a": 2**64}])
def test_what_another_serializer_does_not_take_fails_its_job(make, value):
    name, kind = "refusing", "application/x-refusing"
    register(name, Refusing.dumps, json.loads, content_type=kind, content_encoding="utf-8")
    app = make(result_serializer=name, accept_content=["json", name])
    assert deliver(returning(app, value)).state == "FAILURE"
    assert record(app).error.startswith("JobResultError")


@pytest.mark.parametrize(
    "value",
    [10**5000, [10**5000], {1: Strange()}, (1, Strange())],
    ids=["large", "large inside", "behind a number", "in a tuple"],
)
@pytest.mark.parametrize("options", [{}, {"keep_result": False}])
def test_what_only_looks_plain_is_found_out(app, value, options):
    assert deliver(returning(app, value, **options)).state == "FAILURE"
    assert record(app).error.startswith("JobResultError")


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), MemoryError("full")])
def test_what_happens_while_a_result_is_encoded_is_not_its_fault(app, error):
    class Slow:
        def __json__(self):
            raise error

    outcome = deliver(returning(app, Slow()))
    assert type(outcome.value) is type(error)
    assert record(app).error.startswith(type(error).__name__)


def test_the_error_survives_pickle():
    error = JobResultError("t", "set", "no such thing")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


# -- what goes wrong after a success ---------------------------------------------------------


class Following(Task):
    """A callback that cannot be sent."""

    abstract = True
    error = None

    def apply_async(self, *args, **options):
        raise self.error.with_traceback(None)


def failing(app, error):
    app.task(name="bad", base=Following)(identity).error = error
    return {**followed(app), "callbacks": [dict(app.tasks["bad"].s())]}


REPLAY = {"headers": {FINISH_HEADER: True}}


@pytest.mark.parametrize("error", [EncodeError("a set"), InvalidInputError("bad", "too large")])
def test_what_would_go_wrong_each_time_is_told_once_and_the_end(app, clock, caplog, error):
    task, follows = returning(app, 1), failing(app, error)
    assert deliver(task, **follows).state == "FAILURE"
    assert names(sent(app)) == ["errback"]
    assert record(app).status is JobStatus.SUCCEEDED
    assert not is_due(app, clock)
    assert [r.getMessage() for r in caplog.records if r.name == "milepost"] == [
        f"job job has succeeded, but what follows cannot be done: {error!r}"
    ]


@pytest.mark.parametrize("error", [TypeError("no such argument"), ValueError("closed file")])
def test_what_may_have_been_a_passing_fault_is_tried_once_more(app, clock, error):
    task, follows = returning(app, 1), failing(app, error)
    deliver(task, **follows)
    assert names(sent(app)) == ["errback"]
    assert is_due(app, clock)
    deliver(task, **follows, **REPLAY)
    assert sent(app) == []
    assert not is_due(app, clock)


def test_what_may_go_right_another_time_is_told_once_and_tried_for_an_hour(app, clock):
    task, follows = returning(app, 1), failing(app, RuntimeError("connection lost"))
    deliver(task, **follows)
    assert names(sent(app)) == ["errback"]
    for _ in range(3):
        clock.advance(1000.0)
        deliver(task, **follows, **REPLAY)
        assert "job" in app.milepost.store.due(10)
    clock.advance(1000.0)
    deliver(task, **follows, **REPLAY)
    assert sent(app) == []
    assert not is_due(app, clock)


def test_what_is_away_is_told_to_nobody_and_tried_as_long_as_it_takes(app, clock):
    task, follows = returning(app, 1), failing(app, OperationalError("nobody home"))
    deliver(task, **follows)
    clock.advance(10_000.0)
    deliver(task, **follows, **REPLAY)
    assert sent(app) == []
    assert app.AsyncResult("job").state == "PENDING"
    assert is_due(app, clock)


def test_a_replay_that_nobody_was_told_before_is_told(app, clock):
    """Its worker may have died before it told anybody."""
    task = returning(app, 1)
    follows = failing(app, OperationalError("nobody home"))
    deliver(task, **follows)
    app.tasks["bad"].error = TypeError("no such argument")
    clock.advance(10.0)
    deliver(task, **follows, **REPLAY)
    assert names(sent(app)) == ["errback"]
    assert app.AsyncResult("job").state == "FAILURE"
    assert not is_due(app, clock)


def test_a_success_of_which_nothing_is_kept_is_told_once(app, clock):
    task = returning(app, 1, keep_result=False)
    deliver(task, **failing(app, OperationalError("nobody home")))
    clock.advance(10.0)
    outcome = deliver(task, **followed(app), **REPLAY)
    assert outcome.state == "FAILURE"
    assert "it succeeded" in str(outcome.value)
    assert "died" not in str(outcome.value)
    assert names(sent(app)) == ["errback"]
    assert not is_due(app, clock)
