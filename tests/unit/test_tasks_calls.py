"""Every way to call a durable task: delivered, eagerly, directly, sync and async."""

import asyncio
import functools

import celery
import pytest
from celery.exceptions import Ignore
from pydantic import BaseModel

from deliveries import deliver, make_app, record, sent
from milepost import BaseTask, CheckpointableTask
from milepost.errors import (
    CheckpointError,
    ConfigurationError,
    JobFailedError,
    JobNotFoundError,
    StoreUnavailableError,
)
from milepost.interrupts import Interrupt
from milepost.model import JobStatus
from milepost.tasks.current import CURRENT


@pytest.fixture
def app():
    return make_app()


def sum_of(task, numbers):
    total = task.step(int, 0, name="zero")
    for number in task.iterate(numbers, every=1):
        total += number
        task.state["total"] = total
    return task.state["total"]


CALLS = {
    "delivered": lambda task, *args: deliver(task, *args).value,
    "apply": lambda task, *args: task.apply(args).get(),
    "direct": lambda task, *args: task(*args),
    "run": lambda task, *args: task.run(*args),
}


@pytest.fixture(params=CALLS)
def call(request):
    return CALLS[request.param]


def test_bound_functions(app, call):
    """bind=True gives the body the task, with the attempt behind it."""

    @app.task(base=CheckpointableTask, bind=True)
    def add(self, numbers):
        return sum_of(self, numbers)

    assert call(add, [1, 2, 3]) == 6


@pytest.mark.parametrize("how", ["delivered", "apply", "direct"])
def test_plain_functions(app, how):
    """Without bind=True the body finds its task as Celery's current one."""

    @app.task(base=CheckpointableTask)
    def add(numbers):
        return sum_of(celery.current_task, numbers)

    assert CALLS[how](add, [1, 2, 3]) == 6


def test_class_tasks(app, call):
    """A class with a run method, registered as Celery wants it."""

    class Add(CheckpointableTask):
        name = "add"

        def run(self, numbers):
            return sum_of(self, numbers)

    assert call(app.register_task(Add()), [1, 2, 3]) == 6


def test_static_run(app, call):
    """run may be a staticmethod, as Celery itself makes it for plain functions."""

    class Double(CheckpointableTask):
        name = "double"

        @staticmethod
        def run(number):
            return 2 * number

    assert call(app.register_task(Double()), 4) == 8


class Order(BaseModel):
    numbers: list[int]


class Sum(BaseModel):
    total: int


@pytest.mark.parametrize("how", ["delivered", "apply", "direct"])
def test_pydantic_tasks(app, how):
    """pydantic=True validates on the way in and dumps on the way out, around the attempt."""

    @app.task(base=CheckpointableTask, bind=True, pydantic=True)
    def add(self, order: Order) -> Sum:
        assert isinstance(order, Order)
        return Sum(total=sum_of(self, order.numbers))

    assert CALLS[how](add, {"numbers": [1, 2]}) == {"total": 3}


def test_subclasses_call_super(app, call):
    """super().run() belongs to the same attempt: one journal, one state, no second claim."""

    class Parent(CheckpointableTask):
        name = "parent"

        def run(self, numbers):
            self.state["parent"] = self.fence
            return sum_of(self, numbers)

    class Child(Parent):
        name = "child"

        def run(self, numbers):
            self.state["child"] = True
            total = super().run(numbers)
            assert self.state["child"] is True
            assert self.state["parent"] == self.fence
            return total + 100

    assert call(app.register_task(Child()), [1, 2]) == 103


def test_recursion_stays_in_the_attempt(app, call):
    """A body that calls its own task directly goes on in the same attempt."""

    @app.task(base=CheckpointableTask, bind=True)
    def count(self, n):
        self.state["calls"] = self.state.get("calls", 0) + 1
        if n:
            self.run(n - 1)
        return self.state["calls"]

    assert call(count, 3) == 4


def test_other_tasks_have_their_own_attempt(app, call):
    """A task called directly within another's body does not touch the other's checkpoint."""

    @app.task(base=CheckpointableTask, bind=True)
    def inner(self):
        return self.step(str, "inner", name="x")

    @app.task(base=CheckpointableTask, bind=True)
    def outer(self):
        return [self.step(str, "outer", name="x"), inner(), inner.run(), inner.apply().get()]

    assert call(outer) == ["outer", "inner", "inner", "inner"]


