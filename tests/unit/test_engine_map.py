"""The resumable map: every result is kept, only what is missing is computed."""

import asyncio
import threading
import time

import pytest

from harness import Bench, Killed, retry
from milepost.errors import CheckpointError, ItemKeyError, NameInUseError, StepResultError
from milepost.model import JobStatus, Progress, Signal


def squares(calls, **options):
    def square(n):
        calls.append(n)
        return n * n

    return lambda task: task.map(square, range(10), **options)


def async_squares(calls, **options):
    async def square(n):
        calls.append(n)
        await asyncio.sleep(0)
        return n * n

    async def body(task):
        return await task.map(square, range(10), **options)

    return body


KINDS = [(squares, 1), (squares, 4), (async_squares, 1), (async_squares, 4)]


@pytest.mark.parametrize("make, concurrency", KINDS)
def test_results_come_in_the_order_of_the_items(make, concurrency):
    """However many run at once, the results stand where their items do."""
    bench = Bench(make([], concurrency=concurrency))
    assert bench.attempt().value == [n * n for n in range(10)]
    assert bench.job.progress == Progress(10, 10)


@pytest.mark.parametrize("make, concurrency", KINDS)
def test_a_resume_computes_only_what_is_missing(make, concurrency):
    """What was saved is not computed again."""
    for write in range(1, 11):
        calls = []
        bench = Bench(make(calls, concurrency=concurrency), every=0)
        died = bench.die(write)
        saved = {name for name in bench.fields if name.startswith("m")}
        calls.clear()
        assert died
        assert bench.attempt().value == [n * n for n in range(10)]
        assert len(calls) == 10 - len(saved)


def test_a_set_has_no_order_to_count_on():
    """The next process would take the results for those of other items."""
    bench = Bench(lambda task: task.map(str, {"a", "b"}))
    with pytest.raises(CheckpointError, match="map 'str': a set has no stable order"):
        bench.attempt()
    keyed = Bench(lambda task: sorted(task.map(str, {"a", "b"}, key=str)))
    assert keyed.attempt().value == ["a", "b"]


def test_threads_run_at_once():
    """concurrency= threads really are at work together."""
    barrier = threading.Barrier(4, timeout=10)
    bench = Bench(lambda task: task.map(lambda n: barrier.wait() >= 0, range(8), concurrency=4))
    assert bench.attempt().value == [True] * 8


def test_threads_start_in_turn():
    """No more than concurrency= items are taken before results come back."""
    started, most = [], []

    def work(n):
        started.append(n)
        time.sleep(0.002)
        most.append(len(started))
        started.remove(n)

    Bench(lambda task: task.map(work, range(30), concurrency=3)).attempt()
    assert max(most) <= 3


@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_error_keeps_the_finished_results(concurrency):
    """A retry computes the item that failed and what was not begun, and nothing else."""
    calls, fails = [], [True]

    def work(n):
        calls.append(n)
        if n == 4 and fails:
            time.sleep(0.01)
            fails.clear()
            raise OSError("down")
        return n

    bench = Bench(lambda task: task.map(work, range(10), concurrency=concurrency), judge=retry)
    with pytest.raises(OSError):
        bench.attempt()
    first = [n for n in calls if n != 4]
    assert len([name for name in bench.fields if name.startswith("m")]) == len(first)
    assert bench.attempt().value == list(range(10))
    assert sorted(calls) == sorted([*range(10), 4])


def test_an_async_error_keeps_the_finished_results():
    """The same for coroutines; the error arrives as itself, not in a group."""
    fails = [True]

    async def work(n):
        await asyncio.sleep(0)
        if n == 4 and fails:
            fails.clear()
            raise OSError("down")
        return n

    async def body(task):
        return await task.map(work, range(10), concurrency=2)

    bench = Bench(body, judge=retry)
    with pytest.raises(OSError, match="down"):
        bench.attempt()
    assert len(bench.fields) >= 3
    assert bench.attempt().value == list(range(10))


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_signal_stops_a_map_between_items(concurrency):
    """A pause is obeyed at the next save, with every finished result saved."""

    def work(n):
        if n == 5:
            bench.signal(Signal.PAUSE)
        return n

    bench = Bench(lambda task: task.map(work, range(20), concurrency=concurrency), every=0)
    assert bench.attempt().status is JobStatus.PAUSED
    saved = len([name for name in bench.fields if name.startswith("m")])
    assert 6 <= saved <= 6 + 2 * concurrency
    bench.resume()
    assert bench.attempt().value == list(range(20))


