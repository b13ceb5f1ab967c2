"""What Celery is told of a job that its own machinery does not end: paused, resumed, cancelled.

A running job is spoken of by its own request; one that waits, by a request made up from its
stored message.
"""

import logging
from collections.abc import Callable
from typing import Any

from celery.app.task import (  # type: ignore[attr-defined]
    Context,
    get_actual_ignore_result,
)
from celery.backends.base import DisabledBackend

from milepost.model import Job
from milepost.tasks import message

logger = logging.getLogger("milepost")

PAUSED, RESUMED = "PAUSED", "RESUMED"
"""States of Celery's kind, which its result backends and monitors show as they are."""


def paused(app: Any, request: Any, reason: str) -> None:
    """Tell Celery that a job waits for somebody's word; whoever waits for it goes on waiting."""
    _store(app, request, PAUSED, reason)
    _send_event(app, request, "task-paused")


def resumed(app: Any, request: Any, is_late: Callable[[], bool] = lambda: False) -> None:
    """Tell Celery that a paused job goes on; if it has an end there by now, that stays.

    Args:
        app: the Celery app.
        request: the job's.
        is_late: whether it is too late to say so: the job may be about to end.
    """
    _store(app, request, RESUMED, None, over=PAUSED, is_late=is_late)
    _send_event(app, request, "task-resumed")


def cancelled(app: Any, request: Any, reason: str) -> None:
    """Tell Celery that a job was cancelled, as it would be told of a revoked task.

    Raises:
        Exception: whatever the result backend raises; Celery does not know of it yet.
    """
    backend = _backend(app, request)
    backend.mark_as_revoked(
        request.id, reason, request=request, store_result=_keeps_result(app, request)
    )
    _send_event(app, request, "task-revoked", terminated=False, signum=None, expired=False)


def forgotten(app: Any, request: Any, is_late: Callable[[], bool] = lambda: False) -> None:
    """Let Celery forget the outcome of a job that is about to run again.

    Args:
        app: the Celery app.
        request: the job's.
        is_late: whether it is too late to forget: the outcome may be that of the new run.
    """
    try:
        if _keeps_result(app, request):
            backend = _backend(app, request)
            if not is_late():
                backend.forget(request.id)
    except Exception as exc:
        logger.warning("job %s: its old result stays in Celery's backend: %r", request.id, exc)


def request_of(app: Any, job: Job) -> Context:
    """Return a request such as a worker would have for a job, from its stored message."""
    signature = message.unpack(job.message, app)
    options = signature.options
    return Context(
        id=job.id,
        task=signature.task,
        args=signature.args,
        kwargs=signature.kwargs,
        retries=job.delivery,
        group=options.get("group_id"),
        errbacks=options.get("link_error"),
        callbacks=options.get("link"),
        **{
            name: options.get(name)
            for name in (
                *("chord", "chain", "group_index", "root_id", "parent_id"),
                *("ignore_result", "reply_to"),
            )
        },
    )


def _task(app: Any, request: Any) -> Any:
    return app.tasks.get(request.task)


def _backend(app: Any, request: Any) -> Any:
    task = _task(app, request)
    return app.backend if task is None else task.backend


def _keeps_result(app: Any, request: Any) -> bool:
    task = _task(app, request)
    ignored = request.ignore_result if task is None else get_actual_ignore_result(task, request)
    return not (ignored or isinstance(_backend(app, request), DisabledBackend))


def _store(
    app: Any,
    request: Any,
    state: str,
    reason: str | None,
    *,
    over: str | None = None,
    is_late: Callable[[], bool] = lambda: False,
) -> None:
    """Let the backend show a state, be it in place of *over* only.

    The record has the truth, so it may fail.
    """
    try:
        if _keeps_result(app, request):
            backend, meta = _backend(app, request), {"reason": reason}
            # One that keeps nothing has no state to ask for: it would open a queue for the answer.
            looks = over is not None and not message.is_reply(backend)
            if looks and backend.get_state(request.id) != over:
                return
            if is_late():
                return
            backend.store_result(request.id, meta, state, request=request)
    except Exception as exc:
        logger.warning("job %s: Celery's backend does not show %s: %r", request.id, state, exc)


def _send_event(app: Any, request: Any, kind: str, **fields: Any) -> None:
    try:
        with app.events.default_dispatcher(hostname=request.hostname) as dispatcher:
            dispatcher.send(kind, uuid=request.id, retry=False, **fields)
    except Exception as exc:
        logger.warning("job %s: the event %s was not sent: %r", request.id, kind, exc)