def test_a_users_call_is_kept(app, call):
    """__call__ of the user's own works around the attempt."""

    class Calling(CheckpointableTask):
        abstract = True

        def __call__(self, *args, **kwargs):
            return super().__call__(*args, **kwargs) + 1

    @app.task(base=Calling, bind=True)
    def one(self):
        return self.step(int, 1)

    assert call(one) == (1 if call is CALLS["run"] else 2)


def test_calls_that_are_no_job_leave_no_record(app):
    """Eager and direct calls run the same code, and the store knows nothing of them."""

    @app.task(base=CheckpointableTask, bind=True)
    def job(self):
        return self.job.id

    for job_id in (job(), job.run(), job.apply(task_id="eager").get()):
        with pytest.raises(JobNotFoundError):
            record(app, job_id)
    assert CURRENT.get() is None


def test_always_eager(app):
    """task_always_eager runs at once, with Celery's own serialisation, and records nothing."""
    app.conf.task_always_eager = True

    @app.task(base=CheckpointableTask, bind=True)
    def add(self, numbers):
        return sum_of(self, numbers)

    result = add.delay([1, 2])
    assert result.get() == 3
    assert sent(app) == []
    with pytest.raises(JobNotFoundError):
        record(app, result.id)


def test_eager_works_without_a_milepost():
    """Unit tests of a host application need no store."""

    @make_app(milepost=False).task(base=CheckpointableTask, bind=True)
    def add(self, numbers):
        return sum_of(self, numbers)

    assert add([1]) == add.apply(([1],)).get() == 1


def test_an_eager_retry_starts_over(app):
    """Celery applies it again at once; explicit names do not collide with the first try's."""

    @app.task(base=CheckpointableTask, bind=True, max_retries=3)
    def flaky(self):
        self.step(len, "abc", name="first")
        if self.request.retries < 2:
            raise self.retry(countdown=0)
        return self.request.retries

    assert flaky.apply().get() == 2


def test_an_eager_autoretry_starts_over(app):
    """The same for autoretry_for."""

    @app.task(base=CheckpointableTask, bind=True, autoretry_for=(ValueError,))
    def flaky(self):
        self.step(len, "abc", name="first")
        if self.request.retries < 2:
            raise ValueError
        return self.request.retries

    assert flaky.apply().get() == 2


def test_an_eager_replace_returns_the_other_tasks_value(app):
    """replace() in eager mode gives the value of what took the task's place."""

    @app.task(base=CheckpointableTask, bind=True)
    def other(self):
        return self.step(str, "other", name="x")

    @app.task(base=CheckpointableTask, bind=True)
    def first(self):
        self.step(str, "first", name="x")
        return self.replace(other.s())

    assert first.apply().get() == "other"


def test_an_eager_error_is_the_users_own(app, call):
    """What the body raises is what the caller gets."""

    @app.task(base=CheckpointableTask, bind=True)
    def fail(self):
        raise KeyError("mine")

    if call is CALLS["delivered"]:
        outcome = deliver(fail)
        assert outcome.state == "FAILURE"
        assert isinstance(outcome.value, KeyError)
        return
    with pytest.raises(KeyError, match="mine"):
        call(fail)


@pytest.mark.parametrize("how", ["apply", "direct", "run"])
def test_interrupts_do_not_get_out(app, how):
    """A snooze outside of a worker is Celery's Ignore, never an exception of ours."""

    @app.task(base=CheckpointableTask, bind=True)
    def nap(self):
        self.snooze(10)

    @app.task(base=CheckpointableTask, bind=True)
    async def async_nap(self):
        self.snooze(10)

    if how == "apply":
        assert nap.apply().state == async_nap.apply().state == "IGNORED"
        return
    with pytest.raises(Ignore):
        CALLS[how](nap)
    try:
        with pytest.raises(Ignore):
            asyncio.run(CALLS[how](async_nap))
    except Interrupt:
        pytest.fail("an interrupt got out")


def test_outside_a_body_there_is_no_attempt(app):
    """Using a checkpoint where nothing runs is told apart from an empty one."""

    @app.task(base=CheckpointableTask, bind=True)
    def idle(self):
        pass

    for use in (lambda: idle.step(len, ""), lambda: idle.state, lambda: idle.progress):
        with pytest.raises(CheckpointError, match="no attempt is running here"):
            use()


# -- async -----------------------------------------------------------------------------------


