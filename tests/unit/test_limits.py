"""Limits: never above in any window, well used, and the same in Lua as in Python."""

import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from milepost.errors import ConfigurationError
from milepost.limits import Admitted, Limit, Wait
from milepost.stores.memory_limits import SWEEP, MemoryLimits
from milepost.stores.redis import lua
from milepost.stores.redis.limits import RedisLimits
from milepost.stores.redis.wire import Wire
from milepost.stores.windows import BUCKETS
from milepost.testing import FakeClock
from services import start_redis

PER = 10.0

limits_of = st.builds(
    Limit,
    requests=st.integers(1, 8),
    tokens=st.none() | st.integers(20, 60),
    concurrency=st.none() | st.integers(1, 5),
    per=st.just(PER),
    lease=st.just(3.0),
)
callers = st.lists(
    st.tuples(
        # Mostly short steps, and now and then one over the better part of a window.
        st.floats(0, PER / BUCKETS * 2) | st.floats(0, PER * 1.2),
        st.integers(0, 20),
        st.sampled_from(["keep", "settle", "release", "renew", "push"]),
        st.floats(0, 1),
    ),
    max_size=80,
)


def most_in_a_window(admitted, per):
    """Return the largest sum in any half-open window of *per* seconds."""
    most = 0
    for begin, _ in admitted:
        most = max(most, sum(n for at, n in admitted if begin <= at < begin + per))
    return most


@given(limit=limits_of, callers=callers)
@settings(max_examples=300, deadline=None)
def test_never_above_the_limit_in_any_window(limit, callers):
    """Whatever callers do, and wherever one begins to count."""
    clock = FakeClock()
    limits = MemoryLimits(clock)
    requests, tokens = [], []
    for step, amount, act, part in callers:
        clock.advance(step)
        answer = limits.acquire("k", limit, amount)
        if isinstance(answer, Wait):
            assert answer.seconds > 0
            continue
        requests.append((clock.now(), 1))
        if act == "settle":
            limits.settle(answer.permit, int(amount * part))
            amount = int(amount * part)
        elif act == "release":
            limits.release(answer.permit)
        tokens.append((clock.now(), amount))
    assert most_in_a_window(requests, PER) <= limit.requests
    if limit.tokens is not None:
        assert most_in_a_window(tokens, PER) <= limit.tokens


@given(limit=limits_of, callers=callers)
@settings(max_examples=100, deadline=None)
def test_who_waits_as_told_is_admitted(limit, callers):
    """The wait for a window is neither too short nor longer than the window."""
    clock = FakeClock()
    limits = MemoryLimits(clock)
    for step, amount, *_ in callers:
        clock.advance(step)
        answer = limits.acquire("k", limit, amount)
        if isinstance(answer, Wait) and answer.which != "concurrency":
            assert answer.seconds <= PER * (1 + 2 / BUCKETS)
            clock.advance(answer.seconds + 2e-6)  # what a float of so many seconds rounds off
            answer = limits.acquire("k", limit, amount)
            assert isinstance(answer, Admitted) or answer.which == "concurrency"


@pytest.mark.parametrize("requests", [1, 3, 10, 97, 1000])
@pytest.mark.parametrize("pause", [0.0007, 0.005])
def test_under_load_the_limit_is_well_used(requests, pause):
    """Callers who always want more get at least 95 % of what is allowed, over any length."""
    clock, limit = FakeClock(), Limit(requests=requests, per=PER)
    limits = MemoryLimits(clock)
    start, admitted, windows = clock.now(), 0, 20
    while clock.now() < start + windows * PER:
        answer = limits.acquire("k", limit, 0)
        if isinstance(answer, Admitted):
            admitted += 1
            clock.advance(pause if admitted % 7 else 0)
        else:
            clock.advance(answer.seconds + pause)
    assert admitted >= 0.95 * windows * requests


