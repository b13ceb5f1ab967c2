"""A task that asks models and is encrypted: neither questions nor answers are readable outside."""

import io
import logging

import pytest

from deliveries import deliver, make_app
from milepost import EncryptedTask, LLMTask
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import StepResultError
from milepost.model import JobStatus
from models import ScriptedModel

CANARY = "canary-4711"
KEYS = Keyring([Key("k1", b"k" * 32, is_current=True)])


class Secret(EncryptedTask, LLMTask):
    abstract = True


class SecretToo(LLMTask, EncryptedTask):
    abstract = True


@pytest.mark.parametrize("base", [Secret, SecretToo])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_conversation_is_readable(base, is_async, fails):
    """In records, checkpoints, shared documents, logs and what Celery is given."""
    app, model = make_app(milepost={"keys": KEYS}), ScriptedModel()
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    loggers = [logging.getLogger(name) for name in ("celery", "milepost")]

    async def ask_async(self, word):
        answer = await self.llm(word)
        if fails:
            raise ValueError(answer.text)
        return answer.text

    def ask(self, word):
        answer = self.llm(word)
        if fails:
            raise ValueError(answer.text)
        return answer.text

    declared = {"llm_client": model, "llm_model": "m"}
    task = app.task(base=base, bind=True, name="ask", **declared)(ask_async if is_async else ask)
    job = app.milepost.jobs.create("ask", {"word": CANARY})
    args, kwargs = task.milepost_outgoing((), {"word": CANARY}, job.id)
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    try:
        outcome = deliver(task, *args, kwargs=kwargs, job_id=job.id)
    finally:
        for logger in loggers:
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
    assert model.asked
    ended = app.milepost.jobs.get(job.id)
    assert ended.status is (JobStatus.FAILED if fails else JobStatus.SUCCEEDED)
    store = app.milepost.store
    left = [outcome, store.get(job.id), store.load(job.id), stream.getvalue()]
    left += [store.get(job.id).message, store.get(job.id).result, store.documents.read_all("")]
    assert CANARY not in repr(left)
    if fails:
        assert ended.error == f"ValueError: answer to {CANARY}"
    else:
        assert app.milepost.jobs.result(job.id) == f"answer to {CANARY}"


@pytest.mark.parametrize("base", [LLMTask, Secret])
def test_an_answer_that_is_too_large_costs_the_job_nothing_else(base):
    """It fails the call that got it, under no name that a store knows; the rest is saved."""
    app, model = make_app(milepost={"keys": KEYS, "max_value_bytes": 2000}), ScriptedModel()
    model.script = ["x" * 3000, "short"]
    caught = []

    @app.task(base=base, bind=True, name="ask", llm_client=model, llm_model="m")
    def ask(self, word):
        try:
            self.llm(word)
        except StepResultError as exc:
            caught.append(str(exc))
        return self.llm("again").text

    job = app.milepost.jobs.create("ask", {"word": "w"})
    args, kwargs = ask.milepost_outgoing((), {"word": "w"}, job.id)
    deliver(ask, *args, kwargs=kwargs, job_id=job.id)
    assert app.milepost.jobs.result(job.id) == "short"
    (said,) = caught
    assert "the limit is 2,000" in said