@pytest.fixture
def async_add(app):
    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    @app.task(base=CheckpointableTask, bind=True)
    async def add(self, numbers):
        total = 0
        for number in self.iterate(numbers):
            total += await self.step(double, number)
        doubled = await self.map(double, numbers, concurrency=2)
        return total + sum(doubled)

    return add


def test_async_tasks_are_driven(async_add):
    """A worker and apply() run a coroutine to its end."""
    assert deliver(async_add, [1, 2]).value == 12
    assert async_add.apply(([1, 2],)).get() == 12


def test_async_tasks_can_be_awaited(async_add):
    """Called directly, an ``async def`` task is a coroutine function as any."""

    async def main():
        assert await async_add([1, 2]) == 12
        assert await async_add.run([1, 2]) == 12
        return await asyncio.gather(async_add([1]), async_add([2]), async_add([3]))

    assert asyncio.run(main()) == [4, 8, 12]


def test_async_tasks_apply_inside_a_running_loop(async_add):
    """An endpoint may run a task eagerly; by nature it blocks its loop meanwhile."""

    async def main():
        return async_add.apply(([1, 2],)).get()

    assert asyncio.run(main()) == 12


def test_async_super_belongs_to_the_same_attempt(app):
    """await super().run() shares journal and state."""

    class Parent(CheckpointableTask):
        name = "parent"

        async def run(self):
            self.state["parent"] = True
            return 1

    class Child(Parent):
        name = "child"

        async def run(self):
            got = await super().run()
            assert self.state["parent"]
            return got + 1

    child = app.register_task(Child())
    assert deliver(child).value == 2
    assert asyncio.run(child()) == 2
    assert child.apply().get() == 2


def test_leftovers_of_an_async_task_are_cancelled(app):
    """What a body leaves running does not go on behind the next job's back."""
    ended = []

    async def straggler():
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(True)

    @app.task(base=CheckpointableTask, bind=True)
    async def leave(self):
        self.straggler = asyncio.create_task(straggler())
        await asyncio.sleep(0)

    deliver(leave)
    assert ended == [True]


def test_concurrent_eager_async_tasks_keep_apart(app):
    """Each awaited task has its own attempt, whatever else the loop runs."""

    @app.task(base=CheckpointableTask, bind=True)
    async def who(self, name):
        self.state["name"] = name
        await asyncio.sleep(0.001)
        return self.state["name"], self.job.id

    async def main():
        return await asyncio.gather(*(who(str(n)) for n in range(10)))

    results = asyncio.run(main())
    assert [name for name, _ in results] == [str(n) for n in range(10)]
    assert len({made for _, made in results}) == 10


# -- delivered -------------------------------------------------------------------------------


def test_a_delivered_job_is_recorded(app):
    """Sent by name, without our apply_async, it is on record from its claim."""

    @app.task(base=CheckpointableTask, bind=True)
    def add(self, numbers):
        return sum_of(self, numbers)

    assert deliver(add, [1, 2]).succeeded
    job = record(app)
    assert (job.status, job.task, job.attempts) == (JobStatus.SUCCEEDED, add.name, 1)
    assert app.milepost.runtime.codec.decode(job.result) == 3


def test_a_second_delivery_is_dropped(app):
    """The record knows that the job has ended; Celery acknowledges and forgets the message."""
    ran = []

    @app.task(base=CheckpointableTask)
    def once():
        ran.append(1)

    assert deliver(once).succeeded
    assert deliver(once).state == "IGNORED"
    assert ran == [1]


def test_a_finish_delivery_replays_the_outcome(app):
    """Where Celery's own end was lost, the recorded outcome is handed to it again."""
    from milepost.tasks.message import FINISH_HEADER

    ran = []

    @app.task(base=CheckpointableTask)
    def job(fails):
        ran.append(fails)
        if fails:
            raise KeyError("mine")
        return {"a": (1, 2)}

    deliver(job, False, job_id="good")
    deliver(job, True, job_id="bad")
    finish = {"headers": {FINISH_HEADER: True}}
    assert deliver(job, False, job_id="good", **finish).value == {"a": (1, 2)}
    outcome = deliver(job, True, job_id="bad", **finish)
    assert outcome.state == "FAILURE"
    assert isinstance(outcome.value, JobFailedError)
    assert "KeyError: 'mine'" in str(outcome.value)
    assert ran == [False, True]


