"""Clients and tasks against a server that speaks both APIs and fails as providers do."""

import asyncio
import logging
import pickle

import pytest
from pydantic import BaseModel

from harness import Bench
from milepost import LLMTask
from milepost.budget import Spend
from milepost.clock import SystemClock
from milepost.engine.migration import as_people_see_it
from milepost.errors import (
    LLMAuthError,
    LLMBadRequestError,
    LLMConnectionError,
    LLMContextTooLongError,
    LLMOverloadedError,
    LLMRateLimitedError,
    LLMStreamEndedError,
    LLMTimeoutError,
)
from milepost.limits import Limit
from milepost.llm import Finish, LLMRequest
from milepost.llms import AnthropicClient, OpenAIClient
from milepost.llms.failures import Failure, error_of, seconds_of, unquoted
from milepost.model import JobStatus
from milepost.tasks import asking

SECRET = "s3cret prompt text"
PROVIDERS = {"openai": (OpenAIClient, "gpt-4o-mini"), "anthropic": (AnthropicClient, "claude-x")}


@pytest.fixture(params=PROVIDERS)
def provider(request):
    return request.param


@pytest.fixture
def make_client(llmock, provider):
    """A function that makes a client of a provider's kind against the server."""
    cls, _ = PROVIDERS[provider]
    return lambda **how: cls(llmock.base_url(provider), "key", **how)


def ask(client, provider, text=SECRET, timeout=20.0, **how):
    model = PROVIDERS[provider][1]
    request = LLMRequest(
        client.provider, model, ({"role": "user", "content": text},), timeout=timeout, **how
    )
    return asyncio.run(client.complete(request))


def failure(client, provider, error, **how):
    """Ask, and return the error that it must bring: ours, picklable, and without a quotation."""
    with pytest.raises(error) as caught:
        ask(client, provider, **how)
    assert type(caught.value) is error
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
    return caught.value


# -- clients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer(make_client, provider, llmock, stream):
    """Whole, with what it used, by one request."""
    llmock.reply("all of it, " * 20)
    response = ask(make_client(stream=stream), provider)
    assert response.text == "all of it, " * 20
    assert response.finish is Finish.STOP
    assert response.usage.input_tokens > 0
    assert response.usage.output_tokens > 0
    assert len(llmock.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, LLMBadRequestError),
        (401, LLMAuthError),
        (403, LLMAuthError),
        (404, LLMBadRequestError),
        (500, LLMOverloadedError),
        (503, LLMOverloadedError),
        (529, LLMOverloadedError),
        (408, LLMTimeoutError),
        (504, LLMTimeoutError),
        (524, LLMTimeoutError),
        (502, LLMConnectionError),
        (520, LLMConnectionError),
    ],
)
def test_statuses_become_errors(make_client, provider, llmock, status, error):
    """Each is sent once: the SDK's own retries are off."""
    llmock.fail(status, times=None)
    failure(make_client(), provider, error)
    assert len(llmock.requests) == 1


def test_a_rate_limit_brings_its_wait(make_client, provider, llmock):
    """Retry-After is handed on, however long, and nobody sleeps in the client."""
    llmock.rate_limit(retry_after=7200)
    assert failure(make_client(), provider, LLMRateLimitedError).retry_after == 7200
    assert len(llmock.requests) == 1


def test_a_prompt_that_is_too_long(make_client, provider, llmock):
    """Has an error of its own: no retry helps."""
    llmock.context_overflow()
    failure(make_client(), provider, LLMContextTooLongError)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("truncate", LLMStreamEndedError),
        ("corrupt", LLMStreamEndedError),
        ("disconnect", LLMConnectionError),
    ],
)
def test_a_stream_that_breaks_is_no_answer(make_client, provider, llmock, fault, error):
    """Also where the SDK says nothing."""
    llmock.reply("word " * 50)
    getattr(llmock, fault)(after_chunks=5)
    failure(make_client(stream=True), provider, error)


def test_a_stream_that_stalls(make_client, provider, llmock):
    """Is noticed by the pause between two parts, long before the request's timeout."""
    llmock.reply("word " * 50)
    llmock.stall(after_chunks=2, seconds=20)
    failure(make_client(stream=True, stall_timeout=0.3), provider, LLMTimeoutError)


def test_an_answer_that_does_not_come(make_client, provider, llmock):
    """Ends with the request's timeout."""
    llmock.delay(20)
    failure(make_client(), provider, LLMTimeoutError, timeout=0.3)


class Rule(BaseModel):
    column: str
    most: int


def test_parameters_and_system_go_through(make_client, provider, llmock):
    """What the SDK's method does not know goes into the body beside it."""
    model = PROVIDERS[provider][1]
    messages = ({"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"})
    client = make_client()
    parameters = {"max_tokens": 9, "temperature": 0.5, "special_thing": 1}
    asyncio.run(client.complete(LLMRequest(client.provider, model, messages, parameters)))
    body = llmock.last_request.body
    assert body["max_tokens"] == 9
    assert body["temperature"] == 0.5
    assert body["special_thing"] == 1
    assert "be brief" in str(body)


