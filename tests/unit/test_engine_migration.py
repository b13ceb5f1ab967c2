"""Checkpoints across code changes: what fits goes on, what does not waits, nothing is lost."""

import pytest

from harness import Bench, Killed
from milepost.codecs.json import JsonCodec
from milepost.engine.migration import as_people_see_it
from milepost.model import JobStatus


def die_after(bench, body):
    """Run a body that ends in a kill, as the old code of the job."""
    bench.body = body
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()


def deploy(bench, body, **changes):
    """Put new code in place."""
    bench.body, bench.code = body, f"{bench.code}'"
    for name, value in changes.items():
        setattr(bench, name, value)


def assert_parked(bench, *words):
    assert bench.job.status is JobStatus.PAUSED
    assert bench.job.reason.startswith("needs-migration")
    for word in words:
        assert word in bench.job.reason


def old(task):
    task.step(lambda: 7, name="load")
    task.step(lambda: 8, name="second")
    raise Killed


@pytest.fixture
def bench():
    bench = Bench(old)
    die_after(bench, old)
    return bench


def never():
    pytest.fail("ran a step that is on record under another name")


def test_code_that_still_fits_goes_on(bench):
    """A change that leaves names alone needs nothing."""
    deploy(bench, lambda task: [task.step(never, name=n) for n in ("load", "second")])
    assert bench.attempt().value == [7, 8]


def test_a_renamed_step_parks_the_job(bench):
    """It is not run a second time under its new name."""
    before = bench.inner.load("job")
    deploy(bench, lambda task: task.step(never, name="fetch"))
    bench.attempt()
    assert_parked(bench, "'load'", "'fetch'")
    assert bench.inner.load("job") == before


def test_a_parked_job_stays_parked(bench):
    """A resume without a migration finds the same misfit: parking is no way around it."""
    deploy(bench, lambda task: task.step(never, name="fetch"))
    for _ in range(3):
        bench.attempt()
        assert_parked(bench, "'load'", "'fetch'")
        bench.resume()


def test_a_vanished_step_parks_the_job(bench):
    """A body that ends without asking for recorded work has lost it."""
    deploy(bench, lambda task: task.step(never, name="load"))
    for _ in range(2):
        bench.attempt()
        assert_parked(bench, "step 'second' is recorded, but no longer in the code")
        bench.resume()


def test_work_of_new_code_does_not_hide_a_misfit(bench):
    """Checkpoints that the new code makes before the misfit do not make it fit."""

    def body(task):
        task.step(never, name="load")
        for _ in task.iterate([1, 2, 3], name="second", every=1):
            pass

    deploy(bench, body)
    for _ in range(2):
        bench.attempt()
        assert_parked(bench, "'second'")
        bench.resume()


def test_a_step_added_at_the_end_is_fine(bench):
    """Once everything recorded was asked for, new steps just run."""
    deploy(
        bench,
        lambda task: [
            task.step(never, name="load"),
            task.step(never, name="second"),
            task.step(lambda: 9, name="third"),
        ],
    )
    assert bench.attempt().value == [7, 8, 9]


def test_old_code_can_come_back(bench):
    """After a rollback the job goes on where it was."""
    deploy(bench, lambda task: task.step(never, name="fetch"))
    bench.attempt()
    bench.resume()
    bench.code = "code-1"
    bench.body = lambda task: [task.step(never, name=n) for n in ("load", "second")]
    assert bench.attempt().value == [7, 8]


@pytest.mark.parametrize("says_kind", [False, True])
def test_a_loop_that_was_interrupted_in_its_first_item_fits(says_kind):
    """A loop of which only a step of its first item is recorded is known by that."""

    def body(task):
        got = [task.step(str.upper, item, name="up") for item in task.iterate("ab", name="rows")]
        if task.fence == 1:
            raise Killed
        return got

    bench = Bench(body)
    assert bench.die(1)
    assert set(bench.fields) == {"srows/up", "crows"}
    if not says_kind:  # as it was recorded before loops said their kind with the first step
        del bench.inner._fields["job"]["crows"]
    deploy(
        bench,
        lambda task: [task.step(str.upper, i, name="up") for i in task.iterate("ab", name="rows")],
    )
    assert bench.attempt().value == ["A", "B"]


