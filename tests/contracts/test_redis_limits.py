"""Limits in Redis when replies get lost, and what is left of them in the server."""

import itertools
import random

import pytest
import redis
from redis.crc import key_slot
from test_redis_faults import Proxy, opened

from milepost.limits import Admitted, Limit, Wait
from milepost.stores.redis import lua
from services import start_redis

DAY = 86400.0
"""A window so long that no test crosses from one of its buckets into the next."""
_keys = (f"k/{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def server():
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def limits(proxy):
    store = opened(proxy.url)
    yield store.limits
    store.close()


@pytest.fixture
def key():
    return next(_keys)


def permit_of(answer):
    assert isinstance(answer, Admitted), answer
    return answer.permit


def test_an_admission_whose_reply_was_lost_gives_nothing_away(proxy, limits, key):
    """It may count twice, and its permit is good."""
    limit = Limit(requests=3, tokens=90, per=DAY)
    proxy.lose()
    permit = permit_of(limits.acquire(key, limit, 30))
    permit_of(limits.acquire(key, limit, 30))
    assert isinstance(limits.acquire(key, limit, 30), Wait)
    limits.settle(permit, 0)
    assert isinstance(limits.acquire(key, limit, 0), Wait)


def test_a_place_whose_reply_was_lost_is_one_place(proxy, limits, key):
    limit = Limit(concurrency=2, per=DAY)
    proxy.lose()
    first = permit_of(limits.acquire(key, limit))
    permit_of(limits.acquire(key, limit))
    assert limits.acquire(key, limit).which == "concurrency"
    limits.release(first)
    permit_of(limits.acquire(key, limit))


@pytest.mark.parametrize("verb", ["settle", "release"])
def test_a_settlement_whose_reply_was_lost_counts_once(proxy, limits, key, verb):
    limit = Limit(tokens=100, concurrency=9, per=DAY)
    permit = permit_of(limits.acquire(key, limit, 80))
    permit_of(limits.acquire(key, limit, 20))
    proxy.lose()
    getattr(limits, verb)(permit, 30)
    permit_of(limits.acquire(key, limit, 50))
    assert limits.acquire(key, limit, 1).which == "tokens"


def test_a_push_whose_reply_was_lost(proxy, limits, key):
    proxy.lose()
    limits.push(key, 60.0)
    assert limits.acquire(key, Limit(requests=1)).seconds <= 60.0


def test_every_verb_is_one_command(proxy, limits, key):
    limit = Limit(requests=9, tokens=9, concurrency=9)
    for verb in ("acquire", "settle_permit", "renew_permit", "push"):
        limits._wire.ask(("SCRIPT", "LOAD", lua.script(verb).text))
    before = proxy.requests
    permit = permit_of(limits.acquire(key, limit, 1))
    limits.renew(permit)
    limits.settle(permit, 1)
    limits.release(permit)
    limits.release(permit, 1)
    limits.push(key, 0.001)
    assert proxy.requests - before == 6


def test_nothing_stays_for_ever(server):
    """Whatever is done in whatever order, each key of a limit expires by itself."""
    chance = random.Random(7)
    store = opened(server.url, namespace="mortal")
    client = redis.Redis(port=server.port)
    kinds = [
        Limit(requests=2, per=0.05),
        Limit(tokens=50, per=30.0),
        Limit(concurrency=2, per=0.002, lease=50.0),
        Limit(requests=3, tokens=20, concurrency=1, per=5.0, lease=0.01),
    ]
    permits = []
    for _ in range(600):
        key, limit = f"k/{chance.randrange(4)}", chance.choice(kinds)
        answer = store.limits.acquire(key, limit, chance.randrange(20))
        if isinstance(answer, Admitted):
            permits.append(answer.permit)
        permit = chance.choice(permits)
        chance.choice(
            [
                lambda key=key: store.limits.push(key, 0.001),
                lambda permit=permit: store.limits.settle(permit, 3),
                lambda permit=permit: store.limits.release(permit, 3),
                lambda permit=permit: store.limits.renew(permit),
                lambda: None,
            ]
        )()
        for name in client.scan_iter("mortal:*"):
            assert client.pttl(name) != -1, name
    store.close()


def test_the_keys_of_a_limit_share_a_slot(server, limits):
    """Also those of a key that looks as if it had a hash tag of its own."""
    permit_of(limits.acquire("odd/{x}", Limit(tokens=9, concurrency=9), 1))
    names = list(redis.Redis(port=server.port).scan_iter("milepost:limit:{odd*"))
    assert len(names) == 3
    assert len({key_slot(name) for name in names}) == 1
