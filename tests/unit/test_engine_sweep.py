"""A task that uses everything, killed at every write it makes, twice: nothing is lost."""

import pytest

from harness import Bench
from milepost.errors import StepResultError
from milepost.model import JobStatus

ORDERS = {"anna": range(3), "bo": range(2), "cy": range(4)}
WANT = [(who, n) for who, orders in ORDERS.items() for n in orders]


class World:
    """Everything outside the job: what its effects have made of it."""

    def __init__(self):
        self.shipped = []
        self.calls = []
        self.mailed = []
        self.scored = []

    def call(self, what):
        self.calls.append(what)
        return what

    def body(self, every):
        def body(task):
            rate = task.step(self.call, "rate")
            for who in task.iterate(list(ORDERS), name="customers", key=str, every=every):
                greeting = task.step(self.call, f"greet {who}", name="greet")
                for n in task.iterate(ORDERS[who], name="orders", every=every):
                    label = task.step(self.call, f"label {who} {n}", name="label")
                    assert label == f"label {who} {n}"
                    assert greeting == f"greet {who}"
                    self.shipped.append((who, n))
                    task.state["shipped"] = task.state.get("shipped", 0) + 1
                scores = task.map(
                    lambda n, who=who: (who, self.scored.append((who, n)) or n), [1, 2]
                )
                assert scores == [(who, 1), (who, 2)]
            task.save_checkpoint("job", "mailing")
            for who in task.iterate(sorted(ORDERS), name="mails", every=every):
                self.mailed.append(who)
                if who == "bo":
                    break
            assert rate == "rate"
            return task.state["shipped"], task.load_checkpoint("job"), task.step(self.call, "end")

        return body


def redone(things):
    return len(things) - len(set(map(repr, things)))


def check(world, bench, deaths, every):
    """Hold the world to the law: everything once, and what a death may cost on top."""
    assert bench.job.status is JobStatus.SUCCEEDED
    assert list(dict.fromkeys(world.shipped)) == WANT
    assert set(world.mailed) == {"anna", "bo"}
    assert set(world.scored) == {(who, n) for who in ORDERS for n in (1, 2)}
    assert len(set(world.calls)) == 2 + len(ORDERS) + len(WANT)
    # A step saves at once, and there is one in each order: a death costs one order at most,
    # one call of a step, and the map's results that were not saved yet.
    assert redone(world.shipped) <= deaths
    assert redone(world.calls) <= deaths
    assert redone(world.scored) <= 2 * deaths
    result = bench.runtime.codec.decode(bench.job.result)
    assert result == (len(WANT), "mailing", "end")
    assert set(bench.fields) <= {
        "srate",
        "u",
        "x",
        "ecustomers",
        "cmails",
        "send",
        "scall",
        "scall#2",
    }


@pytest.mark.parametrize("every", [1, 2, 1000, None])
@pytest.mark.parametrize("after", [False, True])
def test_one_death_anywhere(every, after):
    """Whatever write it dies at, the resumed job ends as if nothing was."""
    for write in range(1, 200):
        world = World()
        bench = Bench(world.body(every))
        reached = bench.die(write, after=after)
        if not bench.job.status.is_terminal:
            bench.attempt()
        check(world, bench, deaths=1, every=every)
        if not reached:
            break
    assert write > 12


@pytest.mark.parametrize("after", [False, True])
def test_two_deaths_anywhere(after):
    """The same for each pair of writes: a resume is itself resumable."""
    for first in range(1, 60):
        for second in range(1, 60, 7):
            world = World()
            bench = Bench(world.body(1))
            for write in (first, second):
                if not bench_has_ended(bench):
                    bench.die(write, after=after)
            if not bench.job.status.is_terminal:
                bench.attempt()
            check(world, bench, deaths=2, every=1)


def bench_has_ended(bench):
    return bench.last is not None and bench.job.status.is_terminal


def test_dying_again_and_again():
    """A worker that dies at every third write gets there all the same."""
    world = World()
    bench = Bench(world.body(1))
    deaths = 0
    while not bench_has_ended(bench):
        deaths += bench.die(3)
        assert deaths < 100
    check(world, bench, deaths, every=1)
    assert deaths > 5


def test_every_error_anywhere_is_retried_where_it_was():
    """The same for errors: each call fails once, and no retry repeats what is done."""
    failed = set()

    class Flaky(World):
        def call(self, what):
            if what not in failed:
                failed.add(what)
                raise StepResultError(what, "flaky")
            return super().call(what)

    from harness import retry

    world = Flaky()
    bench = Bench(world.body(1000), judge=retry)
    errors = 0
    while not bench_has_ended(bench):
        try:
            bench.attempt()
        except StepResultError:
            errors += 1
    check(world, bench, deaths=0, every=1000)
    assert errors == len(world.calls)
