"""Sensitive values in the input models of tasks that are not encrypted as a whole."""

import base64
import copy
import io
import json
import logging
import pickle
import uuid
from typing import Any

import pytest
from celery import Celery, chain, chord, group
from pydantic import BaseModel, ConfigDict, ValidationError

from deliveries import deliver
from keyrings import Ring
from milepost import BaseTask, CheckpointableTask, EncryptedTask, Milepost, Sensitive
from milepost.codecs.json import JsonCodec
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import (
    ConfigurationError,
    EncodeError,
    InvalidInputError,
    KeyUnknownError,
    NoKeysError,
    PlaintextError,
    TamperedError,
)
from milepost.integrations.worker import check_keys
from milepost.model import JobStatus
from milepost.tasks import message
from milepost.tasks.sensitive import sensitive_field

CANARY = "canary-4711"
KEYS = Keyring([Key("k1", b"k" * 32, is_current=True)])


class Order(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

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
        queue, found = channel.queues.get(app.conf.task_default_queue), []
        while queue is not None and not queue.empty():
            body = json.loads(json.dumps(queue.get(False)))
            found.append(
                base64.b64decode(body["body"]).decode(errors="replace")
                + json.dumps(body["headers"])
            )
    return "\n".join(found)


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
    assert isinstance(done.result, TamperedError)
    assert "another-id: order.card" in str(done.result)
    assert seen == []
    assert pay.apply((arguments,), task_id="its-own-id").state == "SUCCESS"
    with pytest.raises(InvalidInputError, match=r"order\.card: not valid"):
        pay.delay(arguments)


def test_without_keys_nothing_is_sent():
    app, _, pay, _ = make_app(BaseTask, keys=None)
    with pytest.raises(NoKeysError):
        pay.delay(ORDER)
    with pytest.raises(NoKeysError):
        check_keys(app)


def test_it_goes_into_no_pickle_and_no_checkpoint():
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(ORDER.card)
    for value in (ORDER, [ORDER.card]):
        with pytest.raises(EncodeError) as caught:
            JsonCodec().encode(value)
        assert CANARY not in str(caught.value)


# -- plain data in place of a model ------------------------------------------------------------

RAW = {"number": 7, "card": CANARY}

WAYS = {
    "delay": lambda app: app.tasks["pay"].delay(RAW),
    "by its name": lambda app: app.tasks["pay"].delay(order=RAW),
    "apply_async": lambda app: app.tasks["pay"].apply_async((), {"order": RAW}, countdown=1),
    "pickled": lambda app: app.tasks["pay"].apply_async((RAW,), serializer="pickle"),
    "a task's name": lambda app: app.send_task("pay", (RAW,)),
    "a model, by the task's name": lambda app: app.send_task("pay", (ORDER,)),
    "a signature": lambda app: app.tasks["pay"].s(RAW).delay(),
    "a signature by name": lambda app: app.signature("pay", (RAW,)).delay(),
    "the first of a chain": lambda app: chain(app.tasks["pay"].s(RAW), plain(app).s()).delay(),
    "the second of a chain": lambda app: (
        plain(app).s() | app.tasks["pay"].si(RAW) | app.tasks["pay"].si(order=RAW)
    ).delay(),
    "a model in a chain": lambda app: (plain(app).s() | app.tasks["pay"].si(ORDER)).delay(),
    "a link": lambda app: plain(app).apply_async(
        link=app.tasks["pay"].si(RAW), link_error=[app.tasks["pay"].si(order=RAW)]
    ),
    "a group": lambda app: group(app.tasks["pay"].s(RAW), app.tasks["pay"].s(order=RAW)).delay(),
    "a chord": lambda app: chord([app.tasks["pay"].s(RAW)], app.tasks["pay"].si(RAW)).delay(),
    "an argument": lambda app: plain(app).delay([app.tasks["pay"].s(RAW)]),
}
WAYS_OF_BOTH = [
    *((way, BaseTask) for way in WAYS),
    *((way, CheckpointableTask) for way in WAYS if way != "pickled"),  # its message is not pickled
]


def plain(app):
    return app.tasks["plain"]


@pytest.mark.parametrize(("way", "base"), WAYS_OF_BOTH)
def test_plain_data_is_made_the_model_that_the_task_takes(base, way):
    """So nobody sends in the clear who does not know the model: an HTTP front end, say."""
    app, milepost, _, _ = make_app(base)

    @app.task(base=base, name="plain", bind=True, shared=False)
    def _plain(self, *args):
        return None

    WAYS[way](app)
    message_sent = sent(app)
    assert message_sent
    assert CANARY not in message_sent
    assert "mp1." in message_sent
    for job in milepost.jobs.find().jobs:
        assert CANARY.encode() not in milepost.store.get(job.id).message


@pytest.mark.parametrize("base", [BaseTask, CheckpointableTask])
def test_plain_data_reaches_the_task_as_its_model(base):
    _, _, pay, seen = make_app(base)
    args, kwargs = pay.milepost_outgoing((RAW,), {}, "j")
    assert args[0]["number"] == 7
    assert deliver(pay, *args, job_id="j", kwargs=kwargs).succeeded
    assert seen[0][0] == Order(**RAW)


def test_a_created_job_of_plain_data_has_it_encrypted():
    app, milepost, _, _ = make_app(CheckpointableTask)
    job = milepost.jobs.create("pay", {"order": RAW, "note": "n"})
    assert CANARY.encode() not in job.message
    assert CANARY not in sent(app)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"card": CANARY}, r"order\.number: Field required"),
        ({"number": 1, "card": [CANARY]}, r"order\.card: not valid \(sensitive\)"),
        ({"number": 1, "card": CANARY, "codes": CANARY}, r"order\.codes"),
        (CANARY, "order: "),
        (None, "order: "),
    ],
)
def test_what_does_not_fit_is_refused_where_it_is_sent(wrong, told):
    app, milepost, pay, _ = make_app(CheckpointableTask)
    for send in (pay.delay, lambda order: milepost.jobs.create("pay", {"order": order})):
        with pytest.raises(InvalidInputError, match=told) as caught:
            send(wrong)
        assert CANARY not in str(caught.value)
        assert caught.value.__context__ is None
    with pytest.raises(TypeError):
        pay.delay(odrer=RAW)
    assert sent(app) == ""
    assert milepost.jobs.find().jobs == ()


