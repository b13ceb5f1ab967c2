"""The HTTP client against a server that answers 429 and 503, hangs up, or says nothing."""

import asyncio
import pickle
import random
from email.utils import formatdate
from functools import partial

import pytest
from tenacity import AsyncRetrying

from faulty_http import HANG_UP, STALL, faulty_server
from harness import Bench
from milepost.errors import (
    CircuitOpenError,
    ConfigurationError,
    RateLimitedError,
    ServiceResponseError,
    ServiceUnreachableError,
)
from milepost.guards.breaker import BreakerGuard
from milepost.guards.rate import RateGuard
from milepost.integrations import http
from milepost.integrations.http import CAP, ExternalServiceClient, Retries
from milepost.limits import Limit, Wait
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock
from services import free_port


@pytest.fixture
def server():
    with faulty_server() as server:
        yield server


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock)


@pytest.fixture
def client(server, clock):
    """Makes clients of the server; they wait on the test's clock."""
    made = []

    def make(**given):
        client = ExternalServiceClient(
            "mail", f"{server.url}/v1", **{"clock": clock, "timeout": 5.0, **given}
        )
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture(params=["sync", "async"])
def send(request, monkeypatch):
    """Sends a request by either way."""
    if request.param == "sync":
        return lambda client, *args, **content: client.request(*args, **content)

    async def run(client, args, content):
        async def skip(seconds):
            client._clock.sleep(seconds)

        monkeypatch.setattr(http, "AsyncRetrying", partial(AsyncRetrying, sleep=skip))
        try:
            return await client.request_async(*args, **content)
        finally:
            await client.close_async()

    return lambda client, *args, **content: asyncio.run(run(client, args, content))


def test_an_answer(server, client, send):
    response = send(client(headers={"X-Who": "me"}), "get", "mails", params={"n": 1})
    assert (response.status_code, response.text) == (200, "answer 1")
    (seen,) = server.seen
    assert (seen.method, seen.path, seen.headers["X-Who"]) == ("GET", "/v1/mails?n=1", "me")
    assert "Idempotency-Key" not in seen.headers


@pytest.mark.parametrize("fault", [500, 502, 503, 504, 429, (429, {"Retry-After": "2"}), HANG_UP])
def test_what_may_be_gone_is_tried_again(server, client, send, fault):
    server.script = [fault, fault]
    assert send(client(), "GET", "mails").status_code == 200
    assert len(server.seen) == 3


def test_a_post_is_not_sent_twice_where_it_may_have_arrived(server, client, send):
    for fault in (500, 502, 503, HANG_UP):
        server.script = [fault]
        with pytest.raises((ServiceResponseError, ServiceUnreachableError)):
            send(client(), "POST", "mails", json={})
    assert len(server.seen) == 4


def test_a_post_is_sent_again_where_nothing_was_done(server, client, send):
    server.script = [429, (429, {"Retry-After": "1"}), (503, {"Retry-After": "1"})]
    assert send(client(), "POST", "mails", json={}).status_code == 200
    assert len(server.seen) == 4


def test_a_post_is_sent_again_with_its_key_where_the_service_honours_it(server, client, send):
    server.script = [500, HANG_UP]
    assert send(client(honours_keys=True), "POST", "mails", json={"a": 1}).status_code == 200
    keys = {seen.headers["Idempotency-Key"] for seen in server.seen}
    assert (len(server.seen), len(keys)) == (3, 1)
    assert {seen.body for seen in server.seen} == {server.seen[0].body}


def test_a_status_that_stays_is_an_error_at_once(server, client, send):
    server.script = [404]
    with pytest.raises(ServiceResponseError) as failed:
        send(client(), "GET", "mails/7", params={"token": "secret"})
    error = pickle.loads(pickle.dumps(failed.value))
    assert (error.status_code, error.text, error.request) == (404, "answer 1", "GET /v1/mails/7")
    assert "secret" not in str(error)
    assert len(server.seen) == 1


def test_it_gives_up_in_the_end(server, client, send):
    server.script = [500] * 10
    with pytest.raises(ServiceResponseError, match="500"):
        send(client(retries=Retries(attempts=3)), "GET", "mails")
    assert len(server.seen) == 3


def test_it_gives_up_before_it_takes_too_long(server, client, clock, send):
    server.script = [(503, {"Retry-After": "20"})] * 10
    start = clock.now()
    with pytest.raises(ServiceResponseError):
        send(client(retries=Retries(attempts=99, total=10.0)), "GET", "mails")
    assert clock.now() == start


def test_waits_are_drawn_up_to_twice_the_last(server, client, clock):
    random.seed(7)
    server.script = [500] * 6
    start = clock.now()
    client(retries=Retries(attempts=9, backoff=1.0, longest=4.0)).request("GET", "mails")
    assert 0 < clock.now() - start <= 1 + 2 + 4 + 4 + 4 + 4


def test_retry_after_is_honoured(server, client, clock, send):
    server.script = [(429, {"Retry-After": "25"})]
    start = clock.now()
    send(client(), "GET", "mails")
    assert 25.0 <= clock.now() - start < 26.0


def test_retry_after_may_be_a_date(server, client, clock, send):
    server.script = [(429, {"Retry-After": formatdate(clock.now() + 20, usegmt=True)})]
    start = clock.now()
    send(client(), "GET", "mails")
    assert 19.0 <= clock.now() - start <= 21.0


