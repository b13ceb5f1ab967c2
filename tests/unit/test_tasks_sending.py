"""apply_async: on record first, then sent, with all that Celery was told."""

import json
import threading
from datetime import UTC, datetime, timedelta

import pytest
from celery import chain, chord, group
from kombu import Queue
from kombu.exceptions import OperationalError
from pydantic import BaseModel

from deliveries import make_app, record, sent
from milepost import CheckpointableTask
from milepost.errors import EncodeError, JobNotFoundError, StoreUnavailableError
from milepost.model import JobStatus
from milepost.tasks.base import resend
from milepost.tasks.message import FINISH_HEADER, unpack


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def add(app):
    @app.task(base=CheckpointableTask, name="add")
    def add(x=0, y=0):
        return x + y

    @app.task(name="plain")
    def plain(*args):
        return args

    return app.tasks["add"]


def message_of(app, job_id="job"):
    return unpack(record(app, job_id).message, app)


def resent(app, job_id="job"):
    """Return what a keeper would send for a job."""
    sent(app)
    resend(app, record(app, job_id))
    return sent(app)[0]


def test_the_record_is_written_first(app, add, monkeypatch):
    """When the message leaves, the job is on record: no status is ever untrue."""
    seen = []
    plain = app.send_task

    def send_task(*args, **options):
        seen.append(record(app, options["task_id"]).status)
        return plain(*args, **options)

    monkeypatch.setattr(app, "send_task", send_task)
    result = add.delay(1, 2)
    assert seen == [JobStatus.PENDING]
    headers, body = sent(app)[0]
    assert headers["id"] == result.id
    assert body[:2] == [[1, 2], {}]


def test_a_message_that_cannot_be_sent_leaves_no_record(app, add, monkeypatch):
    """The caller gets the error, and no job is left to be recovered."""

    def send_task(*args, **options):
        raise OperationalError("broker down")

    monkeypatch.setattr(app, "send_task", send_task)
    with pytest.raises(OperationalError):
        add.apply_async((1, 2), task_id="job")
    with pytest.raises(JobNotFoundError):
        record(app)


def test_a_record_that_cannot_be_taken_back_does_not_hide_the_brokers_error(app, add, monkeypatch):
    """The caller reads both; and the job may run yet."""

    def away(*args, **options):
        raise StoreUnavailableError("memory://", "nobody home")

    def send_task(*args, **options):
        raise OperationalError("broker down")

    monkeypatch.setattr(app, "send_task", send_task)
    monkeypatch.setattr(app.milepost.store, "delete", away)
    with pytest.raises(OperationalError, match="broker down") as raised:
        add.apply_async((1, 2), task_id="job")
    (note,) = raised.value.__notes__
    assert "a keeper may send the job" in note
    assert "nobody home" in note


def test_wrong_arguments_leave_no_record(app, add):
    """Celery checks the call's arguments; a call that fails there is no job."""
    with pytest.raises(TypeError):
        add.apply_async((1, 2, 3), task_id="job")
    with pytest.raises(JobNotFoundError):
        record(app)


