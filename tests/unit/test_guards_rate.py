"""The rate guard: who waits, who is refused, and what is left behind."""

import asyncio
import logging
import threading
import time

import pytest

from milepost.errors import (
    ConfigurationError,
    LimitExceededError,
    RateLimitedError,
    StoreUnavailableError,
)
from milepost.guards.rate import RateGuard
from milepost.guards.renewal import Renewal
from milepost.limits import Admitted, Limit, Permit, Wait
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock

KEY = "llm/openai/gpt-4"


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def limits(clock):
    return MemoryStore(clock).limits


class SharedLimits:
    """The memory store's limits as if others shared them, so that async callers use threads."""

    is_shared = True

    def __init__(self, inner):
        self._inner = inner
        self.told = []

    def __getattr__(self, verb):
        def call(*args):
            self.told.append((verb, threading.current_thread() is threading.main_thread()))
            return getattr(self._inner, verb)(*args)

        return call


class BrokenLimits:
    """Admits, and then is gone."""

    is_shared = True

    def acquire(self, key, limit, tokens=0):
        return Admitted(Permit(key, "1.x", tokens, limit.lease))

    def __getattr__(self, verb):
        def call(*_):
            raise StoreUnavailableError("redis://x", "gone")

        return call


def test_a_call_waits_for_its_turn(clock, limits):
    guard = RateGuard(limits, KEY, Limit(requests=2, per=4.0), clock=clock)
    start = clock.now()
    for _ in range(3):
        with guard.calling():
            pass
    assert 4.0 <= clock.now() - start <= 4.2


def test_a_wait_that_is_too_long_is_refused_at_once(clock, limits):
    guard = RateGuard(limits, KEY, Limit(requests=1), max_wait=5.0, clock=clock)
    with guard.calling():
        pass
    start = clock.now()
    with pytest.raises(RateLimitedError) as refused, guard.calling():
        pytest.fail("it was admitted")
    assert (refused.value.key, clock.now()) == (KEY, start)
    assert 60.0 < refused.value.retry_after < 62.0


def test_it_may_wait_for_as_long_as_it_takes(clock, limits):
    guard = RateGuard(limits, KEY, Limit(requests=1, per=3600.0), max_wait=None, clock=clock)
    start = clock.now()
    for _ in range(3):
        guard.acquire()
    assert 7200.0 <= clock.now() - start <= 7400.0


def test_a_call_that_is_too_large_is_told_so(clock, limits):
    guard = RateGuard(limits, KEY, Limit(tokens=10), clock=clock)
    with pytest.raises(LimitExceededError, match="11 tokens"), guard.calling(11):
        pytest.fail("it was admitted")


def test_what_a_call_really_took_is_settled_at_its_end(clock, limits):
    guard = RateGuard(limits, KEY, Limit(tokens=100), max_wait=0, clock=clock)
    with guard.calling(100) as call:
        call.settle(30)
    with guard.calling(70):
        pass
    with pytest.raises(RateLimitedError), guard.calling(1):
        pytest.fail("it was admitted")


def test_an_estimate_stands_where_the_call_failed(clock, limits):
    guard = RateGuard(limits, KEY, Limit(tokens=100), max_wait=0, clock=clock)
    with pytest.raises(ZeroDivisionError), guard.calling(100):
        raise ZeroDivisionError
    with pytest.raises(RateLimitedError), guard.calling(1):
        pytest.fail("it was admitted")


def test_a_place_is_given_back_also_by_a_call_that_failed(clock, limits):
    guard = RateGuard(limits, KEY, Limit(concurrency=1), max_wait=0, clock=clock)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), guard.calling():
            raise ZeroDivisionError
    with guard.calling(), pytest.raises(RateLimitedError) as refused, guard.calling():
        pytest.fail("two at once")
    assert refused.value.retry_after == 1.0