def test_what_a_signature_encrypted_reaches_its_task():
    """Behind a result of another task, too, and bound to the job by then."""
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_default_queue = uuid.uuid4().hex
    Milepost(app, store="memory://", keys=KEYS)

    @app.task(base=BaseTask, name="pay", pydantic=True, shared=False)
    def pay(before: int, order: Order, *, also: Order | None = None) -> list[Any]:
        return [before, order.card.reveal(), also and also.card.reveal()]

    args, kwargs = pay.milepost_part((RAW,), {"also": ORDER})
    assert CANARY not in repr((args, kwargs))
    assert pay.milepost_part(args, kwargs) == (args, kwargs)
    args, kwargs = pay.milepost_outgoing((3, *args), kwargs, "j")
    assert CANARY not in repr((args, kwargs))
    assert deliver(pay, *args, job_id="j", kwargs=kwargs).value == [3, CANARY, CANARY]


def test_celerys_map_is_refused_where_it_is_sent_and_where_it_runs():
    app, _, pay, seen = make_app(BaseTask)
    with pytest.raises(ConfigurationError, match="in the clear"):
        pay.map([RAW]).delay()
    outcome = deliver(app.tasks["celery.map"], dict(pay.s()), [RAW], job_id="m")
    assert isinstance(outcome.value, PlaintextError)
    assert seen == []


