"""Places that are easily forgotten, through which something of an encrypted task could get out."""

import io
import logging
import traceback

import pytest
from celery.exceptions import Reject
from pydantic import BaseModel, ValidationError, field_serializer, field_validator

from deliveries import deliver, make_app, sent
from hosts import AdoptingHost
from milepost import EncryptedTask
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import StoreUnavailableError
from milepost.events import ShadowFailed
from milepost.model import JobStatus
from milepost.routing import Mode, Routing
from milepost.routing.bundle import routing_of

CANARY = "canary-4711"
KEYS = Keyring([Key("k1", b"k" * 32, is_current=True)])


@pytest.fixture
def app():
    return make_app(milepost={"keys": KEYS})


@pytest.fixture
def log():
    """Everything that milepost and Celery log."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in ("celery", "milepost", "asyncio")]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield stream
    for logger in loggers:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def delivered(task, *args, job_id="job", **options):
    """Run a job of an encrypted task as a worker would."""
    args, kwargs = task.milepost_outgoing(args, {}, job_id)
    return deliver(task, *args, kwargs=kwargs, job_id=job_id, **options)


class Own(Exception):
    """An error that shows itself by what only its own way of making it sets."""

    def __init__(self, word, number):
        super().__init__(number)
        self.word = word

    def __repr__(self):
        return f"Own({self.word})"


def test_an_error_that_shows_itself_its_own_way_does_not_here(app):
    @app.task(base=EncryptedTask, bind=True, autoretry_for=(Own,), max_retries=0)
    def work(self, word):
        raise Own(word, 1)

    outcome = delivered(work, CANARY)
    assert isinstance(outcome.value, Own)
    assert CANARY not in repr(outcome)


class Picky(Exception):
    """An error that cannot be made without what it is to say."""

    def __new__(cls, word):
        return super().__new__(cls)


class Sealed(BaseModel):
    """Its errors are of a class that can have no subclass."""

    number: int


def refused(word):
    Sealed(number=word)


def picky(word):
    raise Picky(word)


def own(word):
    raise Own(word, 1)


def grouped(word):
    raise ExceptionGroup(word, [ValueError(word)])


KINDS = {ValidationError: refused, Picky: picky, Own: own, ExceptionGroup: grouped}


@pytest.mark.parametrize("kind", KINDS)
def test_celery_retries_what_the_record_says_is_retried(app, log, kind):
    """Whatever class an error is of, and whether or not another class can be made of it."""
    options = {"retry_backoff": 7, "retry_jitter": False, "max_retries": 2}

    @app.task(base=EncryptedTask, bind=True, autoretry_for=(kind,), **options)
    def work(self, word):
        KINDS[kind](word)

    outcome = delivered(work, CANARY, retries=1)
    assert (outcome.state, outcome.value.when) == ("RETRY", 14)
    assert app.milepost.jobs.get("job").status is JobStatus.SCHEDULED
    ((headers, _),) = sent(app)
    assert (headers["id"], headers["retries"]) == ("job", 2)
    last = delivered(work, CANARY, retries=2)
    assert (last.state, last.value.kind) == ("FAILURE", kind.__name__)
    assert app.milepost.jobs.get("job").status is JobStatus.FAILED
    assert CANARY not in repr((outcome, last)) + log.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_celery_ends_what_the_record_says_has_ended(app, kind):
    @app.task(base=EncryptedTask, bind=True, autoretry_for=(Exception,), dont_autoretry_for=(kind,))
    def work(self, word):
        KINDS[kind](word)

    outcome = delivered(work, CANARY)
    assert (outcome.state, outcome.value.kind) == ("FAILURE", kind.__name__)
    assert app.milepost.jobs.get("job").status is JobStatus.FAILED
    assert sent(app) == []


def test_a_limit_of_retries_of_its_own_holds_for_every_class(app):
    @app.task(
        base=EncryptedTask,
        bind=True,
        autoretry_for=(ValidationError,),
        retry_kwargs={"max_retries": 1, "countdown": 3},
    )
    def work(self, word):
        refused(word)

    first, last = delivered(work, CANARY), delivered(work, CANARY, retries=1)
    assert (first.state, first.value.when, last.state) == ("RETRY", 3, "FAILURE")
    assert app.milepost.jobs.get("job").status is JobStatus.FAILED


class TellingState(BaseModel):
    word: str = ""

    @field_serializer("word")
    def refuse(self, word):
        if word:
            raise ValueError(f"no {word}")
        return word


def test_a_state_that_cannot_be_saved_is_not_told_to_the_log(app, log):
    """Beside another error it is only logged; the model's own code has chosen those words."""

    @app.task(base=EncryptedTask, bind=True, state_model=TellingState)
    def work(self, word):
        self.state.word = word
        raise OSError(word)

    delivered(work, CANARY)
    assert app.milepost.jobs.get("job").error == f"OSError: {CANARY}"
    assert "last changes are not saved" in log.getvalue()
    assert CANARY not in log.getvalue()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, BaseExceptionGroup])
