"""One worker carrying one job: signals, fences, a store that stays away, limits, size."""

import asyncio
import itertools
from contextlib import suppress
from unittest.mock import ANY

import pytest

from harness import JOB, Bench, Killed, lost, retry, unavailable
from milepost.engine.endings import Unclaimed
from milepost.errors import CrashLimitError, StoreError, StoreUnavailableError
from milepost.events import (
    CheckpointSaved,
    DeliveryDropped,
    JobSettled,
    JobStarted,
    LeaseLost,
)
from milepost.model import Delivery, Delta, JobStatus, Progress, Signal

STATUS = {
    Signal.PAUSE: JobStatus.PAUSED,
    Signal.CANCEL: JobStatus.CANCELLED,
    Signal.DRAIN: JobStatus.INTERRUPTED,
}


# -- signals ---------------------------------------------------------------------------------


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("where", ["loop", "step", "checkpoint", "state"])
def test_a_signal_is_obeyed_at_the_next_checkpoint(signal, where):
    """The work up to there is saved, no line after it runs, and the status tells."""
    after = []

    def body(task):
        bench.signal(signal)
        if where == "loop":
            after.extend(task.iterate(range(5), every=1))
            after.append("too late")
        elif where == "step":
            task.step(len, "abc")
        elif where == "checkpoint":
            task.checkpoint()
        else:
            task.state["x"] = 1
            task.checkpoint()
        after.append("too late")

    bench = Bench(body)
    ending = bench.attempt()
    assert "too late" not in after
    assert ending.status is bench.job.status is STATUS[signal]
    if where == "loop":
        assert after == [0]
        assert bench.job.progress == Progress(1, 5)
    assert bench.fields or where == "checkpoint"


@pytest.mark.parametrize("signal", list(Signal))
def test_a_signal_cannot_be_caught_by_except_exception(signal):
    """A body that shrugs off every error still stops when asked to."""

    def body(task):
        for item in task.iterate(range(5), every=1):
            try:
                if item == 2:
                    bench.signal(signal)
                task.checkpoint()
            except Exception:
                pytest.fail("an interrupt is no error")

    bench = Bench(body)
    bench.attempt()
    assert bench.job.status is STATUS[signal]


def test_a_paused_job_waits_and_goes_on():
    """Paused, it takes no delivery; resumed, it goes on where it was."""
    did = []

    def body(task):
        for item in task.iterate(range(5), every=1):
            did.append(item)
            if item == 2 and task.fence == 1:
                bench.signal(Signal.PAUSE)

    bench = Bench(body)
    bench.attempt()
    assert bench.attempt().refused.why == "paused"
    bench.resume()
    bench.attempt()
    assert did == list(range(5))
    assert bench.job.status is JobStatus.SUCCEEDED


def test_a_cancelled_job_has_ended():
    """Nothing starts it again."""
    bench = Bench(lambda task: (bench.signal(Signal.CANCEL), task.checkpoint()))
    bench.attempt()
    assert bench.attempt().refused.why == "settled"


def test_a_drained_job_is_due_at_once_and_no_failure():
    """Stepping aside counts as an interruption, never as a crash or a retry."""
    bench = Bench(lambda task: (bench.signal(Signal.DRAIN), task.checkpoint()))
    bench.attempt()
    job = bench.job
    assert (job.interruptions, job.crashes, job.strikes, job.delivery) == (1, 0, 0, 0)
    assert bench.inner.due(10) == [JOB]


def test_a_process_that_ends_is_an_interruption():
    """SystemExit in the body is the worker's end, not the task's failure."""

    def body(task):
        for item in task.iterate(range(5)):
            if item == 3 and task.fence == 1:
                raise SystemExit(1)

    bench = Bench(body)
    with pytest.raises(SystemExit):
        bench.attempt()
    assert bench.job.status is JobStatus.INTERRUPTED
    assert bench.job.progress == Progress(3, 5)
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED


# -- one live attempt --------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["loop", "step", "end", "error", "pause"])
def test_a_superseded_attempt_writes_nothing(how):
    """A zombie that wakes up cannot change position, progress, result or status."""

    def body(task):
        for item in task.iterate(range(10), every=1):
            if item == 4:
                bench.take_over()
                stored.append((bench.job, bench.inner.load(JOB)))
                if how == "step":
                    task.step(len, "abc")
                if how in ("end", "pause"):
                    break
                if how == "error":
                    raise ValueError("of a zombie")
        if how == "pause":
            task.snooze(1)

    stored = []
    bench = Bench(body, judge=retry)
    assert bench.attempt().reason == "superseded"
    assert [(bench.job, bench.inner.load(JOB))] == stored
    assert bench.job.worker == "other:1"
    assert [event for event in bench.events if isinstance(event, LeaseLost)]
    assert not [event for event in bench.events if isinstance(event, JobSettled)]