def test_a_renamed_loop_parks_the_job():
    """It does not start from the beginning under its new name."""

    def body(task):
        for item in task.iterate("abc", name="rows", every=1):
            if item == "b":
                raise Killed

    bench = Bench(body)
    die_after(bench, body)
    deploy(bench, lambda task: [never() for _ in task.iterate("abc", name="lines")])
    bench.attempt()
    assert_parked(bench, "loop 'rows'", "loop 'lines'")
    assert bench.job.progress.done == 1


def test_a_renamed_step_in_an_item_parks_the_job():
    """Inside an interrupted item the same law holds."""

    def body(task):
        for _ in task.iterate("abc", name="rows", every=1):
            task.step(len, "abc", name="old")
            raise Killed

    bench = Bench(body)
    die_after(bench, body)
    deploy(
        bench, lambda task: [task.step(never, name="new") for _ in task.iterate("abc", name="rows")]
    )
    bench.attempt()
    assert_parked(bench, "'rows/old'", "'rows/new'")


def test_a_renamed_map_parks_the_job():
    """Paid results are not computed again under a new name."""

    def body(task):
        task.map(str, "abc", name="old")
        task.checkpoint()
        raise Killed

    bench = Bench(body)
    die_after(bench, body)
    deploy(bench, lambda task: task.map(lambda n: never(), "abc", name="new"))
    bench.attempt()
    assert_parked(bench, "map 'old'", "map 'new'")


def test_a_value_that_cannot_be_read_parks_the_job(bench):
    """A stored value of a class that is gone is a migration to make."""
    bench.runtime.codec.decode = unreadable
    bench.attempt()
    assert_parked(bench, "cannot be read")


def unreadable(data):
    from milepost.errors import DecodeError

    raise DecodeError("no such class")


# -- versions --------------------------------------------------------------------------------


def rename(data, version):
    assert version == 1
    steps = data["steps"]
    return {**data, "steps": {"fetch": steps["load"], "second": steps["second"] + 1}}


def test_migrate_checkpoint_renames_a_step(bench):
    """What the migration returns is what the new code finds."""
    deploy(
        bench,
        lambda task: [task.step(never, name="fetch"), task.step(never, name="second")],
        version=2,
        migrate=rename,
    )
    assert bench.attempt().value == [7, 9]
    assert set(bench.fields) == {"sfetch", "ssecond"}


def test_a_migration_happens_once():
    """A crash after the migrated checkpoint is saved does not migrate it again."""
    versions = []

    def migrate(data, version):
        versions.append(version)
        return rename(data, version)

    def body(task):
        got = [task.step(never, name="fetch"), task.step(never, name="second")]
        task.step(len, "abc", name="third")
        if len(versions) == 1 and task.fence == 2:
            raise Killed
        return got

    bench = Bench(old)
    die_after(bench, old)
    deploy(bench, body, version=2, migrate=migrate)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    assert bench.attempt().value == [7, 9]
    assert versions == [1]


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_during_a_migration_loses_nothing(after):
    """The migrated checkpoint replaces the old one in a single write."""

    def body(task):
        got = [task.step(never, name="fetch"), task.step(never, name="second")]
        task.checkpoint()
        return got

    for write in (1, 2):
        bench = Bench(old)
        die_after(bench, old)
        deploy(bench, body, version=2, migrate=rename)
        bench.die(write, after=after)
        if not bench.job.status.is_terminal:
            assert bench.attempt().value == [7, 9]


@pytest.mark.parametrize("version, migrate", [(2, None), (0, rename)])
def test_a_version_the_code_does_not_know_parks_the_job(bench, version, migrate):
    """Newer than the code, or older without a migration: it waits, and keeps waiting."""
    before = bench.inner.load("job")
    deploy(bench, lambda task: never(), version=version, migrate=migrate)
    for _ in range(2):
        bench.attempt()
        assert_parked(bench, "version 1", f"knows {version}")
        assert bench.inner.load("job") == before
        bench.resume()


@pytest.mark.parametrize(
    "migrate",
    [
        lambda data, version: data["steps"]["nothing"],
        lambda data, version: None,
        lambda data, version: data.missing,
        lambda data, version: {"steps": {"load": object()}},
        lambda data, version: {"steps": 7},
        lambda data, version: 1 / 0,
        lambda data, version: (_ for _ in ()).throw(OSError("no such file")),
    ],
)
def test_a_migration_that_fails_parks_the_job(bench, migrate):
    """Whatever goes wrong in a migration, the checkpoint stays as it was."""
    before = bench.inner.load("job")
    deploy(bench, lambda task: never(), version=2, migrate=migrate)
    for _ in range(2):
        bench.attempt()
        assert_parked(bench, "migrate_checkpoint() from version 1 failed")
        assert bench.inner.load("job") == before
        bench.resume()


