"""What follows an encrypted task: nobody without a key puts it there, and no error tells of it."""

import functools
import json
import logging

import pytest
from pydantic import BaseModel, field_validator

from deliveries import deliver, make_app
from milepost import EncryptedTask
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import EncryptedFailureError, InvalidInputError

CANARY = "canary-4711"


class Patient(BaseModel):
    word: str

    @field_validator("word")
    @classmethod
    def refuse(cls, word):
        raise ValueError(f"unknown patient {word}")


class Tenants(EncryptedTask):
    abstract = True

    def tenant_of(self, tenant, *args, **kwargs):
        return tenant


def hand_on(self, given=None, *more):
    return given


def take_anything(self, *args, **kwargs):
    return "done"


def take_word(self, word):
    return word


@pytest.fixture
def app():
    app = make_app(milepost={"keys": Keyring([Key("k1", b"k" * 32, is_current=True)])})
    plain = functools.partial(app.task, bind=True, shared=False)
    secret = functools.partial(plain, base=EncryptedTask)
    plain(name="plainly")(hand_on)
    secret(name="first")(hand_on)
    secret(name="second")(take_anything)
    secret(name="picky", input_model=Patient)(take_word)
    plain(name="of_tenant", base=Tenants)(hand_on)
    app.finalize()
    return app


def run_first(app, **following):
    """Deliver ``first`` with what follows it, in the words of a message."""
    task = app.tasks["first"]
    args, kwargs = task.milepost_outgoing((CANARY,), {}, "j1")
    embed = {name: json.loads(json.dumps(value)) for name, value in following.items()}
    deliver(task, *args, kwargs=kwargs, job_id="j1", **embed)
    return app.backend.get_task_meta("j1")


def in_the_clear(name, *args, **kwargs):
    """Return a signature as somebody writes it who has no key."""
    return {"task": name, "args": args, "kwargs": kwargs, "options": {}, "subtask_type": None}


# -- who has put it there ----------------------------------------------------------------------


@pytest.mark.parametrize("place", ["callbacks", "errbacks", "chain"])
def test_arguments_in_the_clear_are_refused(app, place):
    """The worker would seal them, and so make a forger's words those of somebody with a key."""
    meta = run_first(app, **{place: [in_the_clear("second", "to: attacker")]})
    assert meta["status"] == "FAILURE"
    assert meta["result"].kind == "PlaintextError"
    assert app.milepost.jobs.get("j1").status == "failed"


@pytest.mark.parametrize(
    "hidden",
    [
        lambda one: in_the_clear("plainly", one),
        lambda one: {**in_the_clear("plainly"), "options": {"link": [one]}},
        lambda one: in_the_clear("celery.group", tasks=[one]),
    ],
    ids=["an argument", "a link", "a group"],
)
def test_so_they_are_behind_plain_tasks(app, hidden):
    meta = run_first(app, callbacks=[hidden(in_the_clear("second", "to: attacker"))])
    assert meta["result"].kind == "PlaintextError"


def test_the_body_of_a_chord(app):
    meta = run_first(app, chord=in_the_clear("second", "to: attacker"))
    assert meta["result"].kind == "PlaintextError"


def test_what_somebody_with_a_key_has_put_there_follows(app):
    second, plain = app.tasks["second"], app.tasks["plainly"]
    meta = run_first(app, callbacks=[second.s(1), plain.s(second.s(2)), plain.s("clear")])
    assert meta["status"] == "SUCCESS"


def test_a_migration_takes_both(app):
    app.tasks["second"].accept_plaintext = True
    assert run_first(app, callbacks=[in_the_clear("second", 1)])["status"] == "SUCCESS"


# -- what errors tell --------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["callbacks", "chain"])
@pytest.mark.parametrize(
    ("name", "kind"), [("picky", "InvalidInputError"), ("of_tenant", "NoKeysError")]
)
def test_what_cannot_be_sent_tells_nothing(app, caplog, place, name, kind):
    """Celery logs it, and warns of it, as an error of the task before."""
    caplog.set_level(logging.DEBUG)
    with pytest.warns(RuntimeWarning, match=f"{kind}: \\*\\*\\*") as warned:
        meta = run_first(app, **{place: [app.tasks[name].s()]})
    assert CANARY not in caplog.text
    assert CANARY not in repr(meta)
    assert not any(CANARY in str(one.message) for one in warned)
    assert app.milepost.jobs.get("j1").status == "succeeded"


def test_a_body_gets_the_error_as_it_is(app):
    """It has the values itself, and what leaves it is encrypted in any case."""
    seen = []

    @app.task(base=EncryptedTask, bind=True, name="sender", shared=False)
    def sender(self, word):
        try:
            app.tasks["picky"].delay(word)
        except InvalidInputError as exc:
            seen.append(str(exc))
            raise

    args, kwargs = sender.milepost_outgoing((CANARY,), {}, "j2")
    deliver(sender, *args, kwargs=kwargs, job_id="j2")
    assert CANARY in seen[0]
    failure = app.backend.get_task_meta("j2")["result"]
    assert isinstance(failure, EncryptedFailureError)
    assert CANARY not in str(failure)
