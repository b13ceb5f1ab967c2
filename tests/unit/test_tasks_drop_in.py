"""The drop-in claim: a task that is not durable is a Celery task, and a durable one still is."""

import functools
import inspect
import sys
import types

import celery
import pytest
from celery.app.task import Task
from celery.local import PromiseProxy

from deliveries import deliver, make_app, record, sent
from milepost import BaseTask, CheckpointableTask
from milepost.errors import JobNotFoundError
from milepost.tasks.fingerprint import fingerprint_of


@pytest.fixture
def app():
    return make_app(milepost=False)


def test_a_task_that_is_not_durable_is_untouched(app):
    """Its run is the function that was written, with nothing around it."""

    def run(self):
        return 1

    cls = type("Plain", (BaseTask,), {"name": "plain", "run": run})
    assert cls.run is run
    assert BaseTask.run is Task.run
    assert cls.__call__ is Task.__call__
    assert CheckpointableTask.__call__ is Task.__call__


def test_a_task_that_is_not_durable_declares_what_celery_does():
    """None of Celery's options has another default."""
    for name in ("acks_late", "reject_on_worker_lost", "track_started", "Request", "abstract"):
        assert getattr(BaseTask, name) == getattr(Task, name), name


def test_a_task_that_is_not_durable_needs_no_milepost(app):
    """It is sent, run and retried without a store; nothing is recorded."""

    @app.task(base=BaseTask, bind=True, autoretry_for=(ValueError,))
    def plain(self, fail=False):
        if fail:
            raise ValueError
        return self.request.id

    plain.delay()
    assert deliver(plain).value == "job"
    assert deliver(plain, True).state == "RETRY"
    assert plain.apply().successful()
    assert [headers["retries"] for headers, _ in sent(app)] == [0, 1]


def test_a_task_that_is_not_durable_leaves_no_record():
    """Also where there is a milepost."""
    app = make_app()

    @app.task(base=BaseTask)
    def plain():
        return 1

    result = plain.delay()
    deliver(plain)
    for job_id in (result.id, "job"):
        with pytest.raises(JobNotFoundError):
            record(app, job_id)


def test_the_whole_app_can_use_the_base():
    """task_cls= makes it every task's base, Celery's own built-in ones included."""
    app = celery.Celery(
        "all", broker="memory://", task_cls="milepost:BaseTask", set_as_current=False
    )

    @app.task(shared=False)
    def plain():
        return 1

    assert isinstance(app.tasks["celery.chord"], BaseTask)
    assert plain() == plain.apply().get() == 1


@pytest.mark.parametrize("method", ["apply_async", "retry", "replace", "map"])
def test_overridden_methods_take_what_celerys_take(method):
    """Every argument of Celery's, in Celery's place, under Celery's name."""
    theirs = inspect.signature(getattr(Task, method)).parameters
    for cls in (BaseTask, CheckpointableTask):
        ours = inspect.signature(getattr(cls, method)).parameters
        if cls is CheckpointableTask and method == "map":
            assert list(ours)[1] == "function"  # the one name that differs; see below
            continue
        assert list(ours)[: len(theirs)] == list(theirs)
        for name, parameter in theirs.items():
            assert ours[name].kind is parameter.kind
            assert ours[name].default == parameter.default


def test_map_is_still_celerys():
    """task.map(iterable) is a signature, as it always was."""
    app = make_app()

    @app.task(base=CheckpointableTask)
    def double(n):
        return 2 * n

    assert double.map([1, 2]) == Task.map(double, [1, 2])
    assert double.map([1, 2]).apply().get() == [2, 4]


def test_a_durable_task_keeps_its_face():
    """Name, docstring and signature are the function's: Celery checks calls by them."""
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True)
    def documented(self, table: str, *, limit: int = 5):
        """Say what it does."""

    assert documented.__doc__ == "Say what it does."
    assert list(inspect.signature(documented.run).parameters) == ["table", "limit"]
    with pytest.raises(TypeError):
        documented.delay()


def test_load_checkpoint_from_outside():
    """A web process may look at a job's explicit checkpoint."""
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True)
    def job(self):
        self.save_checkpoint(self.job.id, {"page": 7})

    deliver(job)
    assert job.load_checkpoint("job") == {"page": 7}
    with pytest.raises(JobNotFoundError):
        job.load_checkpoint("nothing")


# -- fingerprints ------------------------------------------------------------------------------


def compiled(source):
    space = {}
    exec(source, space)
    return space["run"]


def mark(source, **members):
    run = compiled(source)
    return fingerprint_of(type("Some", (CheckpointableTask,), {"run": run, **members}), run)


def test_a_fingerprint_follows_the_code():
    """It changes with what the body does, not with how it looks or where it stands."""
    base = mark("def run(self):\n    return self.step(load, 1)")
    assert base == mark("# a comment\n\n\ndef run(self):\n    return self.step(load, 1)  # and one")
    assert base != mark("def run(self):\n    return self.step(fetch, 1)")
    assert base != mark("def run(self):\n    return self.step(load, 2)")
    assert base != mark("def run(self):\n    return self.step(lambda: load(1))")


def test_a_fingerprint_follows_constants():
    """Names of steps may stand in tuples and sets, at any depth."""
    marks = {
        mark(f"def run(self):\n    for name in {names}:\n        self.step(load, name=name)")
        for names in ("('a', 'b')", "('a', 'c')", "(('a', 'b'),)", "{'a', 'b'}", "{'a', 'c'}")
    }
    assert len(marks) == 5