def test_a_push_holds_for_all(clock, limits):
    first, second = (RateGuard(limits, KEY, Limit(requests=9), clock=clock) for _ in range(2))
    first.push(20.0)
    with pytest.raises(RateLimitedError) as refused, second.calling():
        pytest.fail("it was admitted")
    assert 19.0 < refused.value.retry_after <= 20.0


def test_a_store_that_is_not_shared_is_told_of(clock, limits, caplog):
    with caplog.at_level(logging.WARNING, "milepost"):
        guard = RateGuard(limits, KEY, Limit(requests=1), clock=clock)
    assert not guard.is_shared
    assert f"the limit {KEY!r} holds in this process alone" in caplog.text


@pytest.mark.parametrize(("key", "max_wait"), [("", 1.0), ("k", -1.0), ("k", float("nan"))])
def test_a_guard_that_makes_no_sense(limits, key, max_wait):
    with pytest.raises(ConfigurationError):
        RateGuard(limits, key, Limit(requests=1), max_wait=max_wait)


def test_the_end_of_a_call_does_not_depend_on_the_store(caplog):
    guard = RateGuard(BrokenLimits(), KEY, Limit(tokens=10, concurrency=1))
    with guard.calling(5) as call:
        call.settle(3)
    assert "could not be told" in caplog.text


def test_threads_wait_in_line(limits):
    """Those behind the first one in line ask nothing, and are refused once their time is up."""
    asked = []

    class Slow:
        is_shared = True

        def acquire(self, key, limit, tokens=0):
            asked.append(threading.current_thread().name)
            entered.set()
            assert leave.wait(30)
            return Admitted(Permit(key, "1.x", 0, 60.0))

    entered, leave = threading.Event(), threading.Event()
    guard = RateGuard(Slow(), KEY, Limit(requests=5), max_wait=0.01)
    first = threading.Thread(target=guard.acquire, name="first")
    first.start()
    assert entered.wait(30)
    with pytest.raises(RateLimitedError):
        guard.acquire()
    assert asked == ["first"]
    leave.set()
    first.join()


# -- asyncio -------------------------------------------------------------------------------


def test_async_calls_share_one_asker(clock, limits):
    """A thousand calls wait in one line: the store is asked once per turn, in a thread."""
    shared = SharedLimits(limits)
    guard = RateGuard(shared, KEY, Limit(requests=2000, concurrency=2000))

    async def call():
        async with guard.calling():
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*(call() for _ in range(100)))

    asyncio.run(main())
    verbs = [verb for verb, _ in shared.told]
    assert (verbs.count("acquire"), verbs.count("release")) == (100, 100)
    assert not any(in_main for _, in_main in shared.told)


def test_a_guard_serves_several_event_loops(clock, limits):
    guard = RateGuard(limits, KEY, Limit(requests=1000))

    async def main():
        async def call():
            async with guard.calling():
                await asyncio.sleep(0)

        await asyncio.gather(*(call() for _ in range(20)))

    for _ in range(2):
        asyncio.run(main())
    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(sums[0] for sums in limits._windows[KEY].counted.values()) == 100


def test_async_calls_are_refused_in_time(clock, limits):
    guard = RateGuard(limits, KEY, Limit(requests=1), max_wait=0.02)

    async def main():
        async with guard.calling():
            pass
        refused = await asyncio.gather(
            *(guard.acquire_async() for _ in range(5)), return_exceptions=True
        )
        assert [type(error) for error in refused] == [RateLimitedError] * 5

    asyncio.run(main())


def test_async_calls_are_spread(clock, limits):
    """No loop uses up a minute's limit in its first moment."""
    guard = RateGuard(limits, KEY, Limit(requests=40, per=60.0), max_wait=0.05)

    async def main():
        asked = (guard.acquire_async() for _ in range(40))
        return await asyncio.gather(*asked, return_exceptions=True)

    admitted = [answer for answer in asyncio.run(main()) if isinstance(answer, Permit)]
    assert len(admitted) == 10


