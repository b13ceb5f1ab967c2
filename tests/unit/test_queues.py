"""A look at the broker's queues."""

import time

from celery import Celery

from milepost import Milepost
from milepost.integrations.queues import Queues
from milepost.model import Job, JobStatus
from milepost.tasks import message


def job_in(app, queue):
    signature = {"task": "t", "args": [], "kwargs": {}, "options": {"queue": queue}}
    return Job("j", "t", JobStatus.PENDING, 0.0, message=message.pack(signature, None))


def test_a_queue_is_empty_until_something_is_in_it(monkeypatch):
    """One look answers for a second, so that a long queue costs one question, not thousands."""
    app = Celery(broker="memory://queues-test", set_as_current=False)
    Milepost(app, store="memory://")
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    queues = Queues(app)
    assert queues.is_empty_for(job_in(app, "fresh"))
    app.send_task("t", queue="fresh")
    assert queues.is_empty_for(job_in(app, "fresh"))
    now += 1.1
    assert not queues.is_empty_for(job_in(app, "fresh"))
    assert queues.is_empty_for(job_in(app, "another"))