def test_without_a_store_the_message_goes_back(app, monkeypatch):
    """Fail closed: a job that cannot be claimed does not run, and is not lost."""
    ran = []

    @app.task(base=CheckpointableTask)
    def job():
        ran.append(1)

    def away(*args):
        raise StoreUnavailableError("memory://", "nobody home")

    monkeypatch.setattr("milepost.engine.lease.PATIENCE", 0.0)
    monkeypatch.setattr(app.milepost.store, "claim", away)
    outcome = deliver(job)
    assert outcome.state == "REJECTED"
    assert ran == []


def test_a_users_store_error_is_the_users_error(app):
    """StoreUnavailableError out of the body is a failure like any other."""

    @app.task(base=CheckpointableTask)
    def job():
        raise StoreUnavailableError("redis://elsewhere", "of the user's own making")

    assert deliver(job).state == "FAILURE"
    assert record(app).status is JobStatus.FAILED


def test_two_apps_do_not_see_each_other():
    """Each app has its own milepost; the same job id in both is two jobs."""
    one, two = make_app(), make_app()
    assert one.milepost.runtime is not two.milepost.runtime

    for app, value in ((one, 1), (two, 2)):

        @app.task(base=CheckpointableTask, name="same", bind=True)
        def same(self, value=value):
            return self.step(lambda: value, name="x")

    assert deliver(one.tasks["same"]).value == 1
    with pytest.raises(JobNotFoundError):
        record(two)
    assert deliver(two.tasks["same"]).value == 2


def test_an_app_without_a_milepost_says_so():
    """A durable task cannot be sent or run without a store, and the error says what to write."""

    @make_app(milepost=False).task(base=CheckpointableTask)
    def job():
        pass

    with pytest.raises(ConfigurationError, match=r"milepost = Milepost\(app\)"):
        job.delay()
    assert isinstance(deliver(job).value, ConfigurationError)


def test_an_app_has_one_milepost():
    """Two on one app would be two truths."""
    from milepost import Milepost

    app = make_app()
    with pytest.raises(ConfigurationError, match="has a milepost already"):
        Milepost(app, store="memory://")


@pytest.mark.parametrize("option", ["acks_late", "reject_on_worker_lost"])
def test_durable_needs_late_acknowledgement(app, option):
    """A durable task whose message is gone before its end is a contradiction, told at once."""

    @app.task(base=CheckpointableTask, **{option: False})
    def job():
        pass

    with pytest.raises(ConfigurationError, match=f"{option}=False contradicts durable=True"):
        app.finalize()


def test_any_task_can_be_made_durable(app):
    """BaseTask with durable=True is recorded and fenced, without a checkpoint of its own."""

    @app.task(base=BaseTask, durable=True)
    def job():
        return 7

    assert deliver(job).value == 7
    assert record(app).status is JobStatus.SUCCEEDED


def logged(function):
    """Wrap a function as decorators do, which know nothing of coroutines."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("cover", [logged, lambda function: function])
@pytest.mark.parametrize("how", ["delivered", "apply"])
def test_an_async_body_behind_a_plain_function_runs(app, how, cover):
    """A decorator or pydantic's validation hides the async def; its coroutine is not the result."""

    @app.task(base=CheckpointableTask, bind=True, pydantic=True)
    @cover
    async def add(self, order: Order):
        await asyncio.sleep(0)
        return sum_of(self, order.numbers)

    assert CALLS[how](add, {"numbers": [1, 2]}) == 3


def test_an_async_body_behind_a_plain_function_runs_when_called_directly(app):
    """There it cannot be awaited: the call gives what the coroutine returns."""

    @app.task(base=CheckpointableTask, bind=True)
    @logged
    async def add(self, numbers):
        return sum_of(self, numbers)

    assert add([1, 2]) == 3


def test_a_thread_of_the_bodys_own_has_no_attempt(app):
    """asyncio.to_thread takes the context along; what is recorded there could get lost."""

    @app.task(base=CheckpointableTask, bind=True)
    async def spread(self):
        assert await asyncio.to_thread(len, "ab") == 2
        for use in (lambda: self.step(len, "ab"), lambda: self.state, self.checkpoint):
            with pytest.raises(CheckpointError, match="in the thread that runs it"):
                await asyncio.to_thread(use)
        return self.step(len, "abc")

    async def eagerly():
        return spread.apply().get()

    assert deliver(spread).value == spread.apply().get() == asyncio.run(eagerly()) == 3
    assert asyncio.run(CALLS["direct"](spread)) == 3