def test_a_superseded_attempt_cannot_be_kept_going():
    """A body that swallows everything is refused every further write as well."""

    def body(task):
        bench.take_over()
        for _ in range(3):
            with suppress(BaseException):
                task.step(len, "abc")
        return "a zombie's result"

    bench = Bench(body)
    assert bench.attempt().reason == "superseded"
    assert bench.store.log == []
    assert bench.job.status is JobStatus.RUNNING


def test_a_lease_lost_in_the_middle_ends_the_attempt():
    """The first refused write stops the body."""
    did = []

    def body(task):
        for item in task.iterate(range(10), every=1):
            did.append(item)
            if item == 3:
                bench.store.refuse_next += lost()

    bench = Bench(body)
    assert bench.attempt().reason == "superseded"
    assert did == [0, 1, 2, 3]


def test_a_deleted_job_ends_its_attempt(caplog):
    """Without a record there is nothing to carry; the log says that it is gone, once."""
    bench = Bench(lambda task: (bench.inner.delete(JOB), task.checkpoint()))
    assert bench.attempt().reason == "superseded"
    [record] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "this attempt may no longer write" in record.message
    assert "its record is gone" in record.message


def test_the_fence_grows_with_every_attempt():
    """User code can hand it to systems of its own."""
    fences = []

    def body(task):
        fences.append(task.fence)
        task.snooze(0)

    bench = Bench(body)
    for _ in range(3):
        bench.attempt()
    assert fences == [1, 2, 3]


def test_a_second_delivery_is_dropped():
    """While a lease is live the same message does not run again."""
    inner = []

    def body(task):
        inner.append(bench.attempt())

    bench = Bench(body)
    bench.attempt()
    assert [ending.refused.why for ending in inner] == ["held"]
    assert DeliveryDropped(JOB, "task", "held") in bench.events
    assert bench.attempt().refused.why == "settled"


# -- a store that stays away -------------------------------------------------------------------


@pytest.mark.parametrize("where", ["loop", "step", "end"])
def test_a_store_that_is_away_for_a_while_costs_no_work(where):
    """The attempt outwaits a restart of its store, and goes on as if nothing was."""
    did = []

    def body(task):
        for item in task.iterate(range(10), every=1):
            did.append(item)
            if item == 5 and where != "end":
                bench.store.refuse_next += unavailable(8)
                if where == "step":
                    task.step(len, "abc")
        if where == "end":
            bench.store.refuse_next += unavailable(8)

    bench = Bench(body)
    before = bench.clock.now()
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED
    assert did == list(range(10))
    assert 1 < bench.clock.now() - before < 60


@pytest.mark.parametrize("where", ["loop", "end"])
def test_a_store_that_is_away_for_too_long_ends_the_attempt(where):
    """After a minute the attempt steps aside; the job goes on from its last checkpoint later."""
    did = []

    def body(task):
        for item in task.iterate(range(10), every=1):
            did.append(item)
            if item == 5 and task.fence == 1 and where == "loop":
                bench.store.refuse_next += unavailable(10_000)
        if where == "end" and task.fence == 1:
            bench.store.refuse_next += unavailable(10_000)

    bench = Bench(body)
    before = bench.clock.now()
    assert bench.attempt().reason == "superseded"
    assert 50 < bench.clock.now() - before <= 61
    assert bench.job.status is JobStatus.RUNNING
    bench.store.refuse_next.clear()
    bench.lapse()
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED
    assert set(did) == set(range(10))
    assert len(did) <= 11


def test_without_a_claim_nothing_runs():
    """A store that stays away before the start is the caller's to handle: fail closed."""
    ran = []
    bench = Bench(lambda task: ran.append(1))

    def claim(*args):
        raise StoreUnavailableError("memory://", "nobody home")

    bench.inner.claim = claim
    assert bench.attempt() == Unclaimed(ANY)
    assert ran == []


# -- crashes -----------------------------------------------------------------------------------


def test_max_crashes():
    """A job that kills its worker again and again without a checkpoint fails at last."""
    runs = []

    def body(task):
        runs.append(1)
        raise Killed

    bench = Bench(body, max_crashes=3)
    for _ in range(4):
        with pytest.raises(Killed):
            bench.attempt()
        bench.lapse()
    with pytest.raises(CrashLimitError, match=r"died 4 times .*max_crashes=3"):
        bench.attempt()
    assert len(runs) == 4
    assert bench.job.status is JobStatus.FAILED
    assert "CrashLimitError" in bench.job.error


