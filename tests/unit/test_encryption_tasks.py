"""Encrypted tasks as they are declared, sent, called and mixed."""

import asyncio
import io
import logging
import uuid

import pytest
from celery import Celery
from celery.exceptions import Retry

from deliveries import deliver
from milepost import CheckpointableTask, EncryptedTask, Milepost
from milepost.codecs import tokens
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import (
    EncodeError,
    EncryptedFailureError,
    JobFailedError,
    NoKeysError,
    PlaintextError,
)
from milepost.model import JobStatus

CANARY = "canary-4711"
KEYS = Keyring(
    [Key("k1", b"k" * 32, is_current=True), Key("t1", b"t" * 32, tenant="acme", is_current=True)]
)


def make_app(keys=KEYS, **conf):
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.update(task_default_queue=uuid.uuid4().hex, **conf)
    app.milepost = Milepost(app, store="memory://", keys=keys)
    return app


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def celery_log():
    """Everything that Celery logs, tracebacks included."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("celery")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield stream
    logger.removeHandler(handler)
    logger.setLevel(level)


def declare(app, function, **options):
    return app.task(base=options.pop("base", EncryptedTask), shared=False, **options)(function)


def echo(*args, **kwargs):
    return [list(args), kwargs]


class Helpful(CheckpointableTask):
    """Stands for another base that brings a method and a hook of its own."""

    abstract = True

    def shout(self, word):
        return self.step(str.upper, word)


class SecretAndHelpful(EncryptedTask, Helpful):
    abstract = True


class HelpfulAndSecret(Helpful, EncryptedTask):
    abstract = True


@pytest.mark.parametrize("base", [SecretAndHelpful, HelpfulAndSecret])
def test_it_mixes_with_another_base(app, celery_log, base):
    """In either order; the arguments are opened once, and the result is sealed once."""

    def work(self, word):
        return self.shout(word)

    task = declare(app, work, base=base, bind=True)
    assert task.apply((CANARY,)).get() == CANARY.upper()
    assert CANARY.upper() not in celery_log.getvalue()


@pytest.mark.parametrize("bind", [True, False])
def test_coroutines_and_unbound_functions(app, bind):
    async def bound(self, word):
        return await self.step(later, word)

    async def unbound(word):
        return await later(word)

    async def later(word):
        return word

    task = declare(app, bound if bind else unbound, bind=bind)
    assert task.apply((CANARY,)).get() == CANARY
    assert asyncio.run(task(CANARY)) == CANARY


def test_types_survive_that_celerys_json_would_change(app):
    task = declare(app, echo)
    given = ((1, 2), {3, 4}, b"\xff", {5: 6})
    assert task.apply(given, {"f": 1.5}).get() == [list(given), {"f": 1.5}]


def test_a_direct_call_is_a_direct_call(app):
    assert declare(app, echo)(1, a=2) == [[1], {"a": 2}]


def test_arguments_that_do_not_fit_are_refused_when_sent(app):
    def work(a, b):
        return a

    task = declare(app, work)
    with pytest.raises(TypeError):
        task.delay(1)
    with pytest.raises(EncodeError):
        task.delay(1, object())


def test_without_keys_nothing_is_sent():
    task = declare(make_app(None), echo)
    for send in (task.delay, task.s, lambda *a: task.apply(a)):
        with pytest.raises(NoKeysError, match=r"Milepost\(app, keys="):
            send(CANARY)


def test_failures_leave_as_ciphertext(app, celery_log):
    """In the log, in the traceback, in what a callback gets; the caller gets the text."""

    def work(word):
        try:
            raise KeyError(word)
        except KeyError as exc:
            raise OSError(5, word) from exc

    task = declare(app, work)
    done = task.apply((CANARY,))
    assert isinstance(done.result, JobFailedError)
    assert f"OSError: [Errno 5] {CANARY}" in str(done.result)
    assert "Traceback" in celery_log.getvalue()
    assert CANARY not in celery_log.getvalue()
    with pytest.raises(JobFailedError, match=CANARY):
        task.apply((CANARY,), throw=True)


def test_throws_still_goes_by_class(app, celery_log):
    """An expected error stays expected, whatever its class demands."""

    class DemandingError(Exception):
        def __init__(self, *, word):
            super().__init__(word)

    def work(kind):
        if kind == "demanding":
            raise DemandingError(word=CANARY)
        CANARY.encode().decode("utf-16-be" if kind == "short" else "ascii")
        raise UnicodeDecodeError("ascii", CANARY.encode(), 0, 1, CANARY)

    task = declare(app, work, throws=(DemandingError, UnicodeDecodeError))
    for kind in ("demanding", "unicode"):
        assert isinstance(task.apply((kind,)).result, JobFailedError)
    log = celery_log.getvalue()
    assert log.count("raised expected") == 2
    assert CANARY not in log


def test_a_retry_says_nothing_and_keeps_what_it_is_not_given(app, celery_log):
    """New positional arguments leave the inherited ones by name, and the other way round."""
    seen = []

    def work(self, word, other="-", *, third="-"):
        seen.append((word, other, third))
        if len(seen) == 1:
            raise self.retry(args=(f"{word}!",), exc=ValueError(word), countdown=0)
        if len(seen) == 2:
            raise self.retry(kwargs={"third": "new", "other": CANARY}, countdown=0)

    declare(app, work, bind=True).apply((CANARY,), {"other": "kept", "third": "kept"})
    assert seen == [
        (CANARY, "kept", "kept"),
        (f"{CANARY}!", "kept", "kept"),
        (f"{CANARY}!", CANARY, "new"),
    ]
    assert "Retry in 0s" in celery_log.getvalue()
    assert CANARY not in celery_log.getvalue()


def test_signatures_hold_ciphertext_and_take_more(app):
    task = declare(app, echo)
    signature = task.s(CANARY, deep=CANARY)
    assert CANARY not in repr(signature) + str(dict(signature))
    more = signature.clone((1,), {"x": 2})
    assert more.apply().get() == [[1, CANARY], {"deep": CANARY, "x": 2}]
    assert task.si().apply().get() == [[], {}]


def test_arguments_added_to_a_link_later_are_encrypted_too(app):
    """Those of before are opened for it, and all of them sealed together."""
    task = declare(app, echo)
    more = task.s(1, a=2).clone((CANARY,))
    assert CANARY in repr(more)
    result = task.apply_async((0,), link=more)
    stored = app.milepost.store.get(result.id).message
    assert CANARY.encode() not in stored
    assert more.apply().get() == [[CANARY, 1], {"a": 2}]


def test_somebody_elses_ciphertext_is_not_opened_for_him(app):
    """A token passed on as text stays text, also in a task that has the key."""
    task = declare(app, echo)
    sealer = app.milepost.runtime.cipher.sealer()
    stolen = tokens.seal_result(sealer, tokens.Returned("victim", task.name, "", b'J1"secret"'))
    assert task.apply((stolen,)).get() == [[stolen], {}]
    assert app.milepost.jobs.open(stolen) == "secret"
    (part,), other_mark = task.s(CANARY)["args"], task.s(CANARY)["kwargs"]
    assert task.apply((part,)).get() == [[part], {}]
    assert task.apply((part,), other_mark).get() == [[part], {}]
    keys = Keyring([Key("k9", b"9" * 32, is_current=True)])
    unknown = Milepost(Celery("other", set_as_current=False), store="memory://", keys=keys)
    foreign = tokens.seal_part(unknown.runtime.cipher.sealer(), "t", b"x")
    assert task.apply((foreign,)).get() == [[foreign], {}]
    own = tokens.seal_call(sealer, "another-job", task.name, b"x")
    assert task.apply((own,)).get() == [[own], {}]


def test_a_tenants_job_uses_the_tenants_key(app):
    class TenantTask(EncryptedTask):
        abstract = True

        def tenant_of(self, tenant, *_):
            return tenant

    def work(tenant, word):
        return word

    task = declare(app, work, base=TenantTask)
    (token,), _ = task.milepost_outgoing(("acme", CANARY), {}, "id")
    assert tokens.key_id_in(token) == "t1"
    with pytest.raises(NoKeysError, match="tenant 'nobody'"):
        task.delay("nobody", CANARY)


def test_plaintext_is_taken_only_while_migrating(app):
    """A job from before the task was encrypted."""
    seen = []

    def work(word):
        seen.append(word)

    class Migrating(EncryptedTask):
        abstract = True
        accept_plaintext = True

    for name, base in (("strict", EncryptedTask), ("lenient", Migrating)):
        task = declare(app, work, base=base, name=name)
        task.push_request(id=name, args=("old",), kwargs={}, called_directly=False, is_eager=True)
        try:
            if base is EncryptedTask:
                with pytest.raises(EncryptedFailureError, match="PlaintextError"):
                    task.run("old")
            else:
                assert task.run("old") is None
        finally:
            task.pop_request()
    assert seen == ["old"]


def test_the_engines_errors_stay_pickable(app):
    """An encrypted failure of any class comes back from another process as one of ours."""
    import pickle

    from milepost.tasks.disguises import _class_as

    for kind in (ValueError, OSError, UnicodeDecodeError, KeyError, StopIteration, Retry):
        error = _class_as(kind)("job", "task", kind.__name__, "mp1.x")
        assert isinstance(error, kind)
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is EncryptedFailureError
        assert again.args == error.args
        assert str(again) == str(error)


STATES_OF_ERRORS = {
    "FAILURE": {"exc_type": "LookupError", "exc_message": [CANARY, "gone"]},
    "RETRY": {"exc_type": f"no {CANARY}", "exc_message": "gone"},
    "REVOKED": LookupError(CANARY, "gone"),
}


@pytest.mark.parametrize("state", STATES_OF_ERRORS)
def test_an_error_that_a_body_tells_as_a_state_is_one(app, state):
    """Celery's backend takes nothing else with such a state."""

    def work(self):
        self.update_state(state=state, meta=STATES_OF_ERRORS[state])
        meta = app.backend.get_task_meta(self.request.id)
        assert CANARY not in repr(meta)
        assert isinstance(meta["result"], EncryptedFailureError)
        assert CANARY in str(self.AsyncResult(self.request.id).result)

    task = declare(app, work, bind=True)
    job_id = uuid.uuid4().hex
    (token,), _ = task.milepost_outgoing((), {}, job_id)
    deliver(task, token, job_id=job_id)
    assert app.milepost.jobs.get(job_id).status is JobStatus.SUCCEEDED


def test_it_is_said_what_was_refused(app):
    assert "found in the clear" in str(PlaintextError("job: arguments"))