@pytest.mark.parametrize(
    ("seconds", "milliseconds", "wanted"),
    [
        ("7", None, 7.0),
        ("7", "1500", 1.5),
        ("7", "soon", 7.0),
        ("7", "nan", 7.0),
        ("7", "", 7.0),
        (None, "soon", 0.0),
        ("inf", None, 0.0),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None, 0.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", None, 0.0),
        ("nonsense", None, 0.0),
        ("nan", None, 0.0),
        ("-5", None, 0.0),
        ("1800000000", None, 86400.0),
        ("Wed, 21 Oct 2099 07:28:00 GMT", None, 86400.0),
        (None, None, 0.0),
    ],
)
def test_what_retry_after_may_be(seconds, milliseconds, wanted):
    """Seconds, milliseconds, a date, or nothing that helps; a day at most."""
    assert seconds_of(Failure(retry_after=seconds, retry_after_ms=milliseconds)) == wanted


def test_a_message_that_quotes_the_request_is_left_out():
    """Providers quote what they do not like; logs are no place for it."""
    request = LLMRequest("p", "m", ({"role": "user", "content": f"hello {SECRET} bye"},))
    assert unquoted("max_tokens is not supported", request) == "max_tokens is not supported"
    error = error_of(Failure(400, words=f"I do not like 'hello {SECRET[:9]}'"), request)
    assert "s3cret" not in str(error)
    assert "max_tokens" in str(error_of(Failure(400, words="use max_tokens"), request))
    short = LLMRequest("p", "m", ({"role": "user", "content": "pin 1234"},))
    assert "1234" not in str(error_of(Failure(400, words="bad input: pin 1234"), short))


# -- tasks -----------------------------------------------------------------------------------


def bench_of(body, client, provider, **declared):
    how = {"llm_client": client, "llm_model": PROVIDERS[provider][1], **declared}
    return Bench(body, base=LLMTask, declared=how, clock=SystemClock())


def spend(bench):
    return Spend.of(as_people_see_it(bench.runtime.codec, bench.inner.load("job"))["spend"])


@pytest.mark.parametrize("stream", [False, True])
def test_a_task_rides_out_every_fault(make_client, provider, llmock, stream, monkeypatch):
    """Limits, outage, broken and stalled streams: one answer, and a clean verdict of the server."""
    monkeypatch.setattr(asking, "FIRST_WAIT", 0.1)
    llmock.rate_limit(retry_after=0.3).fail(503)
    if stream:
        llmock.truncate(after_chunks=1).disconnect(after_chunks=1)
    client = make_client(stream=stream, stall_timeout=1.0)
    bench = bench_of(lambda task: task.llm("hello there").text, client, provider)
    assert bench.attempt().value
    llmock.assert_resilient()
    assert len(llmock.requests) == (5 if stream else 3)
    assert spend(bench).ambiguous == (2 if stream else 0)
    assert spend(bench).calls == 1


def test_what_cannot_be_helped_is_sent_once(make_client, provider, llmock):
    """The server's verdict knows retries of what no retry fixes."""
    llmock.fail(400, times=None)
    bench = bench_of(lambda task: task.llm("hello"), make_client(), provider)
    with pytest.raises(LLMBadRequestError):
        bench.attempt()
    llmock.assert_resilient(strict=True)


def test_a_long_retry_after_frees_the_slot(make_client, provider, llmock):
    """The job is put off for as long as the provider says; the server sees no second try."""
    llmock.rate_limit(retry_after=900)
    bench = bench_of(lambda task: task.llm("hello"), make_client(), provider)
    bench.attempt()
    assert bench.job.status is JobStatus.SCHEDULED
    assert bench.job.due_at - bench.job.read_at > 850
    assert len(llmock.requests) == 1


def test_a_map_within_the_quotas_of_the_server(make_client, provider, llmock):
    """With the provider's own numbers as ``llm_limit`` nothing is ever refused."""
    llmock.limits(rpm=6000)

    async def body(task):
        return len(await task.llm_map(range(100), "about {item}", concurrency=50))

    bench = bench_of(body, make_client(), provider, llm_limit=Limit(requests=100, per=1.0))
    assert bench.attempt().value == 100
    assert {request.status for request in llmock.requests} == {200}
    assert spend(bench).calls == 100


def test_structured_answers(make_client, provider, llmock):
    """The schema reaches the server in the provider's own form; a bad answer is repaired."""
    llmock.reply("no json at all").reply('{"column": "c", "most": 3}')
    bench = bench_of(
        lambda task: task.llm("a rule", response_model=Rule).parsed, make_client(), provider
    )
    assert bench.attempt().value == Rule(column="c", most=3)
    first, second = llmock.requests
    assert "most" in str(first.body)
    assert len(second.body["messages"]) == 3


def test_no_sdk_logs_a_request(make_client, provider, llmock, caplog):
    """At the level of debugging both SDKs log requests whole; not while milepost uses them."""
    caplog.set_level(logging.DEBUG)
    ask(make_client(), provider)
    assert SECRET not in caplog.text
