"""A job type as somebody declares it, and what its task adds once that is there."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from milepost import security
from milepost.errors import ConfigurationError
from milepost.jobtype import JobType
from milepost.tasks.arguments import parameters_of
from milepost.tasks.base import BaseTask
from milepost.tasks.fields import sent_in_the_clear
from milepost.tasks.sensitive import sensitive_field


@dataclass(frozen=True, slots=True)
class Declared:
    """A job type as somebody has registered it; its task may not be made yet."""

    name: str
    task: Any
    facts: Mapping[str, Any]
    cls: type[BaseTask] | None = None
    """The task's class, where it is for the registry to make a task of it."""

    def task_name(self, app: Any) -> str:
        """Return the registered name of the task.

        Raises:
            ConfigurationError: it is no task.
        """
        name = getattr(self.task, "name", self.task)
        if isinstance(name, str):
            return name
        if isinstance(self.task, type):
            return generated_name(app, self.task)
        raise ConfigurationError(
            f"job type {self.name!r}: task = {self.task!r}: a durable task, its class or its name"
        )

    def made(self, app: Any) -> Any:
        """Return the task, or None where it is not there; by its class only it is made here.

        Raises:
            ConfigurationError: another task has its name.
        """
        name = self.task_name(app)
        task = app.tasks.get(name)
        if self.cls is None:
            return task
        if task is not None and type(task) is not self.cls:
            raise ConfigurationError(
                f"two tasks {name!r}: {_class(self.cls)} of job type {self.name!r}, "
                f"and {_class(type(task))}"
            )
        return app.register_task(self.cls()) if task is None else task


def described(name: str, task: Any, facts: Mapping[str, Any]) -> JobType:
    """Return a job type with all that its task knows of it.

    Raises:
        ConfigurationError: the task is not durable, or has another checkpoint version.
    """
    if not isinstance(task, BaseTask) or not task.durable:
        raise ConfigurationError(
            f"job type {name!r}: task {task.name!r} is not durable; "
            "give it base=CheckpointableTask, or durable=True on a BaseTask"
        )
    told = JobType(
        name,
        task.name,
        queue=getattr(task, "queue", None),
        input_model=task.input_model,
        permissions=task.permissions,
        checkpoint_version=task.checkpoint_version,
        description=_first_line(task),
        owner=type(task).__module__.partition(".")[0],
    )
    version = facts.get("checkpoint_version", told.checkpoint_version)
    if version != told.checkpoint_version:
        raise ConfigurationError(
            f"job type {name!r}: declared with checkpoint_version={version}, "
            f"but its task {task.name!r} has {told.checkpoint_version}"
        )
    return replace(told, **facts)


def check_model(job_type: JobType, task: Any) -> None:
    """Refuse an input model with a field that the task does not take, or would not keep secret.

    Raises:
        ConfigurationError: it has one.
    """
    if job_type.input_model is None:
        return
    secret = sensitive_field(job_type.input_model)
    if secret is not None and not getattr(task, "milepost_is_encrypted", False):
        model, what = job_type.input_model, f"job type {job_type.name!r}"
        raise ConfigurationError(sent_in_the_clear(what, repr(task.name), model, secret))
    parameters = parameters_of(task)
    if parameters is None:
        return
    unknown = security.unknown_fields(job_type.input_model, parameters)
    if unknown:
        raise ConfigurationError(
            f"job type {job_type.name!r}: {job_type.input_model.__name__} has a field "
            f"{unknown[0]!r}, which task {task.name!r} does not take"
        )


def generated_name(app: Any, cls: type) -> str:
    """Return the name that Celery gives to a task whose class has none."""
    return str(app.gen_task_name(cls.__name__, cls.__module__))


def _first_line(task: Any) -> str:
    text = (task.run.__doc__ or task.__doc__ or "").strip()
    return text.splitlines()[0] if text else ""


def _class(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