def everything(task):
    """Record something of every kind."""
    task.step(lambda: {"a": 1}, name="s")
    list(task.iterate("ab", name="finished"))
    list(task.iterate("ab", key=str, name="finished too"))
    task.map(str.upper, "xy", key=str, name="m")
    task.state["n"] = 1
    task.save_checkpoint("job", [1, 2])
    for row in task.iterate(
        lambda after: [r for r in (1, 2, 3) if not after or r > after],
        cursor=int,
        name="cursor",
        every=1,
    ):
        if row == 2:
            break
    for item in task.iterate("abc", key=str, name="keys", every=1):
        if item == "b":
            break
    for item in task.iterate("abc", name="position", every=1):
        if item == "c":
            task.step(len, "abc", name="in item")
            raise Killed


def test_a_migration_sees_everything_in_words():
    """The dictionary that migrate_checkpoint gets is documented, and holds all there is."""
    seen = []

    def migrate(data, version):
        seen.append(data)
        return data

    bench = Bench(everything)
    die_after(bench, everything)

    def body(task):
        try:
            everything(task)
        except Killed:
            return [task.state, task.load_checkpoint("job"), task.progress.done]

    deploy(bench, body, version=2, migrate=migrate)
    assert bench.attempt().value == [{"n": 1}, [1, 2], 2 + 2 + 2 + 1 + 1 + 2]
    assert seen == [
        {
            "steps": {"s": {"a": 1}, "position/in item": 3},
            "loops": {
                "finished": {"finished": 2},
                "finished too": {"finished": 2},
                "cursor": [1, 1],
                "keys": {"keys": ["a"]},
                "position": 2,
            },
            "maps": {"m": {"x": "X", "y": "Y"}},
            "state": {"n": 1},
            "data": [1, 2],
        }
    ]


# -- loops of another kind -------------------------------------------------------------------


def after(last):
    return [n for n in range(6) if last is None or n > last][:2]


async def double(n):
    return 2 * n


KINDS = {
    "by position": lambda task: task.iterate(range(6), name="rows", every=1),
    "by cursor": lambda task: task.iterate(after, cursor=int, name="rows", every=1),
    "by key": lambda task: task.iterate(range(6), key=str, name="rows", every=1),
    "as a map": lambda task: task.map(lambda n: 2 * n, range(6), key=str, name="rows"),
}


def begun(kind):
    """Return a bench whose job died in the middle of a loop or map of a kind."""

    def body(task):
        if kind == "as a map":
            task.map(mortal, range(6), key=str, name="rows")
        for item in KINDS[kind](task):
            mortal(item)

    def mortal(item):
        if item == 3:
            bench.last.journal.flush()
            raise Killed
        return 2 * item

    bench = Bench(body)
    die_after(bench, body)
    return bench


def touching(kind, touched):
    def body(task):
        if kind == "as a map":
            task.map(touched.append, range(6), key=str, name="rows")
        else:
            touched.extend(KINDS[kind](task))

    return body


PAIRS = [(a, b) for a in KINDS for b in KINDS if a != b]


@pytest.mark.parametrize("changed", [False, True], ids=["same code mark", "other code mark"])
@pytest.mark.parametrize("was, now", PAIRS, ids=" to ".join)
def test_a_loop_of_another_kind_parks_the_job(was, now, changed):
    """Before any item is run, whatever the fingerprint has noticed of the change."""
    bench, touched = begun(was), []
    before = bench.inner.load("job")
    bench.body = touching(now, touched)
    bench.code += "'" * changed
    for _ in range(2):
        bench.attempt()
        what = "map" if was == "as a map" else "loop"
        assert_parked(bench, f"{what} 'rows' was recorded {was}, the code now reads it {now}: ")
        assert_parked(bench, "migrate_checkpoint()", "restart")
        assert touched == []
        assert bench.inner.load("job") == before
        bench.resume()


@pytest.mark.parametrize("kind", KINDS)
def test_a_loop_of_the_same_kind_goes_on(kind):
    bench, touched = begun(kind), []
    deploy(bench, touching(kind, touched))
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED
    assert touched == [3, 4, 5]