def test_tokens_are_well_used_too():
    """Settling what was estimated too high gives the rest to others."""
    clock, limit = FakeClock(), Limit(tokens=10_000, per=PER)
    limits = MemoryLimits(clock)
    start, used, windows = clock.now(), 0, 20
    while clock.now() < start + windows * PER:
        answer = limits.acquire("k", limit, 100)
        if isinstance(answer, Admitted):
            limits.settle(answer.permit, 37)
            used += 37
            clock.advance(0.001)
        else:
            clock.advance(answer.seconds)
    assert used >= 0.95 * windows * limit.tokens


def test_a_clock_that_is_set_back_blocks_no_longer_than_a_window():
    clock, limit = FakeClock(), Limit(requests=1, per=PER)
    limits = MemoryLimits(clock)
    assert isinstance(limits.acquire("k", limit), Admitted)
    clock.advance(-86400.0)
    assert isinstance(limits.acquire("k", limit), Admitted)
    clock.advance(-5.0)
    answer = limits.acquire("k", limit)
    assert answer.seconds <= 2 * PER


def test_memory_forgets_keys_that_no_longer_matter():
    clock, limit = FakeClock(), Limit(requests=1, per=1.0)
    limits = MemoryLimits(clock)
    for n in range(3 * SWEEP):
        limits.acquire(f"tenant/{n}", limit)
        clock.advance(0.01)
    assert len(limits._windows) <= SWEEP + 1


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"requests": 0},
        {"requests": 2.5},
        {"tokens": -1},
        {"concurrency": True},
        {"requests": 1, "per": 0},
        {"requests": 1, "per": float("nan")},
        {"requests": 1, "lease": -1},
    ],
)
def test_a_limit_that_makes_no_sense(wrong):
    with pytest.raises(ConfigurationError, match="Limit"):
        Limit(**wrong)


class ClockedWire(Wire):
    """A way to Redis on which the scripts read a clock of the test's."""

    def __init__(self, url, clock):
        super().__init__(url, 5.0)
        self._clock = clock

    def run(self, verb, *rest):
        text = lua.script(verb).text
        now = f"local function ticks() return {round(self._clock.now() * 1_000_000)} end\n"
        _, end, own = text.partition("return time[1] * 1000000 + time[2]\nend\n")
        return self.ask(("EVAL", now + own if end else text, *rest))


@pytest.fixture(scope="module")
def server():
    server = start_redis()
    yield server
    server.stop()


@given(limit=limits_of, callers=callers, per=st.sampled_from([PER, PER, PER, 2.5]))
@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
def test_lua_decides_like_python(server, limit, callers, per):
    """The script and the rules that memory and SQL share give the same answers, always."""
    clock = FakeClock(1_700_000_000.25)
    both = [MemoryLimits(clock), RedisLimits(ClockedWire(server.url, clock), secrets.token_hex(4))]
    other = Limit(requests=limit.requests, tokens=limit.tokens, per=per)
    kept = []
    for n, (step, amount, act, part) in enumerate(callers):
        clock.advance(round(step, 6))
        wanted = other if n % 5 == 4 else limit
        answers = [limits.acquire("k", wanted, amount) for limits in both]
        if isinstance(answers[0], Wait):
            assert answers[0] == answers[1]
        else:
            ends = [answer.permit.id.partition(".")[0] for answer in answers]
            assert ends[0] == ends[1]
            kept.append([answer.permit for answer in answers])
        if kept:
            permits = kept[int(part * (len(kept) - 1))]
            pairs = list(zip(both, permits, strict=True))
            if act == "settle":
                for limits, permit in pairs:
                    limits.settle(permit, int(amount * part * 2))
            elif act == "release":
                for limits, permit in pairs:
                    limits.release(permit)
            elif act == "renew":
                assert len({limits.renew(permit) for limits, permit in pairs}) == 1
            elif act == "push" and part > 0.9:
                for limits in both:
                    limits.push("k", part)
