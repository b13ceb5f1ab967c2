"""What a worker makes of messages of tasks that it does not have."""

from types import SimpleNamespace

import pytest

from deliveries import make_app
from milepost.errors import StoreUnavailableError
from milepost.integrations.unknown import BACK_AFTER, UnknownStep
from milepost.model import Delivery, JobStatus, NewJob
from milepost.runtime import runtime_of


class Message:
    def __init__(self, **headers):
        self.headers = headers
        self.acknowledged = self.put_back = False

    def reject_log_error(self, logger, errors, requeue=False):
        self.put_back = requeue

    def ack_log_error(self, logger, errors):
        self.acknowledged = True


@pytest.fixture
def app():
    app = make_app()
    app.milepost.store.create(NewJob("known", "new", b"-"))
    return app


@pytest.fixture
def refused(app):
    """What Celery was left with."""
    return []


@pytest.fixture
def consumer(app, refused):
    consumer = SimpleNamespace(
        app=app,
        connection_errors=(),
        on_unknown_task=lambda body, message, exc: refused.append(message),
        due=[],
        timer=SimpleNamespace(call_after=lambda *call: consumer.due.append(call)),
        call_soon=lambda act: act(),
    )
    UnknownStep(consumer)
    return consumer


def test_a_job_on_record_is_left_to_others_and_said_once(consumer, refused, caplog):
    messages = [Message(id="known", task="new") for _ in range(3)]
    for message in messages:
        consumer.on_unknown_task(None, message, KeyError("new"))
    assert all(message.acknowledged for message in messages)
    assert refused == []
    assert len(caplog.records) == 1
    assert "does not have the task 'new'" in caplog.text


def test_a_job_that_has_ended_is_left_too(app, consumer, refused):
    """Its message says that something of its end is to be done again."""
    app.milepost.store.claim(Delivery("known", "new"), "w:1", 3.0)
    app.milepost.store.release("known", "w:1", "killed", JobStatus.FAILED)
    consumer.on_unknown_task(None, Message(id="known", task="new"), KeyError("new"))
    assert refused == []


@pytest.mark.parametrize("headers", [{"id": "other", "task": "old"}, {}])
def test_what_is_not_on_record_is_celerys(consumer, refused, headers):
    message = Message(**headers)
    consumer.on_unknown_task(None, message, KeyError("old"))
    assert refused == [message]
    assert not message.acknowledged


def test_while_nobody_knows_it_goes_back_to_its_queue_but_not_at_once(
    app, consumer, refused, monkeypatch
):
    def away(job_id):
        raise StoreUnavailableError("memory://", "nobody home")

    monkeypatch.setattr(runtime_of(app).store, "get", away)
    message = Message(id="known", task="new")
    consumer.on_unknown_task(None, message, KeyError("new"))
    assert (refused, message.acknowledged, message.put_back) == ([], False, False)
    ((seconds, act, given),) = consumer.due
    assert seconds == BACK_AFTER
    act(*given)
    assert (refused, message.acknowledged, message.put_back) == ([], False, True)
