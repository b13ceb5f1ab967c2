"""The memoised call: once per job, by name, and never with another item's result."""

import asyncio
import functools

import pytest

from harness import Bench, Killed, lost, retry
from milepost.errors import CheckpointError, NameInUseError, StepResultError
from milepost.model import JobStatus, Signal
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock


def counted(calls, value=None):
    def step(*args, **kwargs):
        calls.append((args, kwargs))
        return len(calls) if value is None else value

    return step


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": (1, 2)}, b"\0", {1, 2}, 1.5])
def test_a_step_runs_once_and_returns_the_same(value):
    """A resumed attempt gets what the first call returned, type included, without calling."""
    calls = []

    def body(task):
        got = task.step(lambda: (calls.append(1), value)[1], name="once")
        if task.fence == 1:
            raise Killed
        return got

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    got = bench.attempt().value
    assert got == value
    assert type(got) is type(value)
    assert calls == [1]


def test_a_step_gets_its_arguments():
    """Arguments go through, a keyword of the step's own called ``function`` included."""

    def load(*args, **kwargs):
        return [list(args), kwargs]

    bench = Bench(lambda task: task.step(load, 1, 2, name="load", function=3))
    assert bench.attempt().value == [[1, 2], {"function": 3}]


def test_default_names_are_numbered():
    """The same function may be a step several times: by order, each has its own memo."""

    def body(task):
        return [task.step(len, text) for text in ("a", "bb", "ccc")]

    bench = Bench(body)
    bench.die(2)
    assert set(bench.fields) == {"slen", "slen#2"}
    assert bench.attempt().value == [1, 2, 3]


def test_any_callable_can_be_a_step():
    """Partials, methods and objects have names too."""

    class Caller:
        def __call__(self):
            return "called"

    def body(task):
        return [task.step(functools.partial(len, "ab")), task.step("x".upper), task.step(Caller())]

    assert Bench(body).attempt().value == [2, "X", "called"]


def test_an_explicit_name_can_be_used_once():
    """Two steps of one name would share a memo."""

    def body(task):
        task.step(len, "a", name="n")
        task.step(len, "b", name="n")

    with pytest.raises(NameInUseError, match="step name 'n' is already in use"):
        Bench(body).attempt()


@pytest.mark.parametrize("name", ["a/b", "a:b", "100%", "ü", "s", ""])
def test_any_string_can_be_a_name(name):
    """Names may hold what separates the parts of a field's name."""
    calls = []

    def body(task):
        for _ in task.iterate("x", name=name + "loop"):
            task.step(counted(calls), name=name)
            task.step(counted(calls), name=name + "2")
        return len(calls)

    bench = Bench(body)
    bench.die(1)
    assert bench.attempt().value == 2


def test_a_step_that_fails_is_not_recorded():
    """A retry calls it again, and does not call the steps before it."""
    calls, fails = [], [True]

    def flaky():
        calls.append("flaky")
        if fails.pop() if fails else False:
            raise OSError("down")
        return "up"

    def body(task):
        task.step(counted(calls, "first"), name="first")
        return task.step(flaky)

    bench = Bench(body, judge=retry)
    with pytest.raises(OSError):
        bench.attempt()
    assert bench.attempt().value == "up"
    assert calls == [((), {}), "flaky", "flaky"]


def test_a_result_that_cannot_be_stored_names_the_step():
    """Rather than running twice in silence, the step says which result it is, and where in it."""

    def body(task):
        task.step(lambda: {"connection": object()}, name="connect")

    bench = Bench(body)
    with pytest.raises(StepResultError, match=r"step 'connect': .*\$\.connection"):
        bench.attempt()
    assert bench.fields == {}
    assert bench.job.status is JobStatus.FAILED


def test_a_result_that_is_too_large_names_the_step():
    """The step is not recorded, the job is settled, and what follows can still be saved."""
    clock = FakeClock()

    def body(task):
        try:
            task.step(lambda: "x" * 2000, name="big")
        except StepResultError:
            if task.fence == 1:
                raise
        return task.step(len, "after")

    bench = Bench(body, judge=retry, clock=clock, inner=MemoryStore(clock, max_value_bytes=1000))
    with pytest.raises(StepResultError, match="step 'big'"):
        bench.attempt()
    assert bench.job.status is JobStatus.SCHEDULED
    assert bench.attempt().value == 5
    assert set(bench.fields) == {"slen"}