# -- delivered ---------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [BaseTask, CheckpointableTask])
def test_plaintext_is_refused_in_a_delivered_job(base):
    """Somebody put it there who may write to the broker; retries do not take it up."""
    app, milepost, pay, seen = make_app(base, autoretry_for=(Exception,))
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    logging.getLogger("celery").addHandler(handler)
    try:
        for job_id, raw in (("i", RAW), ("j", {"number": "x", "card": CANARY})):
            outcome = deliver(pay, raw, job_id=job_id)
            assert outcome.state == "FAILURE"
            assert isinstance(outcome.value, PlaintextError)
            assert f"{job_id}: order.card" in str(outcome.value)
    finally:
        logging.getLogger("celery").removeHandler(handler)
    assert seen == []
    assert CANARY not in stream.getvalue() + repr(app.backend.get_task_meta("j"))
    if base.durable:
        assert CANARY not in milepost.jobs.get("j").error
        kept = message.unpack(milepost.store.get("j").message, app)
        assert kept.args[0]["card"] == CANARY  # as it came, so it is refused again
    assert sent(app) == ""


@pytest.mark.parametrize("base", [BaseTask, CheckpointableTask])
def test_plaintext_from_before_is_taken_while_jobs_migrate(base):
    _, _, pay, seen = make_app(base, accept_plaintext=True)
    assert deliver(pay, RAW, job_id="j").succeeded
    assert seen[0][0].card.reveal() == CANARY
    outcome = deliver(pay, {"card": CANARY}, job_id="k")
    assert isinstance(outcome.value, InvalidInputError)
    assert CANARY not in str(outcome.value)


@pytest.mark.parametrize("at_first", [[Key("k2", b"2" * 32, is_current=True)], []])
def test_a_job_whose_key_is_missing_is_parked_until_it_is_there(at_first):
    ring = Ring(KEYS.current())
    _, milepost, pay, seen = make_app(CheckpointableTask, keys=ring)
    job_id = pay.delay(ORDER).id
    stored = message.unpack(milepost.store.get(job_id).message, pay.app)
    ring.hold(*at_first)
    deliver(pay, *stored.args, kwargs=stored.kwargs, job_id=job_id)
    job = milepost.jobs.get(job_id)
    assert (job.status, seen) == (JobStatus.PAUSED, [])
    assert job.reason.startswith("needs-key: ")
    assert "k1" in job.reason
    ring.hold(KEYS.current())
    milepost.jobs.resume(job_id)
    deliver(pay, *stored.args, kwargs=stored.kwargs, job_id=job_id)
    assert milepost.jobs.get(job_id).status is JobStatus.SUCCEEDED
    assert seen[0][0].card.reveal() == CANARY


def test_a_task_that_is_not_durable_fails_without_the_key():
    ring = Ring(KEYS.current())
    _, _, pay, seen = make_app(BaseTask, keys=ring)
    args, kwargs = pay.milepost_outgoing((ORDER,), {}, "j")
    ring.hold()
    assert isinstance(deliver(pay, *args, kwargs=kwargs, job_id="j").value, KeyUnknownError)
    assert seen == []


