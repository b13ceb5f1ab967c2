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


def test_a_loop_that_was_interrupted_in_its_first_item_fits():
    """A loop of which only a step of its first item is recorded is known by that."""

    def body(task):
        got = [task.step(str.upper, item, name="up") for item in task.iterate("ab", name="rows")]
        if task.fence == 1:
            raise Killed
        return got

    bench = Bench(body)
    assert bench.die(1)
    assert set(bench.fields) == {"srows/up"}
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


def test_people_see_a_checkpoint_in_order():
    """A store keeps fields in no order; numbers count as numbers."""
    codec = JsonCodec()
    fields = ("sload#10", "dkeys:10", "sload", "dkeys:9", "sload#2", "sa/b", "sload#" + "9" * 5000)
    seen = as_people_see_it(codec, {name: codec.encode([name]) for name in fields})
    assert list(seen["steps"]) == ["a/b", "load", "load#2", "load#10", "load#" + "9" * 5000]
    assert seen["loops"] == {"keys": {"keys": ["dkeys:9", "dkeys:10"]}}
