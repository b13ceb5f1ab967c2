"""Encrypted jobs while two systems run jobs: what the other one gets, and what nobody reads."""

import json
import uuid

import pytest
from celery import Celery
from pydantic import BaseModel, ConfigDict

from deliveries import deliver
from hosts import AdoptingHost
from milepost import CheckpointableTask, EncryptedTask, Milepost, Sensitive
from milepost.codecs.keyring import Key, Keyring
from milepost.events import ShadowCompared
from milepost.model import JobStatus
from milepost.routing import Mode, Routing
from milepost.routing import shadows as parity
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock

CANARY = "canary-4711"
KEYS = Keyring([Key("k1", b"k" * 32, is_current=True)])


class Order(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    number: int
    card: Sensitive[str]


@pytest.fixture
def host():
    return AdoptingHost()


@pytest.fixture
def events():
    return []


@pytest.fixture
def app(host, events, monkeypatch):
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = uuid.uuid4().hex
    clock = FakeClock()
    app.milepost = Milepost(
        app,
        store=MemoryStore(clock),
        clock=clock,
        keys=KEYS,
        observers=[events.append],
        routing=Routing(legacy=host),
    )

    @app.task(base=EncryptedTask, bind=True, name="tasks.seal", job_type="seal", shared=False)
    def seal(self, text, stop=False):
        for letter in self.iterate(list(text), name="letters", every=1):
            self.report(f"at {letter} of {text}")
            if stop:
                app.milepost.jobs.pause(self.request.id, by="rollback")
        return text

    @app.task(
        base=CheckpointableTask,
        bind=True,
        name="tasks.pay",
        job_type="pay",
        pydantic=True,
        shared=False,
    )
    def pay(self, order: Order):
        return order.number

    return app


def create(app, job_type, payload):
    app.milepost.flags.enable(f"celery_{job_type}")
    return app.milepost.router.create_job(job_type, payload)


def run(app, task, job_id):
    """Deliver the message that a job's record holds."""
    from milepost.tasks import message

    found = message.unpack(app.milepost.store.get(job_id).message, app)
    return deliver(app.tasks[task], *found.args, job_id=job_id, kwargs=found.kwargs)


def roll_back(app, job_type):
    return app.milepost.rollbacks.rollback_job_type(job_type)


def test_an_encrypted_job_is_handed_over_readable(app, host):
    """The other system gets what the caller gave: it could not carry on with ciphertext."""
    job_id = create(app, "seal", {"text": CANARY})
    done = roll_back(app, "seal")
    assert done.left == {}
    assert host.jobs[done.handed[job_id]].payload == {"text": CANARY}


def test_an_encrypted_checkpoint_and_progress_are_handed_over_readable(app, host, monkeypatch):
    job_id = create(app, "seal", {"text": CANARY, "stop": True})
    run(app, "tasks.seal", job_id)
    assert app.milepost.jobs.get(job_id).status is JobStatus.PAUSED
    adopted = []
    adopt = host.adopt
    monkeypatch.setattr(
        host, "adopt", lambda job, checkpoint: (adopted.append(job), adopt(job, checkpoint))[1]
    )
    done = roll_back(app, "seal")
    assert host.jobs[done.handed[job_id]].checkpoint["loops"] == {"letters": 1}
    assert adopted[0].progress.message == f"at c of {CANARY}"


def test_a_sensitive_field_is_handed_over_readable(app, host):
    job_id = create(app, "pay", {"order": Order(number=7, card=Sensitive(CANARY))})
    done = roll_back(app, "pay")
    assert done.left == {}
    assert host.jobs[done.handed[job_id]].payload == {"order": {"number": 7, "card": CANARY}}


def test_why_an_encrypted_job_is_not_handed_over_tells_nothing_of_it(
    app, host, monkeypatch, caplog
):
    """What the other system says may quote what it was given."""

    def adopt(job, checkpoint):
        raise ValueError(f"what is {job.payload}?")

    monkeypatch.setattr(host, "adopt", adopt)
    create(app, "seal", {"text": CANARY})
    done = roll_back(app, "seal")
    assert "cannot be handed over" in next(iter(done.left.values()))
    assert CANARY not in json.dumps(done.as_dict()) + caplog.text


def test_a_comparison_tells_nothing_of_encrypted_results(app, host, events):
    """That they differ is said; what they are stays where it is."""
    app.milepost.migrations.move("seal", Mode.SHADOW)
    job_id = app.milepost.router.create_job("seal", {"text": CANARY})
    (shadow,) = app.milepost.jobs.find(job_type="seal").jobs
    run(app, "tasks.seal", shadow.id)
    host.end(job_id, f"another {CANARY}")
    from milepost.routing.bundle import routing_of

    assert routing_of(app).comparer.compare("seal") == 1
    found = parity.parity_of(app.milepost.store.documents, "seal")
    assert found.different == 1
    told = [event.difference for event in events if isinstance(event, ShadowCompared)]
    assert CANARY not in f"{found} {told}"
    assert told[0]


def test_the_router_reports_an_encrypted_job_as_the_manager_does(app):
    job_id = create(app, "seal", {"text": CANARY, "stop": True})
    run(app, "tasks.seal", job_id)
    report = app.milepost.router.get_job_status(job_id)
    assert report.message == app.milepost.jobs.get_job_status(job_id).message
    assert report.message.endswith(CANARY)
