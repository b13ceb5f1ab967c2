"""The circuit breaker: one state for all, one probe, and nothing that depends on the store."""

import asyncio
import logging
import threading

import pytest
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from milepost.documents import Document
from milepost.errors import (
    CircuitOpenError,
    ConfigurationError,
    LLMBadRequestError,
    LLMRateLimitedError,
    LLMTimeoutError,
    RateLimitedError,
    StoreUnavailableError,
)
from milepost.events import CircuitChanged
from milepost.guards.breaker import TRIES, BreakerGuard, is_failure
from milepost.guards.circuit import Circuit
from milepost.interrupts import Cancel
from milepost.observer import Emitter
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock

RESET = 30.0
PROBE = 60.0


class Answered(Exception):
    """An error that carries an HTTP status, as SDKs do it."""

    def __init__(self, status):
        super().__init__(status)
        self.status_code = status


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def documents(clock):
    return MemoryStore(clock).documents


@pytest.fixture
def events():
    return []


@pytest.fixture
def worker(documents, events):
    """Makes breakers of one name, each as in a process of its own that trusts no old news."""

    def make(**changes):
        given = {"fail_max": 3, "reset_timeout": RESET, "probe_seconds": PROBE, "refresh": 0}
        emit = Emitter([events.append])
        return BreakerGuard(documents, "mail", emit=emit, **{**given, **changes})

    return make


def call(guard, error=None):
    with guard.calling():
        if error is not None:
            raise error


def fail(guard, error=None, times=1):
    for _ in range(times):
        with pytest.raises(type(error or OSError())):
            call(guard, error or OSError("down"))


def changes(events):
    assert all(isinstance(event, CircuitChanged) and event.name == "mail" for event in events)
    return [f"{event.before} → {event.after}" for event in events]


def test_failures_of_all_workers_together_open_it(worker, events):
    first, second = worker(), worker()
    fail(first, times=2)
    fail(second)
    for guard in (first, second, worker()):
        with pytest.raises(CircuitOpenError) as refused:
            call(guard)
        assert (refused.value.name, refused.value.retry_after) == ("mail", RESET)
    assert changes(events) == ["closed → open"]


def test_a_success_between_failures_keeps_it_closed(worker, events):
    first, second = worker(), worker()
    for _ in range(3):
        fail(first, times=2)
        call(second)
        call(first)
    assert (first.state, events) == ("closed", [])


def test_a_call_through_a_healthy_circuit_costs_no_write(worker, documents):
    guard = worker()
    for _ in range(5):
        call(guard)
    assert documents.read("breakers/mail").version == 0


def test_what_is_known_is_used_again(worker, documents):
    """Within ``refresh`` a closed circuit costs no command at all."""
    guard = worker(refresh=3600.0)
    call(guard)
    documents.read = None
    for _ in range(5):
        call(guard)


def test_exactly_one_may_probe(worker, clock, events):
    guards = [worker() for _ in range(5)]
    fail(guards[0], times=3)
    clock.advance(RESET)
    probe = guards[2].calling()
    probe.__enter__()
    for guard in guards:
        with pytest.raises(CircuitOpenError) as refused:
            call(guard)
        assert refused.value.retry_after == RESET
    probe.__exit__(None, None, None)
    for guard in guards:
        call(guard)
    assert changes(events) == ["closed → open", "open → half-open", "half-open → closed"]


