"""The checkpointed loops: what is done stays done, what is not is done again, nothing else."""

from datetime import timedelta

import pytest

from harness import Bench, Killed, retry
from milepost.errors import CheckpointError, EncodeError, ItemKeyError, NameInUseError
from milepost.model import JobStatus, Progress


class Recorder:
    """Remembers what bodies did, over all attempts."""

    def __init__(self):
        self.did = []

    def __call__(self, thing):
        self.did.append(thing)
        return thing

    @property
    def redone(self):
        return len(self.did) - len(set(map(repr, self.did)))


def fail_at(item, on, *, once=True):
    """Return a function that fails on one item, the first time or each time."""
    left = [1 if once else 10**9]

    def check(current):
        if current == on and left[0]:
            left[0] -= 1
            raise ValueError(f"cannot do {item} {on}")

    return check


def parked(bench):
    return bench.job.status is JobStatus.PAUSED and bench.job.reason.startswith("needs-migration")


# -- by position ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        lambda: list(range(10)),
        lambda: tuple(range(10)),
        lambda: range(10),
        lambda: iter(range(10)),
        lambda: (n for n in range(10)),
        lambda: dict.fromkeys(range(10)),
        lambda: dict.fromkeys(range(10)).keys(),
    ],
    ids=["list", "tuple", "range", "iterator", "generator", "dict", "keys"],
)
def test_a_position_loop_goes_on_after_what_is_done(source):
    """Any source of stable order resumes at the first item that was not recorded."""
    did = Recorder()

    def body(task):
        for item in task.iterate(source(), every=1):
            did(item)

    bench = Bench(body)
    assert bench.die(4)
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED
    assert did.did == list(range(10))


def test_an_item_is_done_when_the_next_is_asked_for():
    """The item whose body was running at the crash is done again, and only that one."""
    did = Recorder()

    def body(task):
        for item in task.iterate(range(10), every=1):
            did(item)
            if item == 6 and did.did.count(6) == 1:
                raise Killed

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.attempt()
    assert did.did == [0, 1, 2, 3, 4, 5, 6, 6, 7, 8, 9]


def test_a_source_that_got_shorter_parks_the_job():
    """A recorded position that the source no longer reaches is never taken for the end."""
    length = [10]

    def body(task):
        for _ in task.iterate(iter(range(length[0])), every=1):
            pass

    bench = Bench(body)
    bench.die(6)
    length[0] = 3
    before = bench.fields
    bench.attempt()
    assert parked(bench)
    assert "its source ends before" in bench.job.reason
    assert bench.fields == before
    length[0] = 10
    bench.resume()
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED


def test_a_range_that_got_shorter_parks_the_job():
    """The short way through a range keeps the same law."""
    length = [10]

    def body(task):
        for _ in task.iterate(range(length[0]), every=1):
            pass

    bench = Bench(body)
    bench.die(6)
    length[0] = 3
    bench.attempt()
    assert parked(bench)


def test_a_source_that_got_longer_is_done_to_its_new_end():
    """Items appended between attempts are done too."""
    did, items = Recorder(), list(range(5))

    def body(task):
        for item in task.iterate(items, every=1):
            did(item)

    bench = Bench(body)
    bench.die(3)
    items.extend(range(5, 8))
    bench.attempt()
    assert did.did == list(range(8))
    assert bench.job.progress == Progress(8, 8)


@pytest.mark.parametrize("source", [{1, 2}, frozenset({1, 2})])
def test_a_set_is_refused(source):
    """A set's order differs between processes: counting on it would skip items."""
    bench = Bench(lambda task: list(task.iterate(source, name="ids")))
    with pytest.raises(CheckpointError, match="'ids': a set has no stable order"):
        bench.attempt()
    assert bench.job.status is JobStatus.FAILED