# -- inside loops --------------------------------------------------------------------------


def test_each_item_has_its_own_memos():
    """A step in a loop runs once per item, and its memo ends with the item."""
    calls = []

    def body(task):
        got = []
        for item in task.iterate("abc", every=1):
            got.append(
                task.step(lambda item=item: (calls.append(item), item.upper())[1], name="up")
            )
        return got

    for write in range(1, 12):
        calls.clear()
        bench = Bench(body)
        bench.die(write)
        if not bench.job.status.is_terminal:
            got = bench.attempt().value
            assert got == list("ABC")[3 - len(got) :]
        assert calls == list("abc")
        assert bench.fields.keys() == {"eloop"}


def test_an_interrupted_item_replays_its_memos():
    """Steps of the item that was interrupted are replayed; those of others are not there."""
    calls = []

    def body(task):
        for item in task.iterate("ab", every=1):
            first = task.step(lambda item=item: (calls.append(item), item)[1], name="first")
            assert first == item
            if item == "b" and task.fence == 1:
                raise Killed
            task.step(lambda item=item: (calls.append(item * 2), item)[1], name="second")

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.attempt()
    assert calls == ["a", "aa", "b", "bb"]


def test_a_memo_that_is_not_asked_for_ends_with_its_item():
    """A step that a resumed item skips leaves no memo for the next item to mistake for its own."""
    cache = set()

    def body(task):
        got = {}
        for item in task.iterate("abc", every=1):
            if item not in cache:
                got[item] = task.step(str.upper, item)
                cache.add(item)
            if item == "a" and task.fence == 1:
                raise Killed
        return got

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    assert bench.attempt().value == {"b": "B", "c": "C"}
    assert bench.fields.keys() == {"eloop"}


def test_conditional_steps_are_fine():
    """With unchanged code, a step may be reached in one attempt and not in the next."""

    def body(task):
        if task.fence == 1:
            task.step(len, "only in the first attempt", name="first")
            raise Killed
        task.step(len, "only in the second", name="second")
        return "done"

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    assert bench.attempt().value == "done"
    assert bench.job.status is JobStatus.SUCCEEDED


# -- async ---------------------------------------------------------------------------------


def test_async_steps():
    """An ``async def`` step is awaited, memoised, and on resume awaited without running."""
    calls = []

    async def fetch(n):
        calls.append(n)
        await asyncio.sleep(0)
        return n * 10

    async def body(task):
        got = [await task.step(fetch, n) for n in range(3)]
        got += await asyncio.gather(*(task.step(fetch, n, name=f"g{n}") for n in range(3)))
        return got

    for write in range(1, 6):
        calls.clear()
        bench = Bench(body)
        bench.die(write)
        assert bench.attempt().value == [0, 10, 20, 0, 10, 20]
        assert len(calls) == 6 or write > 3


@pytest.mark.parametrize("signal", list(Signal))
def test_a_task_group_cannot_swallow_a_signal(signal):
    """A signal that reaches a step inside the user's TaskGroup still stops the job."""

    async def fetch():
        if bench.last.fence == 1:
            bench.signal(signal)
        return 1

    async def body(task):
        async with asyncio.TaskGroup() as group:
            group.create_task(task.step(fetch, name="a"))
            group.create_task(asyncio.sleep(60))

    bench = Bench(body)
    ending = bench.attempt()
    want = {"pause": "paused", "cancel": "cancelled", "drain": "interrupted"}[signal]
    assert ending.status == bench.job.status == want


def test_a_task_group_cannot_swallow_a_lost_lease():
    """Nor the end of an attempt that was superseded: it writes nothing more."""

    async def fetch():
        bench.store.refuse_next += lost()
        return 1

    async def body(task):
        async with asyncio.TaskGroup() as group:
            group.create_task(task.step(fetch, name="a"))

    bench = Bench(body)
    assert bench.attempt().reason == "superseded"
    assert bench.store.log == []


@pytest.mark.parametrize("kind", ["step", "iterate", "map"])
def test_a_name_is_a_string(kind):
    """Anything else is refused before it can become a field that nobody finds again."""

    def body(task):
        if kind == "iterate":
            list(task.iterate([1], name=7))
        elif kind == "map":
            task.map(str, [1], name=7)
        else:
            task.step(str, 1, name=7)

    with pytest.raises(CheckpointError, match="name=7"):
        Bench(body).attempt()
