"""Input: limits for any payload, a strict model per job type, and no secret in an error."""

from datetime import date, datetime
from enum import StrEnum
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from deliveries import deliver, make_app, record, sent
from milepost import CheckpointableTask
from milepost.errors import ConfigurationError, InvalidInputError
from milepost.security.validation import Limits, check_input

LIMITS = Limits(total=10_000, depth=5, text=100)


class Colour(StrEnum):
    RED = "red"


class Part(BaseModel):
    price: float
    api_key: str = ""


class Order(BaseModel):
    count: int
    day: date | None = None
    colour: Colour = Colour.RED
    parts: list[Part] = []
    password: Annotated[str, Field(max_length=8)] = ""
    code: SecretStr | None = None


def problems(payload, model=None, limits=LIMITS):
    """Return what is wrong with a payload."""
    try:
        check_input("shop.order", payload, model, limits)
    except InvalidInputError as error:
        return list(error.problems)
    return []


# -- limits ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"a": {"b": "x" * 101}}, "a.b: longer than 100 characters"),
        ({"a": ["fine", "x\x00y"]}, "a.1: a control character"),
        ({"a": "\x1b[2J"}, "a: a control character"),
        ({"a": "\x85"}, "a: a control character"),
        ({"a": "half \ud800"}, "a: a control character"),
        ({"a": {"k\x00": 1}}, "a: a control character"),
        ({"\x00": 1}, "input: a control character"),
        ({"a": [[[[[1]]]]]}, "a.0.0.0.0: more than 5 containers within each other"),
        ({"a": 1, "b": ["é" * 100] * 60}, "b: the input is over 10,000 bytes there"),
        ({"a": [1] * 2000}, "a: the input is over 10,000 bytes there"),
        ({"a": b"x" * 10_001}, "a: the input is over 10,000 bytes there"),
    ],
)
def test_limits(payload, problem):
    """The place is named; what was there is not."""
    assert problems(payload) == [problem]


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"a": "line\nand\ttab\r\n", "b": "zażółć 🙂", "c": [[[[1]]]]},
        {"a": datetime(2026, 1, 1), "b": {1: (2, 3)}, "c": b"\x00", "d": None},
        {"a": "x" * 100},
    ],
)
def test_within_the_limits(payload):
    """Whatever a task can be sent."""
    assert problems(payload) == []


def test_what_contains_itself():
    """Is too deep, not endless; and what repeats a part is as large as it will be."""
    loop = {}
    loop["loop"] = loop
    assert problems(loop) == ["loop.loop.loop.loop.loop: more than 5 containers within each other"]
    bomb = ["x" * 100]
    for _ in range(30):
        bomb = [bomb, bomb]
    assert "over 10,000 bytes" in problems({"a": bomb}, limits=Limits(10_000, 40, 100))[0]


# -- the model ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        {"count": 3},
        {"count": 3, "day": "2026-11-03", "colour": "red", "parts": [{"price": 1.5}]},
        {"count": 3, "parts": [{"price": 2}]},  # JSON has one kind of number for both
        {"count": 3, "day": date(2026, 11, 3)},  # no JSON: then each of its very type
        {"count": 3, "code": "1234"},
    ],
)
def test_fits(payload):
    assert problems(payload, Order) == []


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        ({"count": "3"}, ["count: Input should be a valid integer"]),
        ({"count": True}, ["count: Input should be a valid integer"]),
        ({"count": 3.0}, ["count: Input should be a valid integer"]),
        ({}, ["count: Field required"]),
        ({"count": 3, "cuont": 4}, ["cuont: no such field"]),
        ({"count": 3, "day": 5}, ["day: Input should be a valid date"]),
        ({"count": 3, "colour": "blue"}, ["colour: Input should be 'red'"]),
        ({"count": 3, "parts": [{"price": 1}, {"price": "1"}]}, ["parts.1.price: Input should"]),
        ({"count": "3", "day": 5}, ["count: Input should", "day: Input should"]),
        ({"count": "3", "day": datetime(2026, 1, 1)}, ["count: Input", "day: "]),
    ],
)
def test_does_not_fit(payload, told):
    """Strictly: a text is no number, a whole number in a float is none, a name is known."""
    found = problems(payload, Order)
    assert len(found) == len(told)
    for problem, beginning in zip(found, told, strict=True):
        assert problem.startswith(beginning)