def test_of_many_threads_one_may_probe(worker, clock):
    fail(worker(), times=3)
    clock.advance(RESET)
    gate, entered, refused = threading.Barrier(8), [], []

    def try_it(guard):
        passage = guard.calling()
        gate.wait()
        try:
            passage.__enter__()
            entered.append(guard)
        except CircuitOpenError:
            refused.append(guard)

    threads = [threading.Thread(target=try_it, args=(worker(),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(entered), len(refused)) == (1, 7)


def test_a_probe_that_fails_opens_it_anew(worker, clock, events):
    guard = worker()
    fail(guard, times=3)
    clock.advance(RESET)
    fail(guard)
    with pytest.raises(CircuitOpenError) as refused:
        call(guard)
    assert refused.value.retry_after == RESET
    assert changes(events)[1:] == ["open → half-open", "half-open → open"]


def test_several_probes_may_be_asked_for(worker, clock):
    guard = worker(success_threshold=2)
    fail(guard, times=3)
    clock.advance(RESET)
    call(guard)
    assert guard.state == "half-open"
    call(guard)
    assert guard.state == "closed"
    fail(guard, times=2)
    assert guard.state == "closed"


def test_a_dead_prober_does_not_block_for_ever(worker, clock):
    first, second = worker(), worker()
    fail(first, times=3)
    clock.advance(RESET)
    dead = first.calling()
    dead.__enter__()
    clock.advance(PROBE)
    living = second.calling()
    living.__enter__()
    dead.__exit__(OSError, OSError("late"), None)
    assert first.state == "half-open"
    living.__exit__(None, None, None)
    assert first.state == "closed"


def test_a_call_from_before_it_opened_changes_nothing(worker):
    first, second = worker(), worker()
    slow, slower = first.calling(), first.calling()
    slow.__enter__()
    slower.__enter__()
    fail(second, times=3)
    slow.__exit__(None, None, None)
    slower.__exit__(OSError, OSError("late"), None)
    assert first.state == "open"


NEUTRAL = [
    asyncio.CancelledError(),
    KeyboardInterrupt(),
    GeneratorExit(),
    Cancel(),
    Retry(),
    Ignore(),
    Reject("no"),
    SoftTimeLimitExceeded(),
    RateLimitedError("k", 1.0),
    CircuitOpenError("other", 1.0),
    Answered(429),
    Answered(404),
    LLMRateLimitedError("openai", "m"),
    LLMBadRequestError("openai", "m"),
]
DOWN = [OSError(), ValueError(), Answered(500), Answered(408), LLMTimeoutError("openai", "m")]


@pytest.mark.parametrize("error", NEUTRAL, ids=repr)
def test_a_neutral_end_counts_neither_way(worker, clock, error):
    guard = worker()
    fail(guard, error, times=5)
    assert guard.state == "closed"
    fail(guard, times=2)
    fail(guard, error)
    fail(guard)
    assert guard.state == "open", "the neutral end took failures back"
    clock.advance(RESET)
    fail(guard, error)
    assert guard.state == "half-open", "a neutral end decided the probe"
    call(guard)
    assert guard.state == "closed", "a neutral end kept the next one from probing"


@pytest.mark.parametrize("error", DOWN, ids=repr)
def test_everything_else_is_a_failure(error):
    assert is_failure(error)


def test_which_errors_count_is_the_users_word(worker):
    guard = worker(is_failure=lambda error: isinstance(error, OSError))
    fail(guard, ValueError(), times=5)
    assert guard.state == "closed"
    fail(guard, times=3)
    assert guard.state == "open"


@pytest.mark.parametrize(
    "wrong",
    [{"fail_max": 0}, {"reset_timeout": 0}, {"probe_seconds": -1}, {"refresh": float("nan")}],
)
def test_a_breaker_that_makes_no_sense(worker, wrong):
    with pytest.raises(ConfigurationError, match="mail"):
        worker(**wrong)


def test_a_clock_that_is_set_back_keeps_it_open_no_longer(worker, clock):
    guard = worker()
    fail(guard, times=3)
    clock.advance(-86400.0)
    with pytest.raises(CircuitOpenError) as refused:
        call(guard)
    assert refused.value.retry_after == RESET


# -- the store is away ---------------------------------------------------------------------


class Gone:
    """Documents of a store that is away."""

    def __init__(self):
        self.asked = 0

    def read(self, name):
        self.asked += 1
        raise StoreUnavailableError("redis://x", "gone")

    write = read


def test_while_the_store_is_away_every_call_passes(caplog):
    documents = Gone()
    guard = BreakerGuard(documents, "mail", refresh=0)
    with caplog.at_level(logging.WARNING, "milepost"):
        fail(guard, times=20)
        call(guard)
    assert "lets every call pass" in caplog.text
    assert documents.asked == 1, "each call paid the store's timeout"


def test_a_store_that_goes_away_during_the_call(worker, documents):
    guard = worker()
    with guard.calling():
        documents.read = Gone().read
        documents.write = Gone().read
    with pytest.raises(OSError, match="down"), worker().calling():
        raise OSError("down")


def test_a_crowd_that_writes_at_once_stops_nobody(caplog):
    """Whoever never gets his word in gives up: the others' words say enough."""

    class Crowded:
        tries = 0

        def read(self, name):
            return Document(name, Circuit(failures=1).written(), 7, 1_700_000_000.0)

        def write(self, name, data, *, version):
            Crowded.tries += 1
            return False

    guard = BreakerGuard(Crowded(), "mail", refresh=0)
    fail(guard)
    assert Crowded.tries == TRIES


# -- asyncio -------------------------------------------------------------------------------


def test_in_async_code(worker, clock):
    guard = worker()

    async def try_it(error=None):
        async with guard.calling():
            await asyncio.sleep(0)
            if error:
                raise error

    async def main():
        failed = await asyncio.gather(
            *(try_it(OSError()) for _ in range(3)), return_exceptions=True
        )
        assert [type(error) for error in failed] == [OSError] * 3
        with pytest.raises(CircuitOpenError):
            await try_it()
        clock.advance(RESET)
        tried = await asyncio.gather(*(try_it() for _ in range(10)), return_exceptions=True)
        assert sum(error is None for error in tried) >= 1
        assert {type(error) for error in tried} <= {type(None), CircuitOpenError}

    asyncio.run(main())
    assert guard.state == "closed"


def test_of_many_that_come_at_once_one_asks_the_store(worker, documents):
    """The others are told what it has heard."""
    guard, reads, read = worker(refresh=60.0), [], documents.read
    documents.read = lambda name: reads.append(name) or read(name)

    async def call():
        async with guard.calling():
            pass

    async def main():
        await asyncio.gather(*(call() for _ in range(50)))

    asyncio.run(main())
    assert len(reads) == 1


def test_calls_through_it_run_at_the_same_time(worker):
    """Nothing is locked while a call runs."""
    guard = worker()
    together = threading.Barrier(5)

    def work():
        with guard.calling():
            together.wait(30)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not together.broken


def test_a_cancelled_probe_is_given_to_the_next(worker, clock):
    guard = worker()
    fail(guard, times=3)
    clock.advance(RESET)

    async def main():
        async def probe():
            async with guard.calling():
                started.set()
                await asyncio.sleep(3600)

        started = asyncio.Event()
        task = asyncio.create_task(probe())
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with guard.calling():
            pass

    asyncio.run(main())
    assert guard.state == "closed"


def test_who_is_cancelled_while_asking_does_not_keep_the_probe(worker, clock, documents):
    guard, other = worker(), worker()
    fail(guard, times=3)
    clock.advance(RESET)
    entered, go_on, real = threading.Event(), threading.Event(), guard.admit

    def slowly():
        entered.set()
        assert go_on.wait(30)
        return real()

    guard.admit = slowly

    async def main():
        task = asyncio.create_task(guard.calling().__aenter__())
        while not entered.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        while True:
            found = Circuit.read(documents.read("breakers/mail").data)
            if found.state == "half-open" and not found.prober:
                return
            await asyncio.sleep(0.001)

    asyncio.run(main())
    call(other)
    assert other.state == "closed"