def test_a_checkpoint_forgives_crashes():
    """Progress in between starts the count anew, however many deaths there were in all."""

    def body(task):
        for item in task.iterate(range(20), every=1):
            if item == task.fence - 1:
                raise Killed

    bench = Bench(body, max_crashes=1)
    for _ in range(20):
        try:
            bench.attempt()
        except Killed:
            bench.lapse()
    bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED
    assert bench.job.crashes == 20


def test_a_crash_limit_shows_the_progress_there_was():
    """A job that fails for its crashes does not claim to have done nothing."""

    def body(task):
        for item in task.iterate(range(10), every=1):
            if item == 4:
                raise Killed

    bench = Bench(body, max_crashes=1)
    for _ in range(2):
        with pytest.raises(Killed):
            bench.attempt()
        bench.lapse()
    with pytest.raises(CrashLimitError):
        bench.attempt()
    assert bench.job.progress == Progress(4, 10)


# -- progress ----------------------------------------------------------------------------------


def test_progress_adds_up_over_loops():
    """Outermost loops and maps count; nested ones are part of their item."""
    seen = []

    def body(task):
        for _ in task.iterate(range(3), every=1):
            for _ in task.iterate(range(100)):
                pass
            seen.append(task.progress)
        seen.append(task.progress)
        for _ in task.iterate(iter(range(2)), total=2, every=1):
            seen.append(task.progress)
        task.map(str, "ab")
        for _ in task.iterate(iter(range(2)), every=1):
            seen.append(task.progress)
        return task.progress

    bench = Bench(body)
    assert bench.attempt().value == Progress(9, 9)
    assert seen == [
        *(Progress(0, 3), Progress(1, 3), Progress(2, 3), Progress(3, 3)),
        *(Progress(3, 5), Progress(4, 5)),
        *(Progress(7, None), Progress(8, None)),
    ]
    assert bench.job.progress == Progress(9, 9)


