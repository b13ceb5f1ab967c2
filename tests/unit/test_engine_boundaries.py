"""State and position belong together: what is saved of one is saved of the other."""

import pytest

from harness import Bench, crash_everywhere, retry


def test_an_error_in_mid_item_saves_nothing_of_that_item():
    """The item runs again whole, so what it had done to the state must not be kept."""
    failures = [ValueError("once")]

    def body(task):
        for item in task.iterate(range(4), every=1):
            task.state["sum"] = task.state.get("sum", 0) + item
            if item == 2 and failures:
                raise failures.pop()
        return task.state["sum"]

    bench = Bench(body, judge=retry)
    with pytest.raises(ValueError, match="once"):
        bench.attempt()
    assert bench.attempt().value == 6


def test_a_step_in_mid_item_saves_nothing_of_that_item():
    """Killed after any write: the step is kept, the state goes with the whole item."""

    def make():
        def body(task):
            for item in task.iterate(range(4), every=2):
                task.state["sum"] = task.state.get("sum", 0) + item
                task.step(str, item, name="text")
                task.state["last"] = item
            return dict(task.state)

        return Bench(body)

    for after in (True, False):
        for bench in crash_everywhere(make, after=after):
            assert bench.job.result == b'J1{"sum":6,"last":3}'


def test_nested_loops_save_the_state_of_their_last_inner_item():
    """A step of the inner loop's item keeps the state as the inner item before left it."""

    def make():
        def body(task):
            for a in task.iterate(range(3), name="outer", every=1):
                for b in task.iterate(range(3), name="inner", every=1):
                    task.state["sum"] = task.state.get("sum", 0) + 10 * a + b
                    task.step(str, b, name="text")
            return task.state["sum"]

        return Bench(body)

    for bench in crash_everywhere(make, after=True):
        assert bench.job.result == b"J199"


def test_an_explicit_checkpoint_saves_the_state_as_it_is():
    """Who calls checkpoint() says that the state is right at that point."""

    def body(task):
        for _ in task.iterate(range(1)):
            for place in range(task.state.get("place", 0), 3):
                task.state["place"] = place + 1
                task.checkpoint()
        return task.state["place"]

    bench = Bench(body)
    assert bench.die(2)
    assert bench.fields["u"] == b'J1{"place":2}'
    assert bench.attempt().value == 3


def test_state_outside_of_loops_is_saved_as_it_is():
    def body(task):
        task.state["a"] = 1
        task.step(str, 1)
        task.state["b"] = 2
        task.step(int, "1")

    bench = Bench(body)
    assert bench.die(1)
    assert bench.fields["u"] == b'J1{"a":1}'


def test_untouched_state_is_not_saved():
    def body(task):
        for _ in task.iterate(range(3), every=1):
            assert task.state == {}

    bench = Bench(body)
    bench.attempt()
    assert "u" not in bench.fields
