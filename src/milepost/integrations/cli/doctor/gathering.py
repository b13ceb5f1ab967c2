"""Gathers the facts that the doctor judges; what cannot be had in time is a gap, never a hang."""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

import celery
from celery.app.control import flatten_reply

from milepost._version import __version__
from milepost.errors import MilepostError
from milepost.integrations.cli.bounded import together
from milepost.integrations.cli.doctor.facts import Facts, Here, JobFacts, Server, WorkerFacts
from milepost.integrations.cli.doctor.project import conf_of, tasks_of
from milepost.integrations.cli.doctor.servers import broker_server, connect, one_each, store_server
from milepost.integrations.cli.screen import without_secrets
from milepost.integrations.inspection import COMMAND
from milepost.jobs import CeleryJobManager
from milepost.jobs.queues import queue_of
from milepost.jobs.report import is_stalled
from milepost.model import Job, JobStatus
from milepost.runtime import ATTRIBUTE, runtime_of
from milepost.tasks import message

LIMIT = 15.0
"""Seconds after which the doctor judges what it has."""
LOOKED_AT = 2000
"""Live jobs, and as many failed ones, that are looked at."""
CRASHED = "CrashLimitError"
PARKED = "needs-migration"
LIVE = tuple(status for status in JobStatus if not status.is_terminal)
WAITING = frozenset({JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.INTERRUPTED})


def gather(app: Any, jobs: CeleryJobManager, timeout: float) -> Facts:
    """Return all facts about an app and what is around it.

    Args:
        app: the Celery app.
        jobs: its jobs.
        timeout: seconds to wait for the workers' answers.
    """
    here = here_of(app)
    asked: dict[str, Callable[[], Any]] = {
        "settings": lambda: conf_of(app),
        "workers": lambda: ask_workers(app, timeout),
        "the broker's Redis": lambda: broker_server(app),
    }
    if here.store is not None:
        asked["jobs"] = lambda: look_at_jobs(app, jobs)
        asked["the store's Redis"] = lambda: store_server(app)
    got, gaps = together(asked, LIMIT)
    servers: list[Server] = [
        got[name]
        for name in ("the broker's Redis", "the store's Redis")
        if got.get(name) is not None
    ]
    facts = Facts(
        here=here,
        tasks=tasks_of(app),
        servers=one_each(servers),
        workers=got.get("workers"),
        jobs=got.get("jobs"),
        gaps=gaps,
    )
    return replace(facts, conf=got["settings"]) if "settings" in got else facts


def here_of(app: Any) -> Here:
    """Return what this process is."""
    here = Here(__version__, celery.__version__, socket.gethostname(), os.getpid())
    if getattr(app, ATTRIBUTE, None) is None:
        return replace(here, problem=f"the Celery app {app.main!r} has no milepost")
    try:
        runtime = runtime_of(app)
    except MilepostError as exc:
        return replace(here, problem=without_secrets(exc))
    return replace(here, store=runtime.store.name, namespace=runtime.settings.namespace)


# -- the workers -----------------------------------------------------------------------------


def ask_workers(app: Any, timeout: float) -> tuple[WorkerFacts, ...]:
    """Return the workers that answer a ping, with what they say of themselves."""
    with connect(app) as connection:
        ask = partial(app.control.broadcast, reply=True, timeout=timeout, connection=connection)
        names = sorted(flatten_reply(ask("ping") or []))
        if not names:
            return ()
        # Those that are there are known now, so that nobody has to wait the time out again.
        ask = partial(ask, destination=names, limit=len(names))
        queues = flatten_reply(ask("active_queues") or [])
        before = time.time()
        replies = flatten_reply(ask(COMMAND) or [])
        return tuple(
            worker_of(name, queues.get(name), replies.get(name), before, time.time())
            for name in names
        )


def worker_of(name: str, queues: Any, reply: Any, before: float, after: float) -> WorkerFacts:
    """Return what a worker has said.

    Args:
        name: of the worker.
        queues: its answer to ``active_queues``, or None.
        reply: its answer to milepost's command, or None.
        before: when that was asked.
        after: when it had been answered.
    """
    names = None if not isinstance(queues, list) else tuple(str(one["name"]) for one in queues)
    if not isinstance(reply, dict) or "milepost" not in reply:
        return WorkerFacts(name, names)
    return WorkerFacts(
        name,
        names,
        answers=True,
        version=str(reply["milepost"]),
        celery=str(reply["celery"]),
        host=str(reply["host"]),
        pid=int(reply["pid"]),
        store=str(reply["store"]),
        namespace=str(reply["namespace"]),
        skew=skew_of(float(reply["time"]), before, after),
        draining=bool(reply["draining"]),
        keeper=bool(reply["keeper"]),
    )


def skew_of(clock: float, before: float, after: float) -> float:
    """Return by how much a clock is ahead that was read at some moment between two others."""
    return clock - max(before, min(clock, after))


# -- the jobs --------------------------------------------------------------------------------


def look_at_jobs(app: Any, jobs: CeleryJobManager) -> JobFacts:
    """Return what is on record, as far as it is looked at."""
    before = time.time()
    newest = jobs.find(limit=1).jobs
    after = time.time()
    live = list(islice(jobs.find_all(status=LIVE, limit=500), LOOKED_AT + 1))
    failed = list(islice(jobs.find_all(status=JobStatus.FAILED, limit=500), LOOKED_AT + 1))
    running = {job.id: age_of(job) for job in live if job.status is JobStatus.RUNNING}
    chords = {job.id: job.read_at - job.created_at for job in live if is_in_chord(app, job)}
    stalled_after = runtime_of(app).settings.stalled_after
    return JobFacts(
        longest=_most(running),
        waiting=waiting_in_queues(app, live),
        chord=_most(chords),
        stalled=tuple(job.id for job in live if is_stalled(job, stalled_after)),
        parked=tuple(job.id for job in live if (job.reason or "").startswith(PARKED)),
        crashed=tuple(job.id for job in failed if (job.error or "").startswith(CRASHED)),
        strangers=Counter(job.task for job in live if job.message and job.task not in app.tasks),
        skew=skew_of(newest[0].read_at, before, after) if newest else None,
        cut=max(len(live), len(failed)) > LOOKED_AT,
    )


def age_of(job: Job) -> float:
    """Return for how many seconds a job's attempt has run."""
    return job.read_at - (job.begun_at or job.started_at or job.read_at)


def waiting_in_queues(app: Any, jobs: list[Job]) -> dict[str, int]:
    """Return how many of some jobs wait in each queue."""
    counts: dict[str, int] = {}
    for job in jobs:
        if job.status in WAITING:
            for name in readable(partial(queue_of, app, job)):
                counts[name] = counts.get(name, 0) + 1
    return counts


def is_in_chord(app: Any, job: Job) -> bool:
    """Whether a chord waits for a job, or for what follows it in its chain."""
    for signature in readable(partial(message.unpack, job.message, app)):
        parts = (signature, *(signature.options.get("chain") or ()))
        return any((part.get("options") or {}).get("chord") for part in parts)
    return False


def readable(read: Callable[[], Any]) -> Iterator[Any]:
    """Yield what was read of a stored message, or nothing if this process cannot read it.

    The project may have moved on since it was sent, and its routes with it.
    """
    try:
        yield read()
    except Exception:  # whatever a serializer or a router of the project's own raises
        return


def _most(numbers: dict[str, float]) -> tuple[str, float] | None:
    return max(numbers.items(), key=lambda one: one[1]) if numbers else None