def test_a_fingerprint_follows_the_methods():
    """A method of the task's class is part of what its body does."""

    def one(self):
        return 1

    def two(self):
        return 2

    source = "def run(self):\n    return self.part()"
    assert mark(source, part=one) != mark(source, part=two)


def test_a_fingerprint_is_the_same_in_every_process():
    """Hash randomisation must not park every job at each restart."""
    import subprocess
    import sys

    code = (
        "from milepost import CheckpointableTask\n"
        "class Some(CheckpointableTask):\n"
        "    def run(self, x):\n"
        "        return x in {'a', 'b', 'c', 'd'} and [y for y in (x, 'é')]\n"
        "print(Some.milepost_fingerprint)"
    )
    marks = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(marks) == 1


def test_a_fingerprint_sees_through_decorators():
    """What is around the body, or a method, is often the same for all tasks."""

    def logged(function):
        @functools.wraps(function)
        def wrapper(*args):
            return function(*args)

        return wrapper

    def one(self):
        return 1

    def two(self):
        return 2

    def task(run, **members):
        return type("Some", (CheckpointableTask,), {"run": run, **members}).milepost_fingerprint

    assert task(logged(one)) != task(logged(two))
    for kind in (logged, staticmethod, classmethod, property):
        assert task(logged(one), part=kind(one)) != task(logged(one), part=kind(two))


def test_a_fingerprint_follows_an_inherited_body():
    """A subclass that only changes a method of it is another task."""

    class Parent(CheckpointableTask):
        def run(self):
            return self.part()

    class One(Parent):
        def part(self):
            return 1

    class Two(Parent):
        def part(self):
            return 2

    assert len({cls.milepost_fingerprint for cls in (Parent, One, Two)}) == 3


HELPERS = """
import types
import elsewhere

def run(self):
    for row in self.iterate(range(3)):
        part(self, row)
    elsewhere.more(self)
    Importer(self).go()

def part(task, row):
    {part}

def plain(row):
    return {plain}

def uses_map(row):
    return list(map(str, {plain}))

class Importer:
    def __init__(self, task):
        self.task = task
    def go(self):
        deeper(self)

    def has_steps(self):
        self.task.step(plain, {method})

def deeper(importer):
    return importer.task.step(plain, {unseen})
"""


def mark_with_helpers(monkeypatch, **changes):
    parts = {"part": "task.step(plain, row)", "plain": "1", "more": "1", "method": "1"}
    parts = {**parts, "unseen": "1", **changes}
    elsewhere = types.ModuleType("elsewhere")
    exec(f"def more(task):\n    task.map(str, {parts['more']})\n", vars(elsewhere))
    monkeypatch.setitem(sys.modules, "elsewhere", elsewhere)
    return mark(HELPERS.format(**parts))


def test_a_fingerprint_follows_functions_that_have_steps(monkeypatch):
    """Where a step stands makes no difference to what its renaming would do."""
    base = mark_with_helpers(monkeypatch)
    assert base == mark_with_helpers(monkeypatch)
    assert base != mark_with_helpers(monkeypatch, part="task.step(plain, row, name='p')")
    assert base != mark_with_helpers(monkeypatch, more="2")
    assert base != mark_with_helpers(monkeypatch, method="2")


def test_a_fingerprint_leaves_other_functions_alone(monkeypatch):
    """A change of what has no steps must not put the checks on."""
    base = mark_with_helpers(monkeypatch, part="plain(row) or uses_map(row)")
    assert base == mark_with_helpers(monkeypatch, part="plain(row) or uses_map(row)", plain="2")


def test_a_function_of_a_library_is_no_part_of_a_fingerprint(monkeypatch):
    """Its upgrade is no change of the task, whatever it does with its own ``step``."""

    def library(code):
        space = {"__name__": "lib.optimizers"}
        exec(compile(code, "/x/lib/python3.12/site-packages/lib/optimizers.py", "exec"), space)
        return space["train"]

    source = "def run(self):\n    train(self)"
    marks = set()
    for code in ("def train(x):\n    x.step(1)", "def train(x):\n    x.step(2)"):
        run = compiled(source)
        run.__globals__["train"] = library(code)
        marks.add(fingerprint_of(type("Some", (CheckpointableTask,), {"run": run}), run))
    assert len(marks) == 1


def test_a_fingerprint_touches_nothing_that_is_lazy():
    """A task of the module that nobody has used yet stays what it is."""
    run = compiled("def run(self):\n    other.delay()\n    again(self)")
    run.__globals__["other"] = PromiseProxy(lambda: pytest.fail("it came to life"))
    run.__globals__["again"] = run
    assert fingerprint_of(type("Some", (CheckpointableTask,), {"run": run}), run)


def test_a_fingerprint_knows_what_is_defined_below_the_task():
    """It is made when a job is carried, not when the class is."""

    def mark_of(rest):
        space = {"CheckpointableTask": CheckpointableTask}
        task = "class Some(CheckpointableTask):\n    def run(self):\n        below(self)\n"
        exec(f"{task}{rest}", space)
        return space["Some"].milepost_fingerprint

    one = mark_of("def below(task):\n    task.step(len, 'abc')")
    two = mark_of("def below(task):\n    task.step(len, 'abc', name='two')")
    assert one != two