class Line(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    debit: Sensitive[str]
    credit: Sensitive[str]
    others: list[Sensitive[str]] = []
    by_name: dict[Sensitive[str], Sensitive[str]] = {}
    note: str = ""


def test_a_value_is_bound_to_its_field():
    app = make_app(BaseTask)[0]

    @app.task(base=BaseTask, name="move", pydantic=True, shared=False)
    def move(line: Line) -> list[Any]:
        others = [one.reveal() for one in line.others]
        named = {key.reveal(): one.reveal() for key, one in line.by_name.items()}
        return [line.debit.reveal(), line.credit.reveal(), others, named, line.note]

    raw = {"debit": "A", "credit": "B", "others": ["C", "D"], "by_name": {"E": "F"}, "note": "n"}
    (line,), _ = move.milepost_outgoing((raw,), {}, "j")
    assert deliver(move, line, job_id="j").value == ["A", "B", ["C", "D"], {"E": "F"}, "n"]
    swapped = {**line, "debit": line["credit"], "credit": line["debit"]}
    for moved in (swapped, {**line, "others": line["others"][::-1]}):
        outcome = deliver(move, moved, job_id="j")
        assert isinstance(outcome.value, TamperedError)
        assert "key 'k1'" in str(outcome.value)
    moved = deliver(move, {**line, "note": line["debit"]}, job_id="j").value
    assert moved[-1] == line["debit"]


def test_a_retry_with_other_arguments():
    """Given as a model or as plain data; on record and in the message it is ciphertext."""
    app = make_app(BaseTask)[0]
    for base in (BaseTask, CheckpointableTask):

        @app.task(base=base, name=base.__name__, pydantic=True, bind=True, shared=False)
        def again(self, order: Order) -> Any:
            if self.request.retries:
                return order.card.reveal()
            given = RAW if order.number else Order(number=1, card=CANARY)
            raise self.retry(args=(given,), countdown=0, max_retries=order.number)

        for number in (0, 1):
            job_id = f"{base.__name__}-{number}"
            (raw,), _ = again.milepost_outgoing(({"number": number, "card": "x"},), {}, job_id)
            outcome = deliver(again, raw, job_id=job_id)
            if number == 0:  # no retry is left, and the error shows the arguments
                assert outcome.state == "FAILURE"
                assert CANARY not in str(outcome.value)
                continue
            assert outcome.state == "RETRY"
            assert CANARY not in sent(app)
            if base.durable:
                stored = app.milepost_runtime().store.get(job_id).message
                assert CANARY.encode() not in stored
                found = message.unpack(stored, app)
                done = deliver(again, *found.args, job_id=job_id, retries=1)
                assert done.value == CANARY


# -- declared ----------------------------------------------------------------------------------


class Loud(BaseModel):
    card: Sensitive[str]


class Quiet(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True, validate_assignment=True)

    loud: list[Loud] = []


def test_a_model_whose_errors_tell_is_refused():
    """Pydantic shows what a model was given, unless the model says otherwise."""
    for model, field in ((Loud, "Loud.card"), (Quiet, "Loud.card")):
        app = make_app(BaseTask)[0]

        def take(it):
            """Take it."""

        take.__annotations__ = {"it": model}
        for _ in range(2):  # it is not there the second time either
            with pytest.raises(ConfigurationError, match=f"{field}.*hide_input_in_errors=True"):
                app.task(base=BaseTask, name="take", pydantic=True, shared=False)(take).delay()
        assert "take" not in app._tasks


@pytest.mark.parametrize(
    ("annotation", "options"),
    [
        (Order, {}),
        (list[Order], {"pydantic": True}),
        (Order | Line, {"pydantic": True}),
        (Sensitive[str], {"pydantic": True}),
    ],
)
def test_an_argument_that_celery_would_not_validate_is_refused(annotation, options):
    app = make_app(BaseTask)[0]

    def take(it):
        """Take it."""

    take.__annotations__ = {"it": annotation}
    with pytest.raises(ConfigurationError, match=r"'take': it holds a Sensitive value"):
        app.task(base=BaseTask, name="take", shared=False, **options)(take).delay()


def test_errors_hide_what_the_model_was_given():
    for make in (
        lambda: Order(number=1, card=[CANARY]),
        lambda: Order(card=CANARY),
        lambda: Order.model_validate_json(json.dumps({"card": CANARY})),
    ):
        with pytest.raises(ValidationError) as caught:
            make()
        assert CANARY not in str(caught.value)
    quiet = Quiet(loud=[{"card": "x"}])
    assert "x" not in repr(quiet).replace("***", "")
    built = Loud.model_construct(card=CANARY)
    assert built.model_dump() == {"card": "***"}


def test_copies_are_as_secret():
    for made in (copy.deepcopy(ORDER), ORDER.model_copy(deep=True), copy.copy(ORDER)):
        assert made == ORDER
        assert repr(made) == repr(ORDER)


def test_a_model_that_waits_for_another_class_is_asked_again():
    """What it will hold is not known yet."""

    class Waiting(BaseModel):
        order: "Later"

    assert sensitive_field(Waiting) is None

    class Later(BaseModel):
        card: Sensitive[str]

    Waiting.model_rebuild(_types_namespace={"Later": Later})
    assert sensitive_field(Waiting) == "order.card"


def test_a_model_without_any_is_known():
    class Open(BaseModel):
        number: int

    assert [sensitive_field(Open), sensitive_field(Open)] == [None, None]