@pytest.mark.parametrize(
    "arguments, problem",
    [
        ({"source": 7}, "int is not iterable"),
        ({"source": lambda after: []}, "a callable source needs cursor="),
        ({"source": [1], "cursor": int}, "must be a callable"),
        ({"source": [1], "cursor": int, "key": str}, "not both"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, problem):
    """A loop that could not be resumed does not start."""
    source = arguments.pop("source")
    bench = Bench(lambda task: list(task.iterate(source, **arguments)))
    with pytest.raises(CheckpointError, match=problem):
        bench.attempt()


def test_an_empty_source_is_over_at_once():
    """Nothing to do is done."""
    did = Recorder()

    def body(task):
        for item in task.iterate([]):
            did(item)
        return "over"

    bench = Bench(body)
    assert bench.attempt().value == "over"
    assert did.did == []


def test_a_finished_loop_is_not_entered_again():
    """A loop that ended leaves its count, and its source is not even read again."""
    did, reads = Recorder(), Recorder()

    def source():
        reads("first")
        yield from "ab"

    def body(task):
        for item in task.iterate(source(), name="first"):
            did(item)
        task.checkpoint()
        for item in task.iterate("cd", name="second"):
            did(item)
        return task.progress.done

    bench = Bench(body)
    bench.die(1)
    assert bench.attempt().value == 4
    assert did.did == ["a", "b", "c", "d"]
    assert reads.did == ["first"]


# -- by cursor -----------------------------------------------------------------------------


def table(rows, page=3, asked=None):
    def after(value):
        if asked is not None:
            asked.append(value)
        return [row for row in rows if value is None or row["id"] > value][:page]

    return after


def rows_of(count):
    return [{"id": 10 * n} for n in range(1, count + 1)]


def test_a_cursor_loop_asks_for_what_comes_after():
    """Pages follow each other by the cursor of the last item, until one is empty."""
    asked = []

    def body(task):
        return [row["id"] for row in task.iterate(table(rows_of(7), 3, asked), cursor=id_of)]

    assert Bench(body).attempt().value == [10, 20, 30, 40, 50, 60, 70]
    assert asked == [None, 30, 60, 70]


def id_of(row):
    return row["id"]


def test_a_cursor_loop_resumes_inside_a_page():
    """Nothing that is done is read again; rows that vanished or arrived shift nothing."""
    did, asked, rows = Recorder(), [], rows_of(7)

    def body(task):
        for row in task.iterate(table(rows, 3, asked), cursor=id_of, every=1):
            did(row["id"])

    bench = Bench(body)
    bench.die(4)
    assert did.did == [10, 20, 30, 40]
    rows[:] = [row for row in rows if row["id"] != 20]
    rows.insert(0, {"id": 5})
    asked.clear()
    bench.attempt()
    assert did.did == [10, 20, 30, 40, 50, 60, 70]
    assert asked[0] == 40


def test_a_source_that_returns_its_cursor_again_is_an_error():
    """A page that begins with the item it should come after would go round for ever."""

    def body(task):
        rows = rows_of(3)
        source = lambda after: [row for row in rows if after is None or row["id"] >= after]  # noqa: E731
        for _ in task.iterate(source, cursor=id_of, name="rows"):
            pass

    with pytest.raises(CheckpointError, match=r"'rows': source\(after=30\) returned that item"):
        Bench(body).attempt()


def test_a_cursor_that_is_none_is_an_error():
    """None means the beginning: as an item's cursor it would start the loop over."""
    rows = [{"id": 1}, {"id": None}]

    def body(task):
        for _ in task.iterate(lambda after: [] if after else rows, cursor=id_of, name="rows"):
            pass

    with pytest.raises(CheckpointError, match=r"'rows': .*None"):
        Bench(body).attempt()


def test_a_cursor_that_cannot_be_stored_is_an_error_of_the_task():
    """The loop stops; what was saved before stays as it was."""

    def body(task):
        rows = [{"id": object()}]
        for _ in task.iterate(lambda after: [] if after else rows, cursor=id_of, every=1):
            pass

    bench = Bench(body)
    with pytest.raises(EncodeError):
        bench.attempt()
    assert bench.job.status is JobStatus.FAILED


# -- by key --------------------------------------------------------------------------------


def test_a_key_loop_does_not_care_for_order():
    """Done is what its key says, wherever the item stands in the next attempt."""
    did, items = Recorder(), list("abcdef")

    def body(task):
        for item in task.iterate(items, key=str, every=1):
            did(item)

    bench = Bench(body)
    bench.die(3)
    items[:] = list("fxedcba")
    bench.attempt()
    assert did.did == list("abcfxed")


def test_a_key_loop_takes_a_set():
    """With keys, a source needs no order."""
    did = Recorder()

    def body(task):
        for item in task.iterate({"a", "b", "c"}, key=str):
            did(item)

    Bench(body).attempt()
    assert sorted(did.did) == ["a", "b", "c"]


@pytest.mark.parametrize("resumed", [False, True])
def test_a_key_that_occurs_twice_names_its_item(resumed):
    """Two items of one key would hide each other; the error says which and where."""

    def body(task):
        for item in task.iterate(["a", "b", "c", "b"], key=str, name="letters", every=1):
            if resumed and item == "c" and task.fence == 1:
                raise Killed

    bench = Bench(body)
    if resumed:
        with pytest.raises(Killed):
            bench.attempt()
        bench.lapse()
    with pytest.raises(ItemKeyError, match=r"'letters', item 3 \('b'\): its key is not unique"):
        bench.attempt()


def test_a_key_must_be_a_string():
    """1 and "1" and 1.0 must never be mistaken for one another."""
    bench = Bench(lambda task: list(task.iterate([1], key=int, name="numbers")))
    with pytest.raises(ItemKeyError, match=r"'numbers', item 0 \(1\): its key is int, not str"):
        bench.attempt()


def test_an_item_in_an_error_is_shortened():
    """A large item does not flood the error."""
    bench = Bench(lambda task: list(task.iterate(["x" * 500], key=len)))
    with pytest.raises(ItemKeyError) as caught:
        bench.attempt()
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize("kill_at", [1, 63, 64, 65, 66, 127, 128, 129, 150, 199])
def test_chunks_of_keys_are_merged(kill_at):
    """However often a loop saves, few chunks are stored, and a crash around a merge loses none."""
    did = Recorder()

    def body(task):
        for item in task.iterate(map(str, range(200)), key=str, every=1):
            did(item)

    bench = Bench(body)
    assert bench.die(kill_at)
    chunks = [name for name in bench.fields if name.startswith("d")]
    assert len(chunks) <= 70
    bench.attempt()
    assert did.did == list(map(str, range(200)))
    assert bench.fields.keys() == {"eloop"}


def test_a_merge_writes_one_chunk_for_many():
    """The merged chunk is in the store, and the small ones it replaces are not."""

    def body(task):
        for item in task.iterate(map(str, range(200)), key=str, every=1):
            if item == "190":
                raise Killed

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    assert len(bench.fields) <= 2 + 190 - 128


def test_a_finished_key_loop_leaves_its_count():
    """Ten thousand keys shrink to one number at the end of the loop."""

    def body(task):
        for _ in task.iterate([str(n) for n in range(10_000)], key=str, every=100):
            pass

    bench = Bench(body)
    bench.attempt()
    assert bench.fields.keys() == {"eloop"}
    assert bench.size < 100


def test_memos_of_a_key_loop_belong_to_their_item():
    """What an interrupted item memoised is not given to another that comes first next time."""
    did, items = Recorder(), list("abc")

    def body(task):
        results = {}
        for item in task.iterate(items, key=str, every=1):
            results[item] = task.step(str.upper, item)
            if item == "b" and task.fence == 1:
                raise Killed
            did((item, results[item]))

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    items.reverse()
    bench.attempt()
    assert did.did == [("a", "A"), ("c", "C"), ("b", "B")]
    assert bench.fields.keys() == {"eloop"}


@pytest.mark.parametrize("key", ["a/b", "a:b", "100%", "%2F", "", "ü", "a\nb"])
def test_any_string_can_be_a_key(key):
    """Keys may hold what separates the parts of a field's name."""

    def body(task):
        calls = []
        for _ in task.iterate([key], key=str):
            for _ in task.iterate("xy", every=1):
                calls.append(task.step(len, "abc"))
        return calls

    for write in range(1, 8):
        bench = Bench(body)
        bench.die(write)
        if not bench.job.status.is_terminal:
            assert set(bench.attempt().value) <= {3}
        assert bench.fields.keys() == {"eloop"}


# -- how often -----------------------------------------------------------------------------


@pytest.mark.parametrize("every, commits", [(1, 100), (10, 10), (33, 3), (100, 1), (101, 0)])
def test_every_so_many_items(every, commits):
    """A number of items is the distance between two saves, no more and no less."""

    def body(task):
        for _ in task.iterate(range(100), every=every):
            pass

    bench = Bench(body)
    bench.attempt()
    assert [verb for verb, _ in bench.store.log].count("commit") == commits


@pytest.mark.parametrize("every", [1, 7, 10])
def test_a_crash_redoes_at_most_that_many_items(every):
    """Whatever the write at which it dies, a job redoes at most *every* items."""
    for write in range(1, 60):
        did = Recorder()

        def body(task, did=did):
            for item in task.iterate(range(50), every=every):
                did(item)

        bench = Bench(body)
        for after in (False, True):
            bench.die(write, after=after)
            if bench.job.status.is_terminal:
                break
        if not bench.job.status.is_terminal:
            bench.attempt()
        assert sorted(set(did.did)) == list(range(50))
        assert did.redone <= 2 * every


def spaced(bench, count, seconds):
    for item in range(count):
        bench.clock.advance(seconds)
        yield item


def test_by_default_a_loop_saves_by_time():
    """Without every=, the task's checkpoint_every seconds pass between two saves."""
    bench = Bench(lambda task: list(task.iterate(spaced(bench, 100, 0.125))), every=1.0)
    bench.attempt()
    assert [verb for verb, _ in bench.store.log].count("commit") == 12


def test_every_timedelta():
    """A timedelta is the time between two saves of this loop, where it is the shorter one."""
    pace = timedelta(milliseconds=250)
    bench = Bench(lambda task: list(task.iterate(spaced(bench, 100, 0.125), every=pace)), every=1.0)
    bench.attempt()
    assert [verb for verb, _ in bench.store.log].count("commit") == 50


def test_every_timedelta_ends_with_its_loop():
    """The pace of one loop is not the pace of the next."""

    def body(task):
        list(task.iterate(spaced(bench, 10, 0.125), every=timedelta(milliseconds=250)))
        before = len(bench.store.log)
        list(task.iterate(spaced(bench, 100, 0.125)))
        return len(bench.store.log) - before

    bench = Bench(body, every=1.0)
    assert bench.attempt().value in (12, 13)  # the first save may be early


def test_signals_are_seen_in_time_whatever_the_pace():
    """A loop that saves every million items still looks once per checkpoint_every seconds."""
    bench = Bench(
        lambda task: list(task.iterate(spaced(bench, 100, 0.125), every=10**6)), every=1.0
    )
    bench.attempt()
    assert [verb for verb, _ in bench.store.log].count("commit") == 12


@pytest.mark.parametrize("every", [0, -1, 0.5, True, "1", timedelta(0), timedelta(-1)])
def test_an_impossible_pace_is_refused(every):
    """every= is a positive number of items or a positive time."""
    bench = Bench(lambda task: list(task.iterate([1], every=every)))
    with pytest.raises(CheckpointError, match="every="):
        bench.attempt()


# -- several -------------------------------------------------------------------------------


def test_several_loops_keep_their_own_positions():
    """Loops of one task resume each at its own place."""
    did = Recorder()

    def body(task):
        for item in task.iterate(range(3), every=1):
            did(("unnamed", item))
        for item in task.iterate(range(3), every=1):
            did(("unnamed again", item))
        for item in task.iterate(table(rows_of(3)), cursor=id_of, name="rows", every=1):
            did(("rows", item["id"]))
        for item in task.iterate("abc", key=str, name="keys", every=1):
            did(("keys", item))

    for write in range(1, 20):
        did.did.clear()
        bench = Bench(body)
        bench.die(write)
        if not bench.job.status.is_terminal:
            bench.attempt()
        assert did.redone == 0
        assert len(did.did) == 12


def test_a_name_can_be_used_once():
    """A second loop of the same name would read the first one's position."""

    def body(task):
        list(task.iterate("ab", name="x"))
        list(task.iterate("ab", name="x"))

    with pytest.raises(NameInUseError, match="loop name 'x' is already in use"):
        Bench(body).attempt()


def nested(did, every=1):
    def body(task):
        for outer in task.iterate("abc", name="outer", every=every):
            for inner in task.iterate(range(4), name="inner", every=every):
                did((outer, inner))

    return body


@pytest.mark.parametrize("after", [False, True])
def test_nested_loops_resume_inside(after):
    """The inner position belongs to the outer item: it resumes within, and starts anew after."""
    want = [(outer, inner) for outer in "abc" for inner in range(4)]
    for write in range(1, 20):
        did = Recorder()
        bench = Bench(nested(did))
        bench.die(write, after=after)
        if not bench.job.status.is_terminal:
            bench.attempt()
        assert list(dict.fromkeys(did.did)) == want
        assert did.redone <= (not after)
        assert bench.fields.keys() == {"eouter"}


def test_nested_loops_survive_two_deaths():
    """A second crash after a resume finds the inner position of the item it died in."""
    want = [(outer, inner) for outer in "abc" for inner in range(4)]
    for first in range(1, 16):
        for second in range(1, 16):
            did = Recorder()
            bench = Bench(nested(did))
            bench.die(first)
            if not bench.job.status.is_terminal:
                bench.die(second)
            if not bench.job.status.is_terminal:
                bench.attempt()
            assert did.did == want, (first, second)


def test_an_inner_loop_that_was_broken_out_of_is_forgotten_with_its_item():
    """Position and memos of a broken inner loop do not reach the next outer item."""
    did = Recorder()

    def body(task):
        for outer in task.iterate("abcd", name="outer", every=1):
            for inner in task.iterate(range(4), name="inner", every=1):
                did((outer, inner, task.step(str, outer, name="who")))
                if inner == 1:
                    break

    want = [(outer, inner, outer) for outer in "abcd" for inner in range(2)]
    for write in range(1, 40):
        did.did.clear()
        bench = Bench(body)
        bench.die(write)
        if not bench.job.status.is_terminal:
            bench.attempt()
        assert list(dict.fromkeys(did.did)) == want, write
        assert did.redone <= 1


def test_three_loops_deep():
    """The law holds at any depth."""

    def make(did):
        def body(task):
            for a in task.iterate("ab", name="a", every=1):
                for b in task.iterate("xy", name="b", every=1):
                    for c in task.iterate(range(2), name="c", every=1):
                        did(a + b + str(c))

        return body

    want = [a + b + str(c) for a in "ab" for b in "xy" for c in range(2)]
    for first in range(1, 18):
        for second in (1, 2, 3, 5, 8):
            did = Recorder()
            bench = Bench(make(did))
            bench.die(first)
            if not bench.job.status.is_terminal:
                bench.die(second)
            if not bench.job.status.is_terminal:
                bench.attempt()
            assert did.did == want, (first, second)


def test_interleaved_loops_are_refused():
    """A loop that goes on while one started in its item is open would lose the inner's place."""

    def body(task):
        outer = task.iterate("ab", name="outer")
        next(outer)
        inner = task.iterate("xy", name="inner")
        next(inner)
        next(outer)

    with pytest.raises(CheckpointError, match=r"'outer' went on .* while 'outer/inner'"):
        Bench(body).attempt()


def test_breaking_out_keeps_what_was_done():
    """The item in which the body broke out is not done; the ones before it are."""
    did = Recorder()

    def body(task):
        for item in task.iterate(range(10)):
            did(item)
            if item == 4:
                break
        task.step(len, "abc")
        if task.fence == 1:
            raise Killed
        return task.progress

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    assert bench.attempt().value == Progress(4, 10)
    assert did.did == [0, 1, 2, 3, 4, 4]


def test_an_error_saves_exactly_what_was_done():
    """A failing item leaves the ones before it done, at any pace, and is tried again itself."""
    did, check = Recorder(), fail_at("item", 5)

    def body(task):
        for item in task.iterate(range(10), every=1000):
            check(item)
            did(item)

    bench = Bench(body, judge=retry)
    with pytest.raises(ValueError, match="cannot do item 5"):
        bench.attempt()
    assert bench.job.status is JobStatus.SCHEDULED
    assert bench.job.progress == Progress(5, 10)
    bench.attempt()
    assert did.did == list(range(10))


def test_an_error_that_is_caught_outside_leaves_the_loop():
    """try/except around a loop ends it where it stood; names after it are the task's again."""

    def body(task):
        try:
            for item in task.iterate(range(10), name="x"):
                if item == 3:
                    raise ValueError
        except ValueError:
            pass
        return task.step(len, "ab", name="after")

    bench = Bench(body)
    assert bench.attempt().value == 2
    assert set(bench.fields) == {"cx", "safter"}


def test_an_error_of_the_source_saves_what_was_done():
    """The items before a failing source are done."""
    failing = [True]

    def source():
        yield from range(3)
        if failing[0]:
            raise OSError("gone")
        yield from range(3, 6)

    did = Recorder()

    def body(task):
        for item in task.iterate(source()):
            did(item)

    bench = Bench(body, judge=retry)
    with pytest.raises(OSError):
        bench.attempt()
    failing[0] = False
    bench.attempt()
    assert did.did == list(range(6))
