"""What a task's class declares, and what of it is refused."""

from typing import Any

from milepost.errors import ConfigurationError
from milepost.settings import CENTURY, Settings

DURABLE: dict[str, Any] = {
    "acks_late": True,
    "reject_on_worker_lost": True,
    "retry_on_worker_lost": False,
    "track_started": False,
    "Request": "milepost.integrations.watch:DurableRequest",
}
"""What a durable task's class says to Celery; the record tells the rest of the truth."""


def declare_durable(cls: Any) -> None:
    """Give a durable task's class what it did not declare itself, and hold it to what it did.

    Raises:
        ConfigurationError: it declares what does not go together, or no value at all.
    """
    for name, value in DURABLE.items():
        if name not in cls.__dict__:
            setattr(cls, name, value)
    if cls.on_soft_time_limit not in ("fail", "continue"):
        raise ConfigurationError(
            f"{cls.__name__}: on_soft_time_limit={cls.on_soft_time_limit!r}: 'fail' or 'continue'"
        )
    for name in ("lease_seconds", "checkpoint_every"):
        _check_number(cls, name, (int, float), "a number of seconds above 0", above=0)
    _check_number(cls, "max_crashes", int, "a whole number from 0", above=-1)
    _check_delivery(cls, cls.__name__)


def check_deliveries(app: Any) -> None:
    """Refuse to start a worker whose configuration has undone what durable tasks declare.

    Celery would record a failure where a process dies, while the job goes on.

    Raises:
        ConfigurationError: a durable task's messages do not come back, by ``task_annotations``.
    """
    for task in app.tasks.values():
        if getattr(task, "durable", False):
            _check_delivery(task, f"task {task.name!r} (by task_annotations?)")


def _check_delivery(task: Any, called: str) -> None:
    for name in ("acks_late", "reject_on_worker_lost"):
        if not getattr(task, name):
            raise ConfigurationError(
                f"{called}: {name}=False contradicts durable=True: a durable task's message "
                "is acknowledged when the job has ended, and comes back when its worker dies"
            )


def _check_number(cls: Any, name: str, kind: Any, what: str, *, above: float) -> None:
    value = getattr(cls, name)
    if value is None:
        return
    if not isinstance(value, kind) or isinstance(value, bool) or not above < value <= CENTURY:
        raise ConfigurationError(f"{cls.__name__}: {name}={value!r}: {what}")


def check_leases(app: Any, settings: Settings) -> None:
    """Refuse to start a worker that would not renew a task's leases in time.

    Raises:
        ConfigurationError: a task's lease leaves no room for one missed renewal.
    """
    for task in app.tasks.values():
        lease = getattr(task, "durable", False) and task.lease_seconds
        if lease and lease < 2 * settings.renew_seconds:
            raise ConfigurationError(
                f"task {task.name!r}: lease_seconds={lease} leaves no room for one missed renewal: "
                f"its workers renew every renew_seconds={settings.renew_seconds}. Make the lease "
                "at least twice as long, or renew more often"
            )


def check_guards(cls: Any) -> None:
    """Hold the guards of a task's class to what a guard is.

    Raises:
        ConfigurationError: one of them is none, or the task is not durable.
    """
    declared = (guard for guard in cls.guards if not isinstance(guard, str))
    wrong = [guard for guard in declared if not callable(getattr(guard, "build", None))]
    if wrong:
        raise ConfigurationError(
            f"{cls.__name__}: guards = (…, {wrong[0]!r}): declare them with Rate(…) and "
            "Breaker(…) of milepost.guards.declared, which find their store later, or name "
            "one that a plugin brings"
        )
    if not cls.durable:
        raise ConfigurationError(
            f"{cls.__name__}: guards= is for durable tasks: a job that is held back has to come "
            "again, and only a recorded one does"
        )
