"""What a task keeps by itself: its state, its explicit checkpoint, and naps."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field

from harness import Bench, Killed, crash_everywhere, retry
from milepost.errors import CheckpointError, EncodeError, ValueTooLargeError
from milepost.model import JobStatus, Signal
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock


class Tally(BaseModel):
    count: int = 0
    seen: list[str] = []
    at: datetime | None = None


class StrictTally(BaseModel):
    total: int


@pytest.mark.parametrize("every", [1, 3])
def test_state_is_saved_with_the_position(every):
    """State and position can never disagree: they travel in one write."""

    def body(task):
        for item in task.iterate(range(10), every=every):
            task.state["sum"] = task.state.get("sum", 0) + item
        return task.state["sum"]

    for write in range(1, 12):
        bench = Bench(body)
        bench.die(write)
        if not bench.job.status.is_terminal:
            assert bench.attempt().value == 45


def test_state_can_be_a_model():
    """With state_model, state is typed, and comes back as the model."""

    def body(task):
        for item in task.iterate("abc", every=1):
            task.state.count += 1
            task.state.seen.append(item)
            task.state.at = datetime(2026, 1, 1, tzinfo=UTC)
        return task.state

    for write in range(1, 4):
        bench = Bench(body, state_model=Tally)
        bench.die(write)
        state = bench.attempt().value
        assert state == Tally(count=3, seen=list("abc"), at=datetime(2026, 1, 1, tzinfo=UTC))


def test_state_is_written_only_when_it_changed():
    """A state that stays the same costs nothing on the way."""

    def body(task):
        task.state["phase"] = 1
        for item in task.iterate(range(100), every=1):
            if item == 50:
                task.state["phase"] = 2

    bench = Bench(body)
    bench.attempt()
    deltas = [detail for verb, detail in bench.store.log if verb == "commit"]
    assert sum("u" in delta.writes for delta in deltas) == 2


def test_untouched_state_is_not_written():
    """Looking at an empty state stores nothing."""
    bench = Bench(lambda task: task.state.get("x"))
    bench.attempt()
    assert bench.fields == {}


def test_a_stored_state_that_does_not_fit_parks_the_job():
    """A model that no longer accepts what is stored is a migration to make, not an error."""

    def body(task):
        task.state  # noqa: B018
        task.checkpoint()
        if task.fence == 1:
            raise Killed

    bench = Bench(body, state_model=Tally)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    before = bench.fields
    bench.task.__class__.state_model = StrictTally
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED
    assert "needs-migration: the stored state does not fit StrictTally" in bench.job.reason
    assert bench.fields == before


def test_a_model_without_defaults_is_an_error_of_the_task():
    """A state that cannot begin is no migration."""
    bench = Bench(lambda task: task.state, state_model=StrictTally)
    with pytest.raises(ValueError, match="total"):
        bench.attempt()
    assert bench.job.status is JobStatus.FAILED


def test_a_state_that_cannot_be_stored_fails_the_job():
    """The error names the place in the state, even where the body just returns."""

    def body(task):
        task.state["lock"] = object()

    bench = Bench(body)
    with pytest.raises(EncodeError, match=r"\$\.lock"):
        bench.attempt()
    assert bench.job.status is JobStatus.FAILED


def test_an_error_before_an_unstorable_state_is_the_one_that_is_told():
    """The last save must not hide why the body failed."""

    def body(task):
        task.state["lock"] = object()
        raise KeyError("the real one")

    bench = Bench(body)
    with pytest.raises(KeyError, match="the real one"):
        bench.attempt()
    assert "the real one" in bench.job.error


@pytest.mark.parametrize("how", ["return", "raise", "checkpoint"])
def test_a_state_that_is_too_large_still_settles_the_job(how):
    """Whatever the store refuses, the attempt ends on record, not by a lapsed lease."""
    clock = FakeClock()

    def body(task):
        task.state["x"] = "y" * 2000
        if how == "raise":
            raise KeyError("the real one")
        if how == "checkpoint":
            task.checkpoint()

    bench = Bench(body, clock=clock, inner=MemoryStore(clock, max_value_bytes=1000))
    said = "the real one" if how == "raise" else r"self\.state is 2,0\d\d bytes, the limit is 1,000"
    with pytest.raises(KeyError if how == "raise" else ValueTooLargeError, match=said):
        bench.attempt()
    assert bench.job.status is JobStatus.FAILED


def test_a_result_that_is_too_large_is_not_kept():
    """The job has succeeded all the same."""
    clock = FakeClock()
    bench = Bench(
        lambda task: "x" * 2000, clock=clock, inner=MemoryStore(clock, max_value_bytes=1000)
    )
    assert bench.attempt().value == "x" * 2000
    assert bench.job.status is JobStatus.SUCCEEDED
    assert bench.job.result is None


# -- the explicit form -----------------------------------------------------------------------


def test_save_and_load_checkpoint():
    """The explicit form saves at once, loads what was saved last, and survives a crash."""
    seen = []

    def body(task):
        seen.append(task.load_checkpoint(task.job.id))
        task.save_checkpoint(task.job.id, {"page": 1})
        seen.append(task.load_checkpoint(task.job.id))
        task.save_checkpoint(task.job.id, {"page": 2})
        seen.append(task.load_checkpoint(task.job.id))
        if task.fence == 1:
            raise Killed

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.attempt()
    pages = [{"page": 1}, {"page": 2}]
    assert seen == [None, *pages, {"page": 2}, *pages]


def test_a_task_cannot_save_for_another_job():
    """Only the attempt that holds a job's lease writes its checkpoint."""
    bench = Bench(lambda task: task.save_checkpoint("other", 1))
    with pytest.raises(CheckpointError, match="job 'job' cannot save for job 'other'"):
        bench.attempt()