def test_an_async_map_obeys_signals():
    """The same for coroutines."""

    async def work(n):
        await asyncio.sleep(0)
        if n == 5:
            bench.signal(Signal.PAUSE)
        return n

    async def body(task):
        return await task.map(work, range(20), concurrency=3)

    bench = Bench(body, every=0)
    assert bench.attempt().status is JobStatus.PAUSED
    bench.resume()
    assert bench.attempt().value == list(range(20))


def test_results_travel_in_batches():
    """A hundred results make one checkpoint, not a hundred."""
    bench = Bench(lambda task: len(task.map(str, range(1000))))
    assert bench.attempt().value == 1000
    assert [verb for verb, _ in bench.store.log].count("commit") == 10


def test_by_key_the_order_may_change():
    """With key= a result belongs to its item, wherever that stands next time."""
    calls, items = [], list("abcd")

    def work(item):
        calls.append(item)
        return item.upper()

    bench = Bench(lambda task: task.map(work, items, key=str), every=0)
    bench.die(2)
    items.reverse()
    assert bench.attempt().value == list("DCBA")
    assert calls == ["a", "b", "d", "c"]


@pytest.mark.parametrize(
    "key, problem",
    [
        (lambda n: "same", r"'str', item 1 \(1\): its key is not unique"),
        (lambda n: n, r"'str', item 0 \(0\): its key is int, not str"),
    ],
)
def test_keys_that_tell_nothing_are_refused(key, problem):
    """A key is a string, and no two items have the same."""
    with pytest.raises(ItemKeyError, match=problem):
        Bench(lambda task: task.map(str, range(3), key=key)).attempt()


def test_concurrency_must_be_positive():
    """Nobody to do the work is a mistake."""
    with pytest.raises(CheckpointError, match="concurrency=0"):
        Bench(lambda task: task.map(str, "ab", concurrency=0)).attempt()


def test_a_result_that_cannot_be_stored_names_its_item():
    """The error says which map and which key; what was finished before is kept."""
    bench = Bench(lambda task: task.map(lambda n: object() if n == 3 else n, range(5), name="m"))
    with pytest.raises(StepResultError, match=r"m\[3\]"):
        bench.attempt()
    assert len(bench.fields) == 3


def test_names_of_maps_are_names_of_steps():
    """A map is numbered like a step, and its name can be used once."""

    def body(task):
        task.map(str, "ab", name="m")
        task.map(str, "ab", name="m")

    with pytest.raises(NameInUseError, match="map name 'm'"):
        Bench(body).attempt()
    assert Bench(lambda t: [t.map(str, "a"), t.map(str, "b")]).attempt().value == [["a"], ["b"]]


def test_a_map_inside_an_item_ends_with_it():
    """Results of one item's map are never another's, wherever the job dies."""
    calls = []

    def body(task):
        got = []
        for outer in task.iterate("ab", every=1):
            got.append(task.map(lambda n, outer=outer: (calls.append(0), outer + n)[1], "xyz"))
        return got

    for write in range(1, 12):
        calls.clear()
        bench = Bench(body, every=0)
        bench.die(write)
        if not bench.job.status.is_terminal:
            got = bench.attempt().value
            assert got == [["ax", "ay", "az"], ["bx", "by", "bz"]][2 - len(got) :]
        assert len(calls) == 6
        assert bench.fields.keys() == {"eloop"}


def test_results_of_items_that_are_gone_end_with_their_item():
    """A map that shrinks between attempts leaves nothing behind for the next outer item."""
    items = list("xyz")

    def body(task):
        got = []
        for outer in task.iterate("ab", every=1):
            got.append(task.map(lambda n, outer=outer: outer + n, list(items)))
            if task.fence == 1:
                raise Killed
            items[:] = list("xyz")
            if outer == "b" and task.fence == 2:
                raise Killed
        return got

    bench = Bench(body, every=0)
    for _ in range(2):
        with pytest.raises(Killed):
            bench.attempt()
        bench.lapse()
        items[:] = "x"
    items[:] = "xyz"
    assert bench.attempt().value == [["bx", "by", "bz"]]


def test_threads_of_a_map_have_no_attempt():
    """The function works on its own: the task's checkpoint belongs to the body's thread."""
    bench = Bench(lambda task: task.map(lambda n: task.fence, range(3), concurrency=2))
    with pytest.raises(CheckpointError, match="no attempt is running here"):
        bench.attempt()
