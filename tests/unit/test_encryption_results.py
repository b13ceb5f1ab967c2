"""What the result backend has of an encrypted task's job is taken for nothing else."""

import pickle

import pytest

from deliveries import deliver, make_app
from milepost import EncryptedTask
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import EncryptedFailureError, JobFailedError, PlaintextError, TamperedError
from milepost.model import Swap


@pytest.fixture
def app():
    app = make_app(milepost={"keys": Keyring([Key("k1", b"k" * 32, is_current=True)])})

    @app.task(base=EncryptedTask, bind=True, name="pay", shared=False)
    def pay(self, what):
        if what == "tell":
            self.update_state(state="PROGRESS", meta="on its way")
            raise ValueError("not this one")
        return what

    @app.task(base=EncryptedTask, bind=True, name="other", shared=False)
    def other(self, what):
        return what

    app.finalize()
    return app


def run(app, name, job, what):
    task = app.tasks[name]
    args, kwargs = task.milepost_outgoing((what,), {}, job)
    deliver(task, *args, kwargs=kwargs, job_id=job)


def put(app, job, result, state="SUCCESS"):
    """Write into the result backend, as somebody who has no key."""
    put_entry(app, job, {"status": state, "result": result, "task_id": job})


def put_entry(app, job, entry):
    backend = app.backend
    backend.set(backend.get_key_for_task(job), backend.encode(entry))


def entry_of(app, job):
    return app.backend.decode(app.backend.get(app.backend.get_key_for_task(job)))


def test_the_job_s_own(app):
    run(app, "pay", "A", "100 to Ann")
    result = app.tasks["pay"].AsyncResult("A")
    assert result.get(timeout=1) == result.result == "100 to Ann"
    assert app.tasks["pay"].AsyncResult("nobody").result is None


@pytest.mark.parametrize("name", ["pay", "other"])
def test_another_job_s_result(app, name):
    run(app, "pay", "A", "100 to Ann")
    run(app, name, "B", "100 to Bob")
    put_entry(app, "A", entry_of(app, "B"))
    result = app.tasks["pay"].AsyncResult("A")
    with pytest.raises(TamperedError):
        result.get(timeout=1)
    with pytest.raises(TamperedError):
        assert result.result


def test_the_result_of_the_task_that_has_replaced_it(app):
    """``self.replace()`` goes on under the same id."""
    run(app, "other", "R", "100 to Bob")
    assert app.tasks["pay"].AsyncResult("R").get(timeout=1) == "100 to Bob"


def test_another_job_s_failure(app):
    run(app, "pay", "A", "100 to Ann")
    run(app, "pay", "C", "tell")
    put_entry(app, "A", entry_of(app, "C"))
    with pytest.raises(TamperedError):
        app.tasks["pay"].AsyncResult("A").get(timeout=1)
    with pytest.raises(JobFailedError, match="not this one"):
        app.tasks["pay"].AsyncResult("C").get(timeout=1)


def forge(app, job, failure):
    """Put a failure into the result backend, as somebody who has no key."""
    backend = app.backend
    entry = {"result": backend.prepare_exception(failure), "status": "FAILURE", "task_id": job}
    put_entry(app, job, entry)


def test_a_failure_in_the_clear(app):
    forge(app, "C", EncryptedFailureError("C", "pay", "ValueError", "pay Bob"))
    result = app.tasks["pay"].AsyncResult("C")
    with pytest.raises(PlaintextError, match="C: error"):
        result.get(timeout=1)
    with pytest.raises(PlaintextError):
        app.milepost.jobs.open(EncryptedFailureError("C", "pay", "ValueError", "pay Bob"))
    app.tasks["pay"].accept_plaintext = True
    with pytest.raises(JobFailedError, match="ValueError: pay Bob"):
        result.get(timeout=1)


def test_the_class_of_a_failure_is_bound_to_its_words(app):
    run(app, "pay", "C", "tell")
    with pytest.raises(JobFailedError, match="ValueError: not this one"):
        app.tasks["pay"].AsyncResult("C").get(timeout=1)
    sealed = app.backend.get_result("C")
    forge(app, "C", EncryptedFailureError("C", "pay", "KeyError", sealed.text))
    with pytest.raises(JobFailedError, match=r"KeyError: \*\*\*"):
        app.tasks["pay"].AsyncResult("C").get(timeout=1)


def test_a_result_in_the_clear(app):
    run(app, "pay", "A", "100 to Ann")
    put(app, "A", {"forged": True})
    with pytest.raises(PlaintextError):
        app.tasks["pay"].AsyncResult("A").get(timeout=1)
    app.tasks["pay"].accept_plaintext = True
    assert app.tasks["pay"].AsyncResult("A").get(timeout=1) == {"forged": True}


def test_a_result_in_the_clear_in_a_record(app):
    """Whoever can write into the store."""
    run(app, "pay", "D", "100 to Ann")
    store = app.milepost.store
    assert app.milepost.jobs.result("D", timeout=1) == "100 to Ann"
    before = store.get("D").result
    forged = b'J1"100 to Bob"'
    assert store.exchange("D", [Swap("result", before, forged, of_record=True)]) == 1
    with pytest.raises(PlaintextError):
        app.milepost.jobs.result("D", timeout=1)
    app.tasks["pay"].accept_plaintext = True
    assert app.milepost.jobs.result("D", timeout=1) == "100 to Bob"


def test_what_a_job_has_told_on_its_way(app, monkeypatch):
    """It is shown as such, and is no result."""
    told = []
    store = app.backend.store_result

    def keep(job, result, state, **options):
        told.append((state, result))
        return store(job, result, state, **options)

    monkeypatch.setattr(app.backend, "store_result", keep)
    run(app, "pay", "A", "tell")
    token = dict(told)["PROGRESS"]
    put(app, "A", token, "PROGRESS")
    assert app.tasks["pay"].AsyncResult("A").result == "on its way"
    assert app.milepost.jobs.open(token) == "on its way"
    put(app, "A", token, "SUCCESS")
    with pytest.raises(TamperedError):
        app.tasks["pay"].AsyncResult("A").get(timeout=1)


def test_words_of_celerys_own_are_shown(app):
    put(app, "A", {"pid": 1, "hostname": "w1"}, "STARTED")
    assert app.tasks["pay"].AsyncResult("A").result == {"pid": 1, "hostname": "w1"}


def test_a_result_knows_its_task_wherever_it_is_sent(app):
    reduced = app.tasks["pay"].AsyncResult("A").__reduce_args__()
    assert reduced[2] == "pay"
    assert pickle.loads(pickle.dumps(reduced[0])) == "A"
