"""The registry: which job types an app has, and which task does the work of each."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeVar

from milepost.declared import Declared, check_model, described, generated_name
from milepost.errors import ConfigurationError, UnknownJobTypeError
from milepost.jobtype import JobType
from milepost.runtime import attached
from milepost.tasks.base import BaseTask

__all__ = ["JobType", "TaskRegistry", "registry_of"]

T = TypeVar("T")

ATTRIBUTE = "milepost_registry"
"""Where a Celery app keeps its registry."""
NEAR = 3
"""How many names an error offers for one that is not known."""


@dataclass(frozen=True, slots=True)
class _Index:
    """Every job type there is, found by its own name and by its task's.

    Attributes:
        names: job type → what is known of it.
        tasks: task → the same.
        missing: job type → the task it names, which is not registered.
    """

    names: dict[str, JobType] = field(default_factory=dict)
    tasks: dict[str, JobType] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def get(self, name: str) -> JobType | None:
        return self.names.get(name) or self.tasks.get(name)

    def near(self, name: str) -> list[str]:
        """Return the job types, or else the tasks, whose names are like *name*."""
        near = partial(get_close_matches, name, n=NEAR)
        return near(self.names) or near(self.tasks)

    def add(self, job_type: JobType) -> None:
        """Take up a job type.

        Raises:
            ConfigurationError: its name or its task means another one already.
        """
        for name in (job_type.name, job_type.task):
            taken = self.get(name)
            if taken is not None:
                raise ConfigurationError(
                    f"{name!r} means two job types: {_shown(taken)} and {_shown(job_type)}"
                )
        self.names[job_type.name] = self.tasks[job_type.task] = job_type


class TaskRegistry:
    """The job types of one Celery app.

    Three ways lead into it: a durable task that names its ``job_type``; :meth:`register`, or
    :meth:`job_type` as a decorator; and the hook ``milepost_job_types`` of a plugin. A durable
    task that none of them names is a job type of its own, under its registered name.

    Job types are looked up by their own name or by that of their task. What was declared after
    a name was last looked for is found all the same.

    Args:
        app: the Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._declared: dict[str, Declared] = {}
        self._index = _Index()

    def register(
        self,
        name: str,
        task: Any,
        *,
        queue: str | None = None,
        input_model: Any = None,
        permissions: tuple[str, ...] = (),
        checkpoint_version: int | None = None,
        description: str = "",
        owner: str = "",
    ) -> None:
        """Declare a job type. What is left out is what its task says.

        Args:
            name: of the job type.
            task: the durable task, its class or its registered name. It may be registered with
                Celery later.
            queue: see :class:`~milepost.jobtype.JobType`, as for all that follow.

        Raises:
            ConfigurationError: there is a job type of that name already.
        """
        facts = {
            "queue": queue,
            "input_model": input_model,
            "permissions": permissions,
            "checkpoint_version": checkpoint_version,
            "description": description,
            "owner": owner,
        }
        given = {fact: value for fact, value in facts.items() if value}
        JobType(name, "to be checked", **given)
        self._declare(Declared(name, task, given))

    def job_type(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Declare the decorated task's job type; see :meth:`register`."""

        def declare(task: T) -> T:
            self.register(name, task, **facts)
            return task

        return declare

    def bring(self, what: JobType | type[BaseTask], owner: str) -> None:
        """Declare a job type that a plugin brings.

        Args:
            what: it, or the class of its task, which is registered with Celery too.
            owner: who brings it.

        Raises:
            ConfigurationError: as for :meth:`register`.
        """
        if isinstance(what, JobType):
            facts = {f.name: getattr(what, f.name) for f in fields(what)}
            self.register(**{**facts, "owner": what.owner or owner})
        else:
            name = what.job_type or what.name or generated_name(self._app, what)
            self._declare(Declared(name, what, {"owner": owner}, what))

    def make_tasks(self, app: Any) -> None:
        """Let an app's tasks be as they are declared: there, and with their input models.

        Raises:
            ConfigurationError: another task has the name of one that is declared by its class,
                or a task has an input model already.
        """
        for declared in list(self._declared.values()):
            task = declared.made(app)
            model = declared.facts.get("input_model")
            if task is None or model is None:
                continue
            if getattr(task, "input_model", None) not in (None, model):
                raise ConfigurationError(
                    f"job type {declared.name!r}: input_model={model.__name__}, "
                    f"but its task {task.name!r} has {task.input_model.__name__}"
                )
            task.input_model = model

    def get_task(self, job_type: str) -> JobType:
        """Return a job type by its name, or by that of its task.

        Raises:
            UnknownJobTypeError: there is none; it lists near names.
            ConfigurationError: its task is not registered, or the registry contradicts itself.
        """
        found = self.find(job_type)
        if found is not None:
            return found
        if job_type in self._index.missing:
            raise ConfigurationError(_missing(job_type, self._index.missing[job_type]))
        raise UnknownJobTypeError(str(job_type), *self._index.near(str(job_type)))

    def of_task(self, task: str) -> JobType | None:
        """Return the job type that a task does the work of, or None where it has none."""
        return self._index.tasks.get(task) or self._collect().tasks.get(task)

    def find(self, job_type: str) -> JobType | None:
        """Return a job type by its name, or by that of its task; None where there is none."""
        return self._index.get(job_type) or self._collect().get(job_type)

    def task_name(self, job_type: str) -> str:
        """Return the name of the task behind a job type; one that is not known is its own."""
        found = self.find(job_type)
        return job_type if found is None else found.task

    def get_all_job_types(self) -> tuple[JobType, ...]:
        """Return every job type, by name.

        Raises:
            ConfigurationError: the registry contradicts itself.
        """
        names = self._collect().names
        return tuple(names[name] for name in sorted(names))

    def check(self) -> None:
        """Fail where the registry contradicts itself or the app; workers do so at their start.

        Raises:
            ConfigurationError: two job types of one name or for one task, a job type whose
                task is missing or not durable, a checkpoint version that is not the task's, an
                input model with a field that the task does not take.
        """
        for name, task in self._collect().missing.items():
            raise ConfigurationError(_missing(name, task))
        for job_type in self._index.names.values():
            check_model(job_type, self._app.tasks[job_type.task])

    def _declare(self, declared: Declared) -> None:
        if declared.name in self._declared:
            raise ConfigurationError(f"job type {declared.name!r} is registered already")
        self._declared[declared.name] = declared
        self._index = _Index()

    def _collect(self) -> _Index:
        """Look again at what is declared and at the app's tasks."""
        index = _Index()
        tasks = self._app.tasks  # makes those that wait for it
        self.make_tasks(self._app)
        for declared in list(self._declared.values()):
            name = declared.task_name(self._app)
            task = tasks.get(name)
            if task is None:
                index.missing[declared.name] = name
            else:
                index.add(described(declared.name, task, declared.facts))
        for task in list(tasks.values()):
            named = getattr(task, "job_type", None)
            known = index.tasks.get(task.name)
            if named is not None and (known is None or known.name != named):
                index.add(described(named, task, {}))
            elif known is None and getattr(task, "durable", False):
                index.add(described(task.name, task, {}))
        self._index = index
        return index


def _shown(job_type: JobType) -> str:
    by = f", by {job_type.owner}" if job_type.owner else ""
    return f"{job_type.name!r} (task {job_type.task!r}{by})"


def _missing(name: str, task: str) -> str:
    return (
        f"job type {name!r} names task {task!r}, which is not registered: is its module imported?"
    )


def registry_of(app: Any) -> TaskRegistry:
    """Return the registry that ``Milepost(app)`` attached to a Celery app.

    Raises:
        ConfigurationError: nobody did.
    """
    registry: TaskRegistry = attached(app, ATTRIBUTE)
    return registry
