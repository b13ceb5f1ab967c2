"""Guards that a task declares: a job that is held back comes again, and has not failed."""

import pytest

from deliveries import deliver, make_app, record
from harness import away_once
from milepost import BaseTask, CheckpointableTask
from milepost.errors import ConfigurationError
from milepost.events import CircuitChanged
from milepost.guards.declared import Breaker, Rate
from milepost.limits import Limit
from milepost.model import JobStatus
from milepost.runtime import runtime_of
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def events():
    return []


@pytest.fixture
def app(clock, events):
    return make_app(milepost={"store": MemoryStore(clock), "observers": [events.append]})


def succeed(self):
    return "done"


def declare(app, *guards, body=succeed):
    return app.task(base=CheckpointableTask, bind=True, guards=guards, name="guarded")(body)


def test_a_job_that_is_held_back_comes_again(app, clock):
    task = declare(app, Rate("mail", Limit(requests=1, per=10.0)))
    assert deliver(task, job_id="first").value == "done"
    deliver(task, job_id="second")
    job = record(app, "second")
    assert job.status is JobStatus.SCHEDULED
    assert job.reason == "held back: the limit 'mail' is used up: try again in 10.2 s"
    assert 10.0 < job.due_at - clock.now() < 10.3
    clock.advance(11.0)
    assert deliver(task, job_id="second").value == "done"
    assert record(app, "second").status is JobStatus.SUCCEEDED
    assert record(app, "second").crashes == 0


def test_a_breaker_sees_how_bodies_end(app, clock, events):
    def body(self):
        if clock.now() < 1_700_000_050.0:
            raise OSError("down")
        return "done"

    task = declare(app, Breaker("mail", fail_max=2, reset_timeout=100.0, refresh=0), body=body)
    for n in range(2):
        deliver(task, job_id=f"failed-{n}")
        assert record(app, f"failed-{n}").status is JobStatus.FAILED
    deliver(task, job_id="held")
    assert record(app, "held").status is JobStatus.SCHEDULED
    assert "the circuit 'mail' is open" in record(app, "held").reason
    clock.advance(101.0)
    assert deliver(task, job_id="held").value == "done"
    changes = [event.after for event in events if isinstance(event, CircuitChanged)]
    assert changes == ["open", "half-open", "closed"]


def test_a_body_that_steps_aside_tells_the_breaker_nothing(app, clock):
    def body(self):
        self.snooze(5)

    task = declare(app, Breaker("mail", fail_max=1), body=body)
    for n in range(3):
        deliver(task, job_id=f"{n}")
        assert record(app, f"{n}").reason == "snoozing"


def test_what_an_open_breaker_holds_back_takes_nothing_from_the_limit(app, clock):
    def body(self):
        raise OSError("down")

    limit = Limit(requests=2, per=1000.0)
    task = declare(app, Breaker("mail", fail_max=1), Rate("mail", limit), body=body)
    for n in range(5):
        deliver(task, job_id=f"{n}")
    assert "requests" not in str(runtime_of(app).store.limits.acquire("mail", limit))


def test_a_store_that_restarts_fails_no_job_that_a_limit_stands_before(app):
    task = declare(app, Rate("mail", Limit(requests=1)))
    away_once(runtime_of(app).store.limits, "acquire")
    assert deliver(task, job_id="first").value == "done"
    assert record(app, "first").crashes == 0


def test_async_bodies_are_guarded_too(app):
    async def body(self):
        return "done"

    task = declare(app, Rate("mail", Limit(concurrency=1)), body=body)
    for n in range(3):
        assert deliver(task, job_id=f"{n}").value == "done"


def test_a_direct_call_is_not_held_back(app):
    task = declare(app, Rate("mail", Limit(requests=1)))
    assert [task() for _ in range(3)] == ["done"] * 3
    assert [task.apply().get() for _ in range(3)] == ["done"] * 3


@pytest.mark.parametrize("base", [CheckpointableTask, BaseTask])
def test_guards_that_cannot_work_fail_at_boot(app, base):
    wrong = (Limit(requests=1),) if base is CheckpointableTask else (Rate("k", Limit(requests=1)),)
    with pytest.raises(ConfigurationError, match="guards"):
        type("Task", (base,), {"guards": wrong})


def test_a_declaration_that_makes_no_sense_fails_where_it_is_written():
    with pytest.raises(ConfigurationError, match="numbers above 0"):
        Breaker("mail", fail_max=0)
    with pytest.raises(ConfigurationError, match="a wait from 0"):
        Rate("mail", Limit(requests=1), max_wait=-1.0)