def test_what_ends_a_process_says_nothing(app, kind):
    """It is no error that Celery could be told of, and goes up to where it is printed."""

    class Telling(KeyboardInterrupt):
        def __str__(self):
            return CANARY

    @app.task(base=EncryptedTask, bind=True)
    def work(self, word):
        if kind is KeyboardInterrupt:
            exc = Telling(word)
            exc.add_note(word)
            raise exc
        raise BaseExceptionGroup(word, [KeyboardInterrupt(word)])

    with pytest.raises(BaseException) as found:
        delivered(work, CANARY)
    assert not isinstance(found.value, Exception)
    assert CANARY not in "".join(traceback.format_exception(found.value))
    assert CANARY not in repr(found.value)


def test_a_job_that_nobody_could_claim_goes_back_to_the_broker(app, monkeypatch):
    """Also where the task retries after whatever error: nothing has run that could be retried."""

    @app.task(base=EncryptedTask, bind=True, autoretry_for=(Exception,))
    def work(self, word):
        return word

    args, kwargs = work.milepost_outgoing((CANARY,), {}, "job")

    def away(*_):
        raise StoreUnavailableError("memory", "away")

    monkeypatch.setattr("milepost.engine.lease.PATIENCE", 0.0)
    monkeypatch.setattr(type(app.milepost.store), "claim", away)
    outcome = deliver(work, *args, kwargs=kwargs)
    assert outcome.state == "REJECTED"
    assert isinstance(outcome.value, Reject)
    assert outcome.value.requeue


def test_a_comparison_with_the_legacy_system_keeps_no_results():
    """Shadow runs are compared in full, and told of by number only."""
    host, events = AdoptingHost(), []
    options = {"keys": KEYS, "routing": Routing(legacy=host), "observers": [events.append]}
    app = make_app(milepost=options)

    @app.task(base=EncryptedTask, bind=True, name="look", job_type="look")
    def look(self, word):
        return f"{word}: {word}"

    app.milepost.migrations.move("look", Mode.SHADOW, share=100.0)
    original = app.milepost.router.create_job("look", {"word": CANARY})
    (shadow,) = app.milepost.jobs.find(owner="shadow:look").jobs
    args, kwargs = look.milepost_outgoing((), {"word": CANARY}, shadow.id)
    deliver(look, *args, kwargs=kwargs, job_id=shadow.id)
    assert app.milepost.jobs.get(shadow.id).status is JobStatus.SUCCEEDED
    host.end(original, f"{CANARY} of old")
    assert routing_of(app).comparer.compare("look") == 1
    assert events[-1].difference == "***"
    left = [events, app.milepost.store.documents.read_all("")]
    assert CANARY not in repr(left)


class Word(BaseModel):
    word: str

    @field_validator("word")
    @classmethod
    def refuse(cls, word):
        raise ValueError(f"no {word}")


UNSENDABLE = {
    "refused": ({"input_model": Word}, {"word": CANARY}, "InvalidInputError: ***"),
    "not to be stored": ({}, {"word": {CANARY: object()}}, "EncodeError: ***"),
    "of no such name": ({}, {"word": 1, CANARY: 1}, "TypeError: ***"),
}