def test_a_cancelled_caller_gives_back_what_it_was_granted(clock, limits):
    entered, go_on = threading.Event(), threading.Event()

    class Slow(SharedLimits):
        def acquire(self, *args):
            entered.set()
            assert go_on.wait(30)
            return limits.acquire(*args)

    guard = RateGuard(Slow(limits), KEY, Limit(tokens=10, concurrency=1))

    async def main():
        caller = asyncio.create_task(guard.acquire_async(10))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        go_on.set()
        while limits._windows.get(KEY) is None or limits._windows[KEY].held:
            await asyncio.sleep(0.001)

    asyncio.run(main())
    assert isinstance(limits.acquire(KEY, Limit(tokens=10, concurrency=1), 10), Admitted)


def test_a_store_that_hangs_does_not_stop_the_loop(limits):
    go_on = threading.Event()

    class Hanging(SharedLimits):
        def acquire(self, *args):
            assert go_on.wait(30)
            return limits.acquire(*args)

    guard = RateGuard(Hanging(limits), KEY, Limit(requests=1))

    async def main():
        caller = asyncio.create_task(guard.acquire_async())
        for _ in range(100):
            await asyncio.sleep(0)
        go_on.set()
        await caller

    asyncio.run(main())


# -- long calls ----------------------------------------------------------------------------


def test_a_long_call_keeps_its_place(limits):
    """Renewed by a thread that ends when there is nothing left to renew."""
    renewed = threading.Event()
    seen = []

    class Counting:
        def renew(self, permit):
            seen.append(permit.id)
            if len(seen) > 2:
                renewed.set()
            return True

    renewal = Renewal(Counting(), 0.005)
    permit = Permit(KEY, "1.x", 0, 60.0)
    renewal.keep(permit)
    assert renewed.wait(30)
    renewal.drop(permit)
    deadline = time.monotonic() + 30
    while renewal._is_running and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not renewal._is_running
    seen.clear()
    renewed.clear()
    renewal.keep(permit)
    assert renewed.wait(30)
    renewal.drop(permit)


def test_a_fault_does_not_end_the_renewals(caplog):
    """Neither for other permits nor for good: else the place would lapse, and nobody knew."""
    renewed = threading.Event()
    bad, good = Permit(KEY, "1.bad", 0, 60.0), Permit(KEY, "1.good", 0, 60.0)
    asked = []

    class Faulty:
        def renew(self, permit):
            asked.append(permit.id)
            if asked.count("1.good") == 3:
                renewed.set()
            if permit is bad:
                raise ZeroDivisionError
            return True

    renewal = Renewal(Faulty(), 0.005)
    renewal.keep(bad)
    renewal.keep(good)
    assert renewed.wait(30)
    renewal.drop(bad)
    renewal.drop(good)
    assert "was not renewed" in caplog.text


def test_a_place_that_has_lapsed_is_told_once(caplog):
    asked = threading.Event()
    lapsed, kept = Permit(KEY, "1.lapsed", 0, 60.0), Permit(KEY, "1.kept", 0, 60.0)
    seen = []

    class Forgetful:
        def renew(self, permit):
            seen.append(permit.id)
            if seen.count("1.kept") == 3:
                asked.set()
            return permit is kept

    renewal = Renewal(Forgetful(), 0.005)
    renewal.keep(lapsed)
    renewal.keep(kept)
    assert asked.wait(30)
    renewal.drop(kept)
    assert caplog.text.count("has lapsed") == 1


def test_a_thread_that_cannot_be_started_is_tried_again(monkeypatch):
    renewed = threading.Event()

    class Counting:
        def renew(self, permit):
            renewed.set()
            return True

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    renewal, permit = Renewal(Counting(), 0.005), Permit(KEY, "1.x", 0, 60.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError):
            renewal.keep(permit)
    renewal.keep(permit)
    assert renewed.wait(30)
    renewal.drop(permit)


def test_a_wait_says_what_stands_in_the_way(limits):
    limits.push(KEY, 5.0)
    assert limits.acquire(KEY, Limit(requests=1)) == Wait(5.0, "pushed")
