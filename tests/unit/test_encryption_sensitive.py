"""Sensitive values in the input models of tasks that are not encrypted as a whole."""

import base64
import io
import json
import logging
import pickle
import uuid

import pytest
from celery import Celery
from pydantic import BaseModel, ValidationError

from milepost import BaseTask, CheckpointableTask, EncryptedTask, Milepost, Sensitive
from milepost.codecs.json import JsonCodec
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import EncodeError, NoKeysError

CANARY = "canary-4711"
KEYS = Keyring([Key("k1", b"k" * 32, is_current=True)])


class Order(BaseModel):
    number: int
    card: Sensitive[str]
    codes: Sensitive[list[int]] | None = None


ORDER = Order(number=7, card=Sensitive(CANARY), codes=[4711])


def make_app(base, *, keys=KEYS, **options):
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = uuid.uuid4().hex  # the memory broker is the process's
    milepost = Milepost(app, store="memory://", keys=keys)
    seen = []

    @app.task(base=base, name="pay", pydantic=True, shared=False, **options)
    def pay(order: Order, note: str = "") -> Order:
        seen.append((order, note))
        return order

    return app, milepost, pay, seen


def sent(app):
    """Return what the broker has, decoded as far as it can be."""
    with app.connection_for_read() as connection, connection.channel() as channel:
        body = json.loads(json.dumps(channel.queues[app.conf.task_default_queue].get(False)))
    return base64.b64decode(body["body"]).decode() + json.dumps(body["headers"])


def test_it_shows_as_stars():
    assert repr(ORDER) == "Order(number=7, card=***, codes=***)"
    assert f"{ORDER.card} {[ORDER.card]}" == "*** [***]"
    assert ORDER.model_dump(mode="json") == {"number": 7, "card": "***", "codes": "***"}
    assert CANARY not in ORDER.model_dump_json()
    assert ORDER.card.reveal() == CANARY
    assert ORDER.codes.reveal() == [4711]


def test_it_takes_what_its_type_takes_and_its_errors_do_not_tell():
    with pytest.raises(ValidationError) as caught:
        Order.model_validate({"number": 1, "card": Sensitive([CANARY])})
    assert CANARY not in str(caught.value)
    assert "a sensitive value: it is not valid" in str(caught.value)


@pytest.mark.parametrize("base", [BaseTask, CheckpointableTask])
def test_it_travels_as_ciphertext(base):
    """In the message and in the record; the rest of the model stays readable."""
    app, milepost, pay, _ = make_app(base)
    result = pay.delay(ORDER, note="urgent")
    message = sent(app)
    assert CANARY not in message
    assert '"codes": "mp1.' in message
    assert "urgent" in message
    assert '"number": 7' in message
    if base.durable:
        stored = milepost.jobs.get(result.id).message
        assert CANARY.encode() not in stored
        assert b'"number": 7' in stored


@pytest.mark.parametrize("base", [BaseTask, CheckpointableTask, EncryptedTask])
def test_the_task_gets_the_value(base):
    """Validated, and of its type; what it returns of it shows stars in the logs."""
    app, _, pay, seen = make_app(base)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logger = logging.getLogger("celery")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    app.conf.task_always_eager = True
    try:
        pay.delay(ORDER, note="n")
    finally:
        logger.removeHandler(handler)
    ((order, note),) = seen
    assert (order, note) == (ORDER, "n")
    assert order.card.reveal() == CANARY
    assert CANARY not in stream.getvalue()


def test_a_created_job_has_it_encrypted():
    _, milepost, _, _ = make_app(CheckpointableTask)
    job = milepost.jobs.create("pay", {"order": ORDER})
    assert CANARY.encode() not in job.message
    assert b"mp1." in job.message


def test_a_value_of_another_job_is_refused():
    _, _, pay, seen = make_app(BaseTask)
    (arguments,), _ = pay.milepost_outgoing((ORDER,), {}, "its-own-id")
    done = pay.apply((arguments,), task_id="another-id")
    assert isinstance(done.result, ValidationError)
    assert "it cannot be decrypted here" in str(done.result)
    assert CANARY not in str(done.result)
    assert seen == []
    assert pay.apply((arguments,), task_id="its-own-id").state == "SUCCESS"


def test_without_keys_nothing_is_sent():
    _, _, pay, _ = make_app(BaseTask, keys=None)
    with pytest.raises(NoKeysError):
        pay.delay(ORDER)


def test_it_goes_into_no_pickle_and_no_checkpoint():
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ORDER.card)
    for value in (ORDER, [ORDER.card]):
        with pytest.raises(EncodeError) as caught:
            JsonCodec().encode(value)
        assert CANARY not in str(caught.value)