@given(secret=st.text("abcdefgh0123456789", min_size=12, max_size=30), place=st.integers(0, 4))
def test_no_secret_is_echoed(secret, place):
    """By the type of the field or by its name, wherever in the input it is."""
    payload = {"count": 3} | [
        {"password": secret},
        {"code": {secret: secret}},
        {"code": [secret]},
        {"parts": [{"price": 1, "api_key": {secret: 1}}]},
        {"password": {secret: [secret]}},
    ][place]
    (problem,) = problems(payload, Order)
    assert secret not in problem
    assert problem.split(":")[0] in ("password", "code", "parts.0.api_key")


class Echoing(BaseModel):
    """A host's own checks, which put values into their errors."""

    user: str
    token: str

    @field_validator("token")
    @classmethod
    def _known(cls, value):
        raise ValueError(f"{value} is not a token")


class EchoingWhole(BaseModel):
    user: str
    token: str

    @model_validator(mode="after")
    def _fit(self):
        raise ValueError(f"{self.token} is not {self.user}'s")


class EchoingHarmless(BaseModel):
    user: str

    @field_validator("user")
    @classmethod
    def _known(cls, value):
        raise ValueError("a user is registered first")


def test_errors_of_the_hosts_own():
    """Their text is told where there is no secret it could hold."""
    payload = {"user": "ann", "token": "s3cr3t"}
    assert problems(payload, Echoing) == ["token: not valid (value_error)"]
    assert problems(payload, EchoingWhole) == ["input: not valid (value_error)"]
    assert problems({"user": "ann"}, EchoingHarmless) == [
        "user: Value error, a user is registered first"
    ]


def test_a_model_that_takes_more():
    """extra="allow" and aliases are the model's own affair."""

    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        kind: int = Field(alias="type")

    assert problems({"type": 1, "more": 2}, Open) == []


# -- at the doors ------------------------------------------------------------------------------


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def order(app):
    @app.task(base=CheckpointableTask, bind=True, name="order", input_model=Order)
    def order(self, count, day=None, **rest):
        return count

    return order


def test_the_manager_refuses(app, order):
    """Nothing is recorded, nothing sent."""
    with pytest.raises(InvalidInputError, match="count: Input should be a valid integer"):
        app.milepost.jobs.create("order", {"count": "3"})
    assert app.milepost.store.tally() == {}
    assert sent(app) == []
    assert app.milepost.jobs.create("order", {"count": 3}).task == "order"


def test_the_manager_keeps_limits_without_a_model():
    """Settings say how much; the payload of any job is held to them."""
    app = make_app(milepost={"max_input_text": 10, "max_input_depth": 2, "max_input_bytes": 50})

    @app.task(base=CheckpointableTask, bind=True, name="work")
    def work(self, **_): ...

    for payload in ({"a": "x" * 11}, {"a": [[1]]}, {"a": list(range(10))}):
        with pytest.raises(InvalidInputError):
            app.milepost.jobs.create("work", payload)
    app.milepost.jobs.create("work", {"a": [1]})
    work.delay(a="x" * 11)  # the application's own call, of a task that wants no check


@pytest.mark.parametrize("record_at", ["publish", "start"])
def test_delay_refuses_as_well(record_at):
    """By position too: the model is the task's, whoever sends it."""
    app = make_app(milepost={"record_at": record_at})

    @app.task(base=CheckpointableTask, bind=True, name="order", input_model=Order)
    def order(self, count, day=None): ...

    for call in (lambda: order.delay("3"), lambda: order.delay(count="3")):
        with pytest.raises(InvalidInputError):
            call()
    with pytest.raises(TypeError, match="unexpected keyword"):
        order.delay(3, nothing=1)
    assert sent(app) == []
    order.delay(3, "2026-11-03")
    order.apply_async((3,), {"day": "2026-11-03"}, countdown=10)
    assert len(sent(app)) == 2


def test_a_task_that_is_not_bound(app):
    """Its first parameter is an argument like the others."""

    @app.task(base=CheckpointableTask, name="order", input_model=Order)
    def order(count, day=None):
        return count

    with pytest.raises(InvalidInputError, match="count"):
        order.delay("3")
    assert deliver(order, 3).value == 3


