"""What the broker and the workers know of the queue that a job waits in."""

from collections.abc import Iterable
from typing import Any

from milepost.errors import ConfigurationError
from milepost.jobs.explain import Consumers
from milepost.jobs.patience import PATIENCE, attempt
from milepost.model import Job
from milepost.tasks import message
from milepost.tasks.base import BaseTask


def queue_of(app: Any, job: Job) -> str:
    """Return the name of the queue that a job's message goes to."""
    signature = message.unpack(job.message, app)
    route = app.amqp.router.route(dict(signature.options), signature.task)
    return str(getattr(route["queue"], "name", route["queue"]))


def payload_of(app: Any, job: Job) -> dict[str, Any]:
    """Return the keyword arguments that a job's task is called with, readable.

    Raises:
        ConfigurationError: it is called with positional ones, which no other system knows.
        NoKeysError: they are encrypted, and this process has no keys.
        EncryptedDataError: they are encrypted, and the key is not here.
    """
    signature = message.unpack(job.message, app)
    task = app.tasks.get(signature.task)
    args, kwargs = signature.args, signature.kwargs
    if isinstance(task, BaseTask):
        args, kwargs = task.milepost_incoming(args, kwargs, job.id)
    if args:
        raise ConfigurationError(
            f"job {job.id!r} was sent with positional arguments; only keyword arguments can be "
            "handed to another system"
        )
    return dict(kwargs)


def waiting_in(app: Any, queue: str) -> int | None:
    """Return how many messages wait in a queue; 0 if there is no such queue."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        if connection.transport.driver_type == "redis":
            return int(channel._size(queue))  # declaring it forgets the prefix of keys
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except connection.channel_errors:
            return 0


def consumers_for(app: Any, job: Job, timeout: float) -> Consumers:
    """Ask the workers who consumes a job's queue.

    Args:
        app: the Celery app.
        job: the job's record.
        timeout: seconds to wait for answers.
    """
    queue = queue_of(app, job)
    heard: dict[str, Any] = {}

    def ask() -> None:
        heard["waiting"] = waiting_in(app, queue)
        answers = app.control.inspect(timeout=timeout).active_queues()
        if answers is None:
            return
        heard["workers"] = workers = sorted(
            worker
            for worker, queues in answers.items()
            if any(one.get("name") == queue for one in queues)
        )
        if workers:  # these answer, and all of them at once
            heard["tasks"] = app.control.inspect(workers, timeout=timeout).registered()

    attempt(f"job {job.id}: ask who consumes its queue", ask, 2 * timeout + PATIENCE)
    workers = heard.get("workers")
    if workers is None:
        return Consumers(queue, None, heard.get("waiting"))
    without = (one for one, tasks in (heard.get("tasks") or {}).items() if not _has(tasks, job))
    return Consumers(queue, tuple(workers), heard["waiting"], tuple(sorted(without)))


def _has(tasks: Iterable[str], job: Job) -> bool:
    """Whether a job's task is among those of a worker, which adds facts in brackets to some."""
    return any(task.partition(" [")[0] == job.task for task in tasks)