def test_an_explicit_checkpoint_that_is_too_large_is_not_kept():
    """The error is the task's to handle; the checkpoint before it stays."""
    clock = FakeClock()

    def body(task):
        task.save_checkpoint("job", "small")
        with pytest.raises(ValueTooLargeError):
            task.save_checkpoint("job", "x" * 2000)
        task.checkpoint()
        return task.load_checkpoint("job")

    bench = Bench(body, clock=clock, inner=MemoryStore(clock, max_value_bytes=1000))
    assert bench.attempt().value == "small"


# -- naps --------------------------------------------------------------------------------------


def test_snooze_frees_the_slot_and_goes_on_later():
    """A nap is no failure: the job is scheduled, keeps all it has, and goes on."""
    polls = []

    def body(task):
        task.step(len, "abc")
        task.state["polls"] = task.state.get("polls", 0) + 1
        polls.append(bench.clock.now())
        if task.state["polls"] < 3:
            task.snooze(60)
        return task.state["polls"]

    bench = Bench(body)
    ending = bench.attempt()
    assert ending.status is bench.job.status is JobStatus.SCHEDULED
    assert bench.job.due_at == bench.clock.now() + 60
    assert bench.inner.due(10) == []
    bench.clock.advance(60)
    assert bench.inner.due(10) == ["job"]
    bench.attempt()
    bench.clock.advance(60)
    assert bench.attempt().value == 3
    assert bench.job.crashes == bench.job.strikes == 0


def test_snooze_with_an_unstorable_state_is_an_error():
    """Else the job would wake up without it, for ever."""

    def body(task):
        task.state["lock"] = object()
        task.snooze(1)

    bench = Bench(body)
    with pytest.raises(EncodeError):
        bench.attempt()
    assert bench.job.status is JobStatus.FAILED


def test_snooze_obeys_a_waiting_signal():
    """A job that is asked to end does not go to sleep first."""

    def body(task):
        bench.signal(Signal.CANCEL)
        task.snooze(60)

    bench = Bench(body)
    bench.attempt()
    assert bench.job.status is JobStatus.CANCELLED


def test_snooze_inside_a_loop_does_the_item_again():
    """The item that took the nap is not done; the ones before it are."""
    did = []

    def body(task):
        for item in task.iterate(range(4)):
            did.append(item)
            if item == 2 and did.count(2) == 1:
                task.snooze(5)

    bench = Bench(body, judge=retry)
    bench.attempt()
    bench.clock.advance(5)
    bench.attempt()
    assert did == [0, 1, 2, 2, 3]