def test_what_others_have_sent_does_not_reach_the_body(app, order):
    """A message by name, or by a hand of its own, is checked where it arrives."""
    done = deliver(order, "3")
    assert isinstance(done.value, InvalidInputError)
    assert record(app).status == "failed"
    assert "count: Input should be a valid integer" in record(app).error
    assert deliver(order, 3, job_id="good").value == 3


def test_no_retry_helps(app):
    """autoretry_for does not try an input again that will never fit."""

    @app.task(
        *(),
        base=CheckpointableTask,
        bind=True,
        name="order",
        input_model=Order,
        autoretry_for=(Exception,),
    )
    def order(self, count): ...

    deliver(order, "3")
    assert record(app).status == "failed"


def test_a_job_that_is_under_way_goes_on(app):
    """A model that has become stricter since is for new jobs."""

    @app.task(base=CheckpointableTask, bind=True, name="order", max_retries=3)
    def order(self, count):
        if not self.request.retries:
            raise self.retry(countdown=0)
        return count

    deliver(order, "3")
    order.input_model = Order
    assert deliver(order, "3", retries=1).value == "3"


def test_a_direct_call_is_not_checked(order):
    """It is the application calling its own function."""
    assert order("3") == "3"
    assert isinstance(order.apply(("3",)).result, InvalidInputError)


def test_a_model_that_the_registry_was_given(app):
    """Holds for the task itself as well."""

    @app.task(base=CheckpointableTask, bind=True, name="order")
    def order(self, count, **_): ...

    app.milepost.registry.register("shop.order", order, input_model=Order)
    with pytest.raises(InvalidInputError, match=r"'shop\.order'"):
        app.milepost.jobs.create("shop.order", {"count": "3"})
    with pytest.raises(InvalidInputError):
        order.delay("3")


def test_two_models(app, order):
    """Are a contradiction."""
    app.milepost.registry.register("shop.order", order, input_model=Part)
    with pytest.raises(ConfigurationError, match="input_model=Part, but its task"):
        app.milepost.registry.check()


def test_a_field_that_the_task_does_not_take(app):
    """Would be refused by Python once the job runs; so a worker does not start with it."""

    @app.task(base=CheckpointableTask, bind=True, name="order", input_model=Part)
    def order(self, price): ...

    with pytest.raises(ConfigurationError, match="Part has a field 'api_key', which task 'order'"):
        app.milepost.registry.check()


# -- pickle ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "conf",
    [
        {"accept_content": ["json", "pickle"]},
        {"accept_content": ["application/x-python-serialize"]},
        {"result_accept_content": ["pickle"]},
        {"task_serializer": "pickle"},
        {"result_serializer": "pickle"},
        {"event_serializer": "pickle"},
    ],
)
def test_pickle_is_refused(conf):
    """At boot, by the setting's name; unless the application says that it knows."""
    with pytest.raises(
        ConfigurationError, match=f"{next(iter(conf))} of the Celery app has pickle"
    ):
        _ = make_app(**conf).milepost.runtime
    assert make_app(milepost={"allow_pickle": True}, **conf).milepost.runtime


def test_a_pickled_job(app, caplog):
    """Is neither sent nor, whoever has put it into the store, read."""

    @app.task(base=CheckpointableTask, bind=True, name="work")
    def work(self): ...

    for send in (
        lambda: work.apply_async(serializer="pickle"),
        lambda: app.milepost.jobs.create(work, serializer="pickle"),
    ):
        with pytest.raises(ConfigurationError, match="message is pickled"):
            send()
    assert app.milepost.store.tally() == {}
    trusting = make_app(milepost={"allow_pickle": True, "store": app.milepost.store})

    @trusting.task(base=CheckpointableTask, bind=True, name="work", serializer="pickle")
    def same(self): ...

    same.apply_async(task_id="job")
    app.milepost.jobs.pause("job")
    app.milepost.jobs.resume("job")
    assert caplog.text.count("a job's message is pickled") == 2  # told of neither, nor sent
    assert sent(app) == []


class Note(BaseModel):
    text: str


@pytest.mark.parametrize(
    "text, problem",
    [
        ("x" * 101, "notes.0.text: longer than 100 characters"),
        ("a\0", "notes.0.text: a control character"),
    ],
)
def test_what_a_model_holds_is_held_to_the_limits(text, problem):
    """Celery sends it as plain data, so it is no way around them."""
    assert problems({"notes": [Note(text=text)]}) == [problem]
    assert not problems({"notes": [Note(text="fine")]})