def test_a_second_send_of_an_id_keeps_the_first_record(app, add, monkeypatch):
    """If the second cannot be sent, the first job is still there."""
    add.apply_async((1, 2), task_id="job")
    monkeypatch.setattr(app, "send_task", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        add.apply_async((3, 4), task_id="job")
    assert message_of(app).args == [1, 2]


def test_a_record_that_cannot_be_written_stops_the_message(app, add, monkeypatch):
    """Without a record, nothing is sent."""

    def away(job):
        raise StoreUnavailableError("memory://", "nobody home")

    monkeypatch.setattr(app.milepost.store, "create", away)
    with pytest.raises(StoreUnavailableError):
        add.delay(1, 2)
    assert sent(app) == []


def test_arguments_that_no_serializer_takes_are_an_error(app, add):
    """Neither record nor message."""
    with pytest.raises(EncodeError):
        add.apply_async((object(), 2), task_id="job")
    assert sent(app) == []


@pytest.mark.parametrize("where", ["countdown", "eta", "naive eta"])
def test_a_delay_is_a_schedule(app, add, where):
    """A job that is to start later is scheduled, and due when it should start."""
    before = datetime.now(UTC)
    later = before + timedelta(seconds=60)
    options = {
        "countdown": {"countdown": 60},
        "eta": {"eta": later},
        "naive eta": {"eta": later.replace(tzinfo=None)},
    }[where]
    add.apply_async((1, 2), task_id="job", **options)
    job = record(app)
    assert job.status is JobStatus.SCHEDULED
    assert abs(job.due_at - later.timestamp()) < 2
    assert "eta" not in message_of(app).options


def options_of(app, add):
    plain = app.tasks["plain"]
    return {
        "link": [plain.s("linked")],
        "link_error": [plain.s("failed")],
        "headers": {"tenant": "x"},
        "priority": 3,
        "expires": 3600,
        "time_limit": 30,
        "soft_time_limit": 20,
        "shadow": "shade",
        "ignore_result": True,
    }


def test_options_survive_in_the_record(app, add):
    """What is sent again after a loss is what was sent first, link by link."""
    add.apply_async((1,), {"y": 2}, task_id="job", **options_of(app, add))
    (first, body), (again, again_body) = sent(app)[0], resent(app)
    assert again_body == body
    for name in ("id", "task", "shadow", "timelimit", "ignore_result", "root_id", "priority"):
        assert again[name] == first[name], name
    assert again["tenant"] == first["tenant"] == "x"
    difference = datetime.fromisoformat(again["expires"]) - datetime.fromisoformat(first["expires"])
    assert abs(difference) < timedelta(seconds=2)


@pytest.mark.parametrize("given", [None, "a queue of mine"])
def test_where_the_caller_waits_survives_in_the_record(given):
    """With ``rpc://`` a result goes to the caller, whoever sends the job again."""
    app = make_app(result_backend="rpc://")

    @app.task(base=CheckpointableTask)
    def add():
        pass

    add.apply_async(task_id="job", reply_to=given)
    ((first, _),) = sent(app)
    assert first["reply_to"] == (given or app.thread_oid)
    assert message_of(app).options["reply_to"] == first["reply_to"]
    elsewhere = threading.Thread(target=resend, args=(app, record(app)))
    elsewhere.start()
    elsewhere.join()
    ((again, _),) = sent(app)
    assert again["reply_to"] == first["reply_to"]


@pytest.mark.parametrize("backend", ["rpc://", "cache+memory://"])
def test_where_nobody_waits_is_not_in_the_record(backend):
    app = make_app(result_backend=backend)

    @app.task(base=CheckpointableTask, ignore_result=backend == "rpc://")
    def add():
        pass

    add.apply_async(task_id="job")
    assert "reply_to" not in message_of(app).options


def test_an_expiry_does_not_start_anew(app, add):
    """A job sent again expires when it was to expire, not that long after."""
    add.apply_async(task_id="job", expires=3600)
    expires = message_of(app).options["expires"]
    moment = datetime.fromisoformat(expires) if isinstance(expires, str) else expires
    assert timedelta(minutes=59) < moment - datetime.now(UTC) < timedelta(minutes=61)


def test_a_queue_survives_in_the_record(app, add):
    """A queue given as an object is kept by its name."""
    app.conf.task_create_missing_queues = True
    add.apply_async(task_id="job", queue=Queue("special"))
    assert message_of(app).options["queue"] == "special"
    json.dumps(dict(message_of(app)))


class Order(BaseModel):
    id: int


def test_pydantic_arguments_survive_in_the_record(app):
    """Models are dumped as Celery does it."""

    @app.task(base=CheckpointableTask, pydantic=True)
    def ship(order: Order, fast: bool = False):
        pass

    ship.apply_async((Order(id=7),), {"fast": True}, task_id="job")
    signature = message_of(app)
    assert (signature.args, signature.kwargs) == ([{"id": 7}], {"fast": True})
    assert resent(app)[1][:2] == [[{"id": 7}], {"fast": True}]


def test_a_chain_survives_in_the_record(app, add):
    """The rest of a chain is part of what is sent again."""
    result = chain(add.s(1, 2), add.s(10), app.tasks["plain"].s()).apply_async()
    first = result.parent.parent.id
    ((_, body),) = sent(app)
    again, again_body = resent(app, first)
    assert again_body == body
    assert [part["task"] for part in again_body[2]["chain"]] == ["plain", "add"]
    assert again["root_id"] == first


def test_a_chord_survives_in_the_record(app, add):
    """Each member of a chord still knows its body and its group."""
    chord([add.s(1, 2), add.s(3, 4)])(app.tasks["plain"].s())
    for headers, body in sent(app):
        again, again_body = resent(app, headers["id"])
        assert again_body == body
        assert again_body[2]["chord"]["task"] == "plain"
        assert again["group"] == headers["group"]
        assert again["group_index"] == headers["group_index"]


def test_a_group_is_as_many_jobs(app, add):
    """Each member of a group is a job of its own."""
    result = group(add.s(n, n) for n in range(3)).apply_async()
    assert [record(app, child.id).status for child in result] == [JobStatus.PENDING] * 3


def test_a_child_knows_its_parents(app, add):
    """Root and parent of a job that was sent by another are kept."""
    from deliveries import deliver

    @app.task(base=CheckpointableTask)
    def parent():
        return add.apply_async((1, 2), task_id="child").id

    deliver(parent, job_id="parent", root_id="root")
    headers, _ = sent(app)[0]
    again, _ = resent(app, "child")
    assert (again["root_id"], again["parent_id"]) == (headers["root_id"], headers["parent_id"])
    assert (again["root_id"], again["parent_id"]) == ("root", "parent")


def test_a_finishing_resend_says_so(app, add):
    """The header that asks for Celery's part alone is on the message, and not in the record."""
    add.apply_async((1, 2), task_id="job", headers={"tenant": "x"})
    sent(app)
    resend(app, record(app), finishing=True)
    headers, _ = sent(app)[0]
    assert headers[FINISH_HEADER] is True
    assert headers["tenant"] == "x"
    assert FINISH_HEADER not in message_of(app).options["headers"]


def test_positions_of_arguments_are_celerys(app, add):
    """apply_async(args, kwargs, task_id, producer, link, link_error, shadow) by place."""
    with app.producer_pool.acquire(block=True) as producer:
        result = add.apply_async((1, 2), {}, "job", producer, None, None, "shade")
    assert result.id == "job"
    assert sent(app)[0][0]["shadow"] == "shade"


def test_record_at_start(add):
    """With record_at="start" the publisher writes nothing; the claim makes the record."""
    from deliveries import deliver

    app = make_app(milepost={"record_at": "start"})

    @app.task(base=CheckpointableTask)
    def job():
        return 1

    job.apply_async(task_id="job")
    with pytest.raises(JobNotFoundError):
        record(app)
    deliver(job)
    assert record(app).status is JobStatus.SUCCEEDED


def test_an_eta_may_be_written_out(app, add):
    """As Celery takes it: in ISO 8601, which is how it stands in a message."""
    moment = datetime.now(UTC) + timedelta(hours=1)
    add.apply_async((1, 2), task_id="job", eta=moment.isoformat())
    job = record(app)
    assert job.status is JobStatus.SCHEDULED
    assert job.due_at == pytest.approx(moment.timestamp(), abs=5)
    assert sent(app)[0][0]["eta"] == moment.isoformat()