@pytest.mark.parametrize("nonsense", ["soon", "-5", "nan", "inf", "Mon, 99 Foo"])
def test_retry_after_may_be_nonsense(server, client, clock, send, nonsense):
    server.script = [(429, {"Retry-After": nonsense})]
    start = clock.now()
    assert send(client(), "GET", "mails").status_code == 200
    assert clock.now() - start < 2.0


def test_whoever_asks_for_too_long_is_not_waited_for(server, client, clock, send):
    """The caller is told how long, so that a job can snooze."""
    server.script = [(429, {"Retry-After": "100"})]
    with pytest.raises(RateLimitedError) as refused:
        send(client(), "GET", "mails")
    assert (refused.value.retry_after, len(server.seen)) == (100.0, 1)
    server.script = [(429, {"Retry-After": "1e9"})]
    with pytest.raises(RateLimitedError) as refused:
        send(client(), "GET", "mails")
    assert refused.value.retry_after == CAP


def test_retry_after_keeps_everybody_away(server, client, store, clock, send):
    limit = Limit(requests=100)
    rate = RateGuard(store.limits, "mail", limit, max_wait=5.0, clock=clock)
    server.script = [(429, {"Retry-After": "100"})]
    with pytest.raises(RateLimitedError):
        send(client(rate=rate), "GET", "mails")
    answer = store.limits.acquire("mail", limit)
    assert isinstance(answer, Wait)
    assert (answer.which, round(answer.seconds)) == ("pushed", 100)
    with pytest.raises(RateLimitedError):
        send(client(rate=rate), "GET", "mails")
    assert len(server.seen) == 1


def test_each_attempt_counts_under_the_limit(server, client, store, clock, send):
    rate = RateGuard(store.limits, "mail", Limit(requests=2, per=10.0), max_wait=0, clock=clock)
    server.script = [500, 500]
    with pytest.raises(RateLimitedError):
        send(client(rate=rate), "GET", "mails")
    assert len(server.seen) == 2


def test_the_breaker_opens_and_closes(server, client, store, clock, send):
    given = {"fail_max": 3, "reset_timeout": 30.0, "refresh": 0}
    breaker = BreakerGuard(store.documents, "mail", **given)
    guarded = client(breaker=breaker, retries=Retries(attempts=1))
    server.script = [404, 429, 500, 503, STALL]
    for error in (ServiceResponseError, RateLimitedError, *[ServiceResponseError] * 2):
        with pytest.raises(error):
            send(guarded, "GET", "mails")
    assert breaker.state == "closed"
    with pytest.raises(ServiceUnreachableError, match="Timeout"):
        send(client(breaker=breaker, timeout=0.2, retries=Retries(attempts=1)), "GET", "mails")
    assert breaker.state == "open"
    with pytest.raises(CircuitOpenError):
        send(guarded, "GET", "mails")
    assert len(server.seen) == 5
    clock.advance(30.0)
    send(guarded, "GET", "mails")
    assert breaker.state == "closed"


def test_nobody_listens(clock, send):
    """What was never sent may be sent again, whatever it is."""
    client = ExternalServiceClient("mail", f"http://127.0.0.1:{free_port()}", clock=clock)
    start = clock.now()
    with pytest.raises(ServiceUnreachableError, match="ConnectError") as failed:
        send(client, "POST", "mails", json={})
    assert not failed.value.may_have_arrived
    assert clock.now() > start, "it was tried once only"
    client.close()


def test_connections_are_kept_and_closed(server, client):
    kept = client()
    for _ in range(2):
        kept.request("GET", "mails")
    kept.close()
    kept.request("GET", "mails")
    assert len(server.seen) == 3


@pytest.mark.parametrize("url", ["ftp://x", "mail.example.com", "http://", ""])
def test_a_url_that_is_none(url):
    with pytest.raises(ConfigurationError, match="base_url"):
        ExternalServiceClient("mail", url)


# -- keys ----------------------------------------------------------------------------------


def keys_of(server):
    return [seen.headers.get("Idempotency-Key") for seen in server.seen]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_resumed_step_sends_the_same_key(server, client, is_async):
    """Killed after the request and before its result is on record."""
    sender = client()

    def post(to):
        sender.request("POST", "mails", json={"to": to})
        return to

    async def post_async(to):
        await sender.request_async("POST", "mails", json={"to": to})
        return to

    def body(task):
        for to in ("ann", "bob"):
            task.step(post, to)

    async def body_async(task):
        for to in ("ann", "bob"):
            await task.step(post_async, to)

    bench = Bench(body_async if is_async else body)
    assert bench.die(2, after=False)
    bench.attempt()
    ann, bob, again = keys_of(server)
    assert bob == again
    assert len({ann, bob}) == 2
    assert all(len(key) == 32 for key in (ann, bob))


def test_requests_that_differ_have_keys_of_their_own(server, client):
    sender = client()

    def send():
        sender.request("POST", "mails", json={"to": "ann"})
        sender.request("POST", "mails", json={"to": "bob"})
        sender.request("POST", "bills", json={"to": "ann"})
        sender.request("POST", "mails", json={}, headers={"Idempotency-Key": "mine"})

    Bench(lambda task: task.step(send)).attempt()
    assert len(set(keys_of(server))) == 4
    assert keys_of(server)[3] == "mine"


def test_outside_a_step_each_call_has_a_key_of_its_own(server, client):
    sender = client()

    def body(task):
        for _ in range(2):
            sender.request("POST", "mails", json={})

    body(None)
    Bench(body).attempt()
    assert len(set(keys_of(server))) == 4
