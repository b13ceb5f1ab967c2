"""What the project itself says: Celery's configuration and the registered tasks."""

from datetime import timedelta
from typing import Any

from celery.app.defaults import DEFAULTS
from celery.backends.base import KeyValueStoreBackend
from kombu.utils.imports import symbol_by_name

from milepost.integrations.cli.doctor.facts import Conf, TaskFacts
from milepost.integrations.watch import DurableRequest
from milepost.tasks.declaring import DURABLE

ROUTING = ("queue", "exchange", "exchange_type", "routing_key", "delivery_mode", "priority")
"""Attributes of a task's class that Celery 5.7 warns of: 6 gives them no effect."""


def conf_of(app: Any) -> Conf:
    """Return what an app's configuration says. Nothing is connected."""
    conf, backend = app.conf, app.backend
    with app.connection_for_write() as connection:
        broker = str(connection.transport.driver_type)
        options = connection.transport_options
    results: Any = getattr(backend, "connparams", None)
    return Conf(
        broker=broker,
        broker_timeout=options.get("socket_timeout"),
        visibility_timeout=float(options.get("visibility_timeout") or 3600.0),
        redis_backend=results is not None,
        backend_timeout=(results or {}).get("socket_timeout"),
        chords_are_tended=isinstance(backend, KeyValueStoreBackend),
        result_expires=_seconds(conf.result_expires),
        explicit=frozenset(filter(conf.value_set_for, DEFAULTS)),
        deprecated=tuple(sorted(_deprecated(conf))),
        acks_late=bool(conf.task_acks_late),
        always_eager=bool(conf.task_always_eager),
        retries_connection=bool(conf.broker_connection_retry),
    )


def _deprecated(conf: Any) -> list[str]:
    """Return the settings under old names, but for those that only look so.

    With a namespace, as in Django's settings, ``CELERY_RESULT_BACKEND`` is the name it should be.
    """
    right = {f"{conf.prefix}{name.upper()}" for name in DEFAULTS if conf.prefix}
    return [name for name in conf.deprecated_settings or () if name not in right]


def tasks_of(app: Any) -> tuple[TaskFacts, ...]:
    """Return the project's own tasks."""
    return tuple(
        task_facts(name, task)
        for name, task in sorted(app.tasks.items())
        if not name.startswith("celery.")
    )


def task_facts(name: str, task: Any) -> TaskFacts:
    """Return what a task says of itself."""
    durable = bool(getattr(task, "durable", False))
    return TaskFacts(
        name,
        durable,
        acks_late=bool(task.acks_late),
        reject_on_worker_lost=bool(task.reject_on_worker_lost),
        contradictions=tuple(_contradictions(task)) if durable else (),
        routing=tuple(name for name in ROUTING if vars(type(task)).get(name) is not None),
    )


def _contradictions(task: Any) -> list[str]:
    """Return the attributes of a durable task that are not what its recovery stands on."""
    found = [
        f"{name}={getattr(task, name)!r}"
        for name, value in DURABLE.items()
        if isinstance(value, bool) and bool(getattr(task, name)) != value
    ]
    request = symbol_by_name(task.Request)
    if not (isinstance(request, type) and issubclass(request, DurableRequest)):
        found.append(f"Request={request!r}")
    return found


def _seconds(length: Any) -> float | None:
    if isinstance(length, timedelta):
        return length.total_seconds()
    return float(length) if length else None