# -- state and items ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["error", "kill", "step", "snooze"])
@pytest.mark.parametrize("nested", [False, True])
def test_what_an_unfinished_item_did_to_the_state_is_done_once(how, nested):
    """However an item is left before its end, its part in the state is counted once."""
    trouble = []

    def work(task, item):
        task.state["sum"] = task.state.get("sum", 0) + item
        if how == "step":
            task.step(len, "abc")
        if item == 3 and not trouble:
            trouble.append(item)
            if how == "snooze":
                task.snooze(1)
            raise Killed if how in ("kill", "step") else ValueError

    def body(task):
        for item in task.iterate(range(6), name="outer", every=1):
            for part in task.iterate([item], name="inner") if nested else [item]:
                work(task, part)
        return task.state["sum"]

    bench = Bench(body, judge=retry)
    with suppress(ValueError, Killed):
        bench.attempt()
    bench.lapse()
    # An explicit nap saves the state as it is: the item says itself that this is the place.
    assert bench.attempt().value == 15 + (3 if how == "snooze" else 0)


def test_breaking_out_keeps_what_the_item_did_to_the_state():
    """A body that goes on after a break has finished with that item as it wanted."""

    def body(task):
        for item in task.iterate(range(6), every=1):
            task.state["last"] = item
            if item == 3:
                break
        task.step(len, "abc")
        if task.fence == 1:
            raise Killed
        return task.state["last"]

    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    assert bench.runtime.codec.decode(bench.fields["u"]) == {"last": 3}
    assert bench.attempt().value == 3


class Renamed(BaseModel):
    """Fields that are called otherwise where they come from, and one that is computed."""

    model_config = ConfigDict(extra="forbid")
    inner: list[Tally] = Field(default=[], alias="Inner")
    total: int = Field(default=0, validation_alias="TOTAL", serialization_alias="sum")

    @computed_field
    def twice(self) -> int:
        return 2 * self.total


def test_a_model_comes_back_whatever_its_fields_are_called():
    """Aliases and computed fields are for the outside; the state goes round by field name."""

    def body(task):
        if task.state.total == 0:
            task.state.total = 3
            task.state.inner.append(Tally(count=1))
            task.snooze(0)
        return task.state

    bench = Bench(body, state_model=Renamed)
    bench.attempt()
    assert bench.attempt().value == Renamed.model_construct(inner=[Tally(count=1)], total=3)


# -- what is documented of each place ----------------------------------------------------------


def add(task, key):
    task.state[key] = task.state.get(key, 0) + 1


def outer_items(task, before=None, between=None, behind=None):
    for _ in task.iterate(range(2), name="outer", every=1):
        add_if(task, before)
        for _ in task.iterate(range(3), name="first", every=1):
            add(task, "inner")
        add_if(task, between)
        for _ in task.iterate(range(2), name="second", every=1):
            add(task, "inner")
        add_if(task, behind)
        task.step(len, "abc", name="more")
    return task.state


def add_if(task, key):
    if key is not None:
        add(task, key)


def totals_wherever_it_dies(body):
    """Return the states that a job may end with that was killed once."""
    benches = crash_everywhere(lambda: Bench(body), after=True)
    benches += crash_everywhere(lambda: Bench(body), after=False)
    return [bench.runtime.codec.decode(bench.fields["u"]) for bench in benches]


def test_inner_items_and_what_follows_them_count_once():
    totals = totals_wherever_it_dies(lambda task: outer_items(task, behind="outer"))
    assert all(total == {"inner": 10, "outer": 2} for total in totals)


@pytest.mark.parametrize("where", ["before", "between"])
def test_what_stands_before_an_inner_loop_may_count_again(where):
    """No loss, and no surprise: it is documented, with what to do."""
    totals = totals_wherever_it_dies(lambda task: outer_items(task, **{where: "outer"}))
    assert all(total["inner"] == 10 for total in totals)
    assert {total["outer"] for total in totals} == {2, 3}


def test_what_stands_outside_of_loops_may_count_again():
    def body(task):
        add(task, "body")
        for _ in task.iterate(range(3), every=1):
            add(task, "items")

    totals = totals_wherever_it_dies(body)
    assert all(total["items"] == 3 for total in totals)
    assert {total["body"] for total in totals} == {1, 2}


def test_an_item_that_is_broken_out_of_may_count_again():
    def body(task):
        for item in task.iterate(range(5), every=1):
            add(task, "items")
            if item == 2:
                break
        task.step(len, "abc", name="first")
        task.step(len, "abc", name="second")

    assert {total["items"] for total in totals_wherever_it_dies(body)} == {3, 4}


def test_what_a_step_does_to_the_state_may_be_lost():
    """It is recorded by what it returns."""

    def body(task):
        for _ in task.iterate(range(3), every=1):
            task.step(add, task, "steps", name="add")
            task.step(len, "abc", name="more")

    assert {total["steps"] for total in totals_wherever_it_dies(body)} == {2, 3}
