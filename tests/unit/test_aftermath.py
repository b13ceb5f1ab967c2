"""What Celery still owes a job whose body has ended."""

from types import SimpleNamespace

import pytest
from celery import Celery
from celery.backends.base import BaseKeyValueStoreBackend, DisabledBackend

from milepost.engine.aftermath import Aftermath
from milepost.integrations.aftermath import aftermath_of
from milepost.model import Delivery, JobStatus, NewJob, Settlement
from milepost.stores.memory import MemoryStore
from milepost.tasks import message
from milepost.testing import FakeClock


class Backend(BaseKeyValueStoreBackend):
    """A key-value store."""

    def __init__(self, app):
        super().__init__(app=app)
        self.kept = {}

    def get(self, key):
        return self.kept.get(key)


class Collecting(Backend):
    """One that collects chords itself, as the one in Redis does."""

    _chord_part_return_script = None


class App:
    """A Celery app with a backend of the test's."""

    def __init__(self, backend=Backend):
        self._app = Celery("shop", set_as_current=False)
        self.backend = backend(self._app)

    def __getattr__(self, name):
        return getattr(self._app, name)

    def AsyncResult(self, job_id):
        return SimpleNamespace(state=self.backend.kept.get(job_id, "PENDING"))


def member(app, number):
    """Return the message of a member of chord *number*."""
    options = {"chord": {"task": "body"}, "group_id": f"g{number}"}
    return message.pack(dict(app.signature("t", options=options)), "json")


@pytest.fixture
def job():
    store = MemoryStore(FakeClock())
    app = App()
    store.create(NewJob("j", "t", member(app, 1)))
    lease = store.claim(Delivery("j", "t"), "w:1", 3.0).lease
    store.settle(lease, Settlement(JobStatus.SUCCEEDED, finishing=True))
    return store.get("j")


@pytest.mark.parametrize(
    ("backend", "state", "claim", "found"),
    [
        (Collecting, "PENDING", None, Aftermath.OPEN),
        (Collecting, "FAILURE", None, Aftermath.OPEN),
        (Collecting, "SUCCESS", None, Aftermath.OPEN),
        (Collecting, "SUCCESS", b"somebody", Aftermath.UNDER_WAY),
        (Collecting, "SUCCESS", b"done", Aftermath.DONE),
        (Collecting, "SUCCESS", "done", Aftermath.DONE),
        (Backend, "SUCCESS", None, Aftermath.DONE),
        (Backend, "PENDING", None, Aftermath.OPEN),
    ],
)
def test_a_stored_result_is_not_all_that_follows(job, backend, state, claim, found):
    app = App(backend)
    app.backend.kept["j"] = state
    app.backend.kept[app.backend.get_key_for_group("g1", ".c")] = claim
    assert aftermath_of(app, job) is found


class Replying(Backend):
    """One that sends results to their callers; what it is asked is of its own queue."""

    oid = "the queue of this thread"


@pytest.mark.parametrize("backend", [DisabledBackend, Replying])
def test_where_nothing_is_kept_nothing_tells_that_it_was_done(job, backend):
    app = App(backend)
    app.backend.kept = {"j": "SUCCESS"}
    assert aftermath_of(app, job) is Aftermath.OPEN