def test_progress_never_falls_on_a_resume():
    """While an attempt makes its way back, the record shows what there was."""

    def body(task):
        task.step(len, f"attempt {task.fence}", name=f"step {task.fence}")
        seen.append(bench.job.progress)
        seen.append(task.progress)
        for item in task.iterate(range(10), every=1):
            if item == 6 and task.fence == 1:
                raise Killed

    seen = []
    bench = Bench(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.attempt()
    assert seen == [Progress(0), Progress(0), Progress(6, 10), Progress(6, 10)]
    assert bench.job.progress == Progress(10, 10)


def test_a_total_can_be_given():
    """total= wins over what the source says."""
    bench = Bench(lambda task: list(task.iterate([1, 2], total=50)))
    bench.attempt()
    assert bench.job.progress == Progress(2, 50)


def test_one_checkpoint_is_one_write():
    """Position, memos, state, progress and signal share a single round trip."""

    def body(task):
        task.state["x"] = 0
        for item in task.iterate(range(4), every=1):
            task.step(len, "abc")
            task.state["x"] += item

    bench = Bench(body)
    bench.attempt()
    assert [verb for verb, _ in bench.store.log] == ["commit"] * 8 + ["settle"]


def test_a_short_job_is_settled_in_one_write():
    """Without a checkpoint on the way there is none but the end."""
    bench = Bench(lambda task: 42)
    bench.attempt()
    assert [verb for verb, _ in bench.store.log] == ["settle"]
    assert bench.runtime.codec.decode(bench.job.result) == 42


# -- size --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["range", "cursor", "skipped"])
def test_ten_million_items_take_a_few_bytes(kind):
    """What a loop keeps does not grow with what it has done."""
    many = 10_000_000
    resumed = itertools.count()

    def body(task):
        if kind == "cursor":
            source = lambda after: range((after or 0) + 1, many + 1)[:1000]  # noqa: E731
            items = task.iterate(source, cursor=int, every=1000)
        elif kind == "range":
            items = task.iterate(range(many), every=1_000_000)
        else:
            items = task.iterate(range(many), every=1)
        for n, _ in enumerate(items):
            if kind == "cursor" and n == 30_000:
                raise Killed
        return next(resumed)

    bench = Bench(body)
    if kind == "cursor":
        with pytest.raises(Killed):
            bench.attempt()
    elif kind == "range":
        assert bench.die(9)
        assert bench.job.progress == Progress(9_000_000, many)
    else:
        dead = bench.inner.claim(Delivery(JOB, "task", message=b"-"), "dead:1", 3.0).lease
        bench.inner.commit(dead, Delta({"v": b"1:code-1", "cloop": b"J19999990"}))
        bench.lapse()
        bench.attempt()
        assert len(bench.store.log) == 11
    assert bench.size <= 200


# -- events ------------------------------------------------------------------------------------


def test_observers_are_told():
    """Start, checkpoint and end of an attempt are facts with the job's name on them."""
    bench = Bench(lambda task: list(task.iterate("ab", every=1)))
    bench.attempt()
    assert bench.events == [
        JobStarted(JOB, "task", 1, 1, resumed=False),
        CheckpointSaved(JOB, 1, 2, 1),
        CheckpointSaved(JOB, 1, 1, 2),
        JobSettled(JOB, "task", 1, JobStatus.SUCCEEDED, None),
    ]


def test_an_attempt_that_finds_nothing_is_not_resumed():
    """However many came before it: ``resumed`` says that there is something to go on from."""

    def body(task):
        if task.fence == 1:
            raise Killed
        task.step(len, "abc")
        if task.fence == 2:
            raise Killed

    bench = Bench(body)
    for _ in range(2):
        with pytest.raises(Killed):
            bench.attempt()
        bench.lapse()
    bench.attempt()
    started = [event for event in bench.events if isinstance(event, JobStarted)]
    assert [(e.attempt, e.resumed) for e in started] == [(1, False), (2, False), (3, True)]


# -- bodies that catch everything ---------------------------------------------------------------


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("after", ["return", "raise", "step", "loop"])
def test_a_body_that_catches_everything_is_stopped_again(signal, after):
    """A loop that was left half done is no success, and nothing new begins behind it."""
    begun = []

    def body(task):
        try:
            for item in task.iterate(range(5), every=1):
                if item == 2:
                    bench.signal(signal)
        except BaseException as exc:
            if after == "raise":
                raise RuntimeError("the batch failed") from exc
        if after == "step":
            task.step(begun.append, 1)
        elif after == "loop":
            begun.extend(task.iterate([1]))

    bench = Bench(body)
    assert bench.attempt().status is bench.job.status is STATUS[signal]
    assert bench.job.progress == Progress(3, 5)
    assert not begun


def test_an_item_that_catches_its_interrupt_is_not_done():
    """The loop around it does not count it, and what it has recorded stays recorded."""
    calls = []

    def body(task):
        for day in task.iterate(["mon", "tue"]):
            try:
                task.step(calls.append, day)
                for row in task.iterate(range(3), name="rows", every=1):
                    if (day, row) == ("mon", 1) and len(calls) == 1:
                        bench.signal(Signal.PAUSE)
            except BaseException:
                continue
        return list(calls)

    bench = Bench(body)
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED
    assert bench.job.progress.done == 0
    bench.resume()
    assert bench.attempt().value == ["mon", "tue"]


def test_an_interrupt_among_gathered_results_still_stops_the_job():
    """asyncio.gather(return_exceptions=True) hands every exception over as a value."""

    async def work(number):
        return number

    async def body(task):
        bench.signal(Signal.PAUSE)
        steps = [task.step(work, n, name=str(n)) for n in range(3)]
        return await asyncio.gather(*steps, return_exceptions=True)

    bench = Bench(body)
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED


# -- ends that are not on record ----------------------------------------------------------------


@pytest.mark.parametrize("problem", [StoreError("disk I/O error"), TimeoutError("time limit")])
@pytest.mark.parametrize("body", [lambda task: 1, lambda task: 1 / 0])
def test_an_end_that_is_not_on_record_is_none(problem, body):
    """Celery is told nothing that the record does not say; the job is carried on from there."""
    bench = Bench(body)
    bench.store.refuse_next = [problem]
    assert bench.attempt().status is None
    assert bench.job.status is JobStatus.RUNNING
    bench.lapse()
    assert bench.inner.due(10) == [JOB]
    with suppress(ZeroDivisionError):
        bench.attempt()
    assert bench.job.status.is_terminal


def test_a_checkpoint_that_is_refused_is_an_error_of_the_task():
    """Trying again would not help where what is written is the trouble."""
    bench = Bench(lambda task: task.step(len, "abc"))
    bench.store.refuse_next = [StoreError("it cannot take that name")]
    with pytest.raises(StoreError, match="that name"):
        bench.attempt()
    assert bench.job.status is JobStatus.FAILED