@pytest.mark.parametrize("was", ["by position", "by cursor", "by key"])
@pytest.mark.parametrize("now", ["by position", "by cursor", "by key"])
def test_a_loop_that_is_over_is_over_whatever_its_kind_was(was, now):
    def body(task):
        assert len(list(KINDS[was](task))) == 6
        task.checkpoint()
        raise Killed

    bench, touched = Bench(body), []
    die_after(bench, body)
    deploy(bench, touching(now, touched))
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED
    assert touched == []


def test_a_map_is_not_made_of_a_loop_that_is_over():
    """Its results are not known."""

    def body(task):
        list(KINDS["by key"](task))
        task.checkpoint()
        raise Killed

    bench, touched = Bench(body), []
    die_after(bench, body)
    deploy(bench, touching("as a map", touched))
    bench.attempt()
    assert_parked(bench, "loop 'rows' was recorded to its end, the code now reads it as a map")
    assert touched == []


def test_a_map_may_become_async_and_back():
    """How it is computed is nothing that is recorded."""
    bench = begun("as a map")

    async def coroutine(task):
        return await task.map(double, range(6), key=str, name="rows", concurrency=2)

    deploy(bench, coroutine)
    bench.task.__class__.milepost_is_async = True
    assert bench.attempt().value == [0, 2, 4, 6, 8, 10]


LOOPS = [k for k in KINDS if k != "as a map"]


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("was, now", [(a, b) for a in LOOPS for b in LOOPS if a != b])
def test_a_loop_of_another_kind_is_known_by_its_first_item(was, now, deep):
    """What the item has recorded would be done again, or taken for another item's."""
    bench, did = None, []

    def work(task, item):
        if deep:
            for part in task.iterate("ab", name="parts"):
                task.step(did.append, (item, part), name="work")
                break
        else:
            task.step(did.append, item, name="work")

    def body(task):
        for item in KINDS[was](task):
            work(task, item)
            raise Killed

    def changed(task):
        for item in KINDS[now](task):
            work(task, item)

    bench = Bench(body)
    die_after(bench, body)
    bench.body = changed
    bench.attempt()
    assert_parked(bench, f"loop 'rows' was recorded {was}, the code now reads it {now}: ")
    assert len(did) == 1


def test_an_inner_loop_of_another_kind_parks_the_job():
    """In the interrupted item of an outer loop, too."""

    def body(task, source=None, **kind):
        for _day in task.iterate("xy", name="days"):
            for n in task.iterate(source or range(6), name="rows", every=1, **kind):
                if n == 3:
                    raise Killed

    bench = Bench(body)
    die_after(bench, body)
    bench.body = lambda task: body(task, after, cursor=lambda n: never())
    bench.attempt()
    assert_parked(bench, "loop 'days/rows' was recorded by position, the code now reads it by c")


def test_a_migration_brings_a_loop_of_another_kind_over():
    """From its position to the cursor that it stands for."""

    def migrate(data, version):
        done = data["loops"]["rows"]
        return {**data, "loops": {"rows": [done, done - 1]}}

    bench, touched = begun("by position"), []
    deploy(bench, touching("by cursor", touched), version=2, migrate=migrate)
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED
    assert touched == [3, 4, 5]


def test_to_have_begun_a_loop_is_not_to_have_got_anywhere():
    """What a soft time limit asks: an attempt that goes on for ever with nothing done must end."""

    moved = []

    def body(task):
        for _ in task.iterate(range(3), every=1):
            moved.append(bench.last.journal.has_moved)
            assert bench.last.journal.scope.prefix == "loop/"  # as a step looks it up
            task.checkpoint()
            moved.append(bench.last.journal.has_moved)
            task.step(len, "abc")
            moved.append(bench.last.journal.has_moved)
            raise Killed

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    assert moved == [False, False, True]


def test_people_see_a_checkpoint_in_order():
    """A store keeps fields in no order; numbers count as numbers."""
    codec = JsonCodec()
    fields = ("sload#10", "dkeys:10", "sload", "dkeys:9", "sload#2", "sa/b", "sload#" + "9" * 5000)
    seen = as_people_see_it(codec, {name: codec.encode([name]) for name in fields})
    assert list(seen["steps"]) == ["a/b", "load", "load#2", "load#10", "load#" + "9" * 5000]
    assert seen["loops"] == {"keys": {"keys": ["dkeys:9", "dkeys:10"]}}