@pytest.mark.parametrize("how", UNSENDABLE)
def test_observers_are_not_told_why_a_shadow_could_not_be_sent(how):
    """What is wrong with a payload is said in words that may have it in them."""
    declared, payload, problem = UNSENDABLE[how]
    events = []
    options = {"keys": KEYS, "routing": Routing(legacy=AdoptingHost())}
    app = make_app(milepost={**options, "observers": [events.append]})

    @app.task(base=EncryptedTask, bind=True, name="look", job_type="look", **declared)
    def look(self, word):
        return word

    app.milepost.migrations.move("look", Mode.SHADOW, share=100.0)
    app.milepost.router.create_job("look", payload)
    (failed,) = [event for event in events if isinstance(event, ShadowFailed)]
    assert failed.problem == problem
    assert CANARY not in repr(events)


def test_a_retry_with_other_arguments_leaves_them_in_no_record(app, log):
    @app.task(base=EncryptedTask, bind=True)
    def work(self, word):
        raise self.retry(args=(f"{CANARY} again",), exc=ValueError(CANARY), countdown=60)

    outcome = delivered(work, CANARY)
    job = app.milepost.store.get("job")
    assert job.status is JobStatus.SCHEDULED
    left = [outcome, job, job.message, log.getvalue(), vars(outcome.value)]
    assert CANARY not in repr(left)


def test_a_replacement_is_sent_encrypted(app):
    @app.task(base=EncryptedTask, bind=True, name="inner")
    def inner(self, word):
        return word

    @app.task(base=EncryptedTask, bind=True, name="outer")
    def outer(self, word):
        raise self.replace(app.signature("inner", args=(word,)))

    delivered(outer, CANARY)
    messages = sent(app)
    assert len(messages) == 1
    assert CANARY not in repr(messages)
    assert CANARY not in repr(app.milepost.store.get("job").message)


def test_a_job_that_goes_back_to_the_legacy_system_is_handed_over_decrypted():
    """Whoever brings it back holds the key; the other system can read no ciphertext."""
    host = AdoptingHost()
    app = make_app(milepost={"keys": KEYS, "routing": Routing(legacy=host)})

    @app.task(base=EncryptedTask, bind=True, name="look", job_type="look")
    def look(self, word):
        self.step(str, word)
        raise self.retry(kwargs={"word": f"{word} again"}, countdown=60)

    app.milepost.migrations.move("look", Mode.CELERY)
    fresh, begun = (app.milepost.router.create_job("look", {"word": w}) for w in "ab")
    args, kwargs = look.milepost_outgoing((), {"word": "b"}, begun)
    deliver(look, *args, kwargs=kwargs, job_id=begun)
    done = app.milepost.rollbacks.rollback_job_type("look", timeout=0.1)
    assert done.left == {}
    taken = {done.handed[fresh]: {"word": "a"}, done.handed[begun]: {"word": "b again"}}
    assert {native: job.payload for native, job in host.jobs.items()} == taken
    assert host.jobs[done.handed[begun]].checkpoint["steps"] == {"str": "b"}


def test_what_the_legacy_system_says_of_a_job_is_not_kept(caplog):
    """It was given the payload, and may quote it when it refuses the job."""

    class Fussy(AdoptingHost):
        def adopt(self, job, checkpoint):
            raise ValueError(f"no {job.payload}")

    app = make_app(milepost={"keys": KEYS, "routing": Routing(legacy=Fussy())})

    @app.task(base=EncryptedTask, bind=True, name="look", job_type="look")
    def look(self, word):
        return word

    app.milepost.migrations.move("look", Mode.CELERY)
    job_id = app.milepost.router.create_job("look", {"word": CANARY})
    done = app.milepost.rollbacks.rollback_job_type("look", timeout=0.1)
    assert done.left == {job_id: "paused, it cannot be handed over: ValueError"}
    left = [done, caplog.text, app.milepost.store.documents.read_all("")]
    assert CANARY not in repr(left)
