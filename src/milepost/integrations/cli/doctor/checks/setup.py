"""Checks of what the project itself says: its app, its settings, its tasks."""

from collections.abc import Iterator

from milepost.integrations.cli.doctor.facts import Facts
from milepost.integrations.cli.doctor.finding import Finding, error, note, some, warning

SLOW = 30.0
"""Seconds a caller may hang on a dead peer before that counts as a fault."""


def milepost_is_there(facts: Facts) -> Iterator[Finding]:
    """An app without milepost runs nothing durably."""
    if facts.here.problem is not None:
        yield error(
            "no-milepost",
            facts.here.problem,
            "Without a milepost and its store no job is recorded, and none survives its worker.",
            "Write `milepost = Milepost(app)` next to where the app is made.",
        )


def tasks_are_not_eager(facts: Facts) -> Iterator[Finding]:
    """An eager task leaves no record."""
    if facts.conf.always_eager:
        yield error(
            "always-eager",
            "task_always_eager is set",
            "Tasks run in the process that calls them, leave no job and survive nothing.",
            "Set it in tests only.",
        )


def late_tasks_are_durable(facts: Facts) -> Iterator[Finding]:
    """A task that is acknowledged late, but not durable, begins anew after a crash."""
    late = [task.name for task in facts.tasks if task.acks_late and not task.durable]
    if late:
        whole = " (task_acks_late is set for the whole app)" if facts.conf.acks_late else ""
        yield warning(
            "late-not-durable",
            f"acks_late without durable{whole}: {some(late)}",
            "After a crash such a task starts again at its first item.",
            "Give those that take long base=CheckpointableTask.",
        )


def rejecting_tasks_are_durable(facts: Facts) -> Iterator[Finding]:
    """A task that comes back after it killed its process, and counts nothing, comes for ever."""
    names = [t.name for t in facts.tasks if t.reject_on_worker_lost and not t.durable]
    if names:
        yield warning(
            "reject-not-durable",
            f"reject_on_worker_lost without durable: {some(names)}",
            "A task that kills its own process is delivered again without end.",
            "Make them durable: max_crashes ends that.",
        )


def durable_tasks_are_whole(facts: Facts) -> Iterator[Finding]:
    """A durable task has attributes that recovery stands on."""
    for task in facts.tasks:
        if task.contradictions:
            yield error(
                "durable-contradiction",
                f"{task.name} is durable and has {', '.join(task.contradictions)}",
                "Recovery after a crash rests on the attributes that durable tasks bring.",
                "Take these off the task, its base and task_annotations.",
            )


def plain_tasks_fit_the_broker(facts: Facts) -> Iterator[Finding]:
    """A Redis broker hands out again what is not acknowledged in time."""
    conf, jobs = facts.conf, facts.jobs
    if conf.broker != "redis":
        return
    plain = [task.name for task in facts.tasks if task.acks_late and not task.durable]
    limit = conf.visibility_timeout
    renewed = (
        "milepost renews the messages of durable tasks while their workers live; nobody renews "
        "those of other late tasks, nor of any with an ETA or countdown beyond it."
    )
    if plain:
        yield warning(
            "visibility-timeout",
            f"visibility_timeout is {limit:,.0f} s, and not durable but late are {some(plain)}",
            f"A run that takes longer is run twice at the same time: {renewed}",
            "Make them durable, or set broker_transport_options visibility_timeout above the "
            "longest run.",
        )
    elif jobs is not None and jobs.longest is not None and jobs.longest[1] > limit:
        yield note(
            "visibility-timeout",
            f"visibility_timeout is {limit:,.0f} s; job {jobs.longest[0]} runs for "
            f"{jobs.longest[1]:,.0f} s",
            f"That is fine: {renewed}",
            "Nothing, as long as each worker has a keeper.",
        )


def callers_do_not_hang(facts: Facts) -> Iterator[Finding]:
    """A peer that is frozen, not dead, holds callers up for as long as their sockets wait."""
    conf = facts.conf
    if conf.broker == "redis" and _is_slow(conf.broker_timeout):
        yield warning(
            "broker-timeout",
            f"the broker's sockets wait {_seconds(conf.broker_timeout)}",
            "A broker that takes connections but does not answer holds every caller that long.",
            "broker_transport_options: socket_timeout and socket_connect_timeout, some seconds.",
        )
    if conf.redis_backend and _is_slow(conf.backend_timeout):
        yield warning(
            "backend-timeout",
            f"the result backend's sockets wait {_seconds(conf.backend_timeout)}",
            "A result backend that does not answer holds callers and workers that long.",
            "redis_socket_timeout and redis_socket_connect_timeout, some seconds.",
        )


def celery_6_is_expected(facts: Facts) -> Iterator[Finding]:
    """Celery 6 turns defaults round and stops reading some names."""
    conf = facts.conf
    if "settings" in facts.gaps:
        return
    if "worker_cancel_long_running_tasks_on_connection_loss" not in conf.explicit:
        yield note(
            "celery-6-connection-loss",
            "worker_cancel_long_running_tasks_on_connection_loss is not set",
            "Celery 6 turns it on: a lost broker connection then ends running late tasks. "
            "Durable ones go on from their checkpoint, others begin anew.",
            "Set it, to True or False.",
        )
    if (
        "broker_connection_retry_on_startup" not in conf.explicit
        and "broker_connection_retry" in conf.explicit
        and not conf.retries_connection
    ):
        yield note(
            "celery-6-retry-on-startup",
            "broker_connection_retry=False, and broker_connection_retry_on_startup is not set",
            "In Celery 6 the first no longer counts when a worker starts: it will wait for "
            "the broker.",
            "Set broker_connection_retry_on_startup=False as well.",
        )
    if "task_acks_on_failure_or_timeout" in conf.explicit:
        yield note(
            "celery-6-acks-on-failure",
            "task_acks_on_failure_or_timeout is set",
            "Deprecated in Celery 6, gone in 7.",
            "Set task_acks_on_failure and task_acks_on_timeout.",
        )
    if conf.deprecated:
        yield note(
            "celery-6-setting-names",
            f"settings under their old names: {some(conf.deprecated)}",
            "Celery 6 no longer reads them.",
            "celery upgrade settings path/to/settings.py",
        )
    routed = [f"{task.name} ({', '.join(task.routing)})" for task in facts.tasks if task.routing]
    if routed:
        yield note(
            "celery-6-task-routing",
            f"tasks that name their own queue or route: {some(routed)}",
            "Celery 6 ignores these attributes: the tasks would go to the default queue.",
            "Say it in task_routes.",
        )


def _is_slow(timeout: float | None) -> bool:
    return timeout is None or timeout > SLOW


def _seconds(timeout: float | None) -> str:
    return "for ever" if timeout is None else f"{timeout:g} s"


CHECKS = (
    *(milepost_is_there, tasks_are_not_eager, durable_tasks_are_whole, late_tasks_are_durable),
    *(rejecting_tasks_are_durable, plain_tasks_fit_the_broker, callers_do_not_hang),
    celery_6_is_expected,
)
