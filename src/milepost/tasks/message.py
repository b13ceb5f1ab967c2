"""The message of a job as the record keeps it: a Celery signature in bytes, and back."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from celery.canvas import Signature
from celery.utils.time import maybe_iso8601
from kombu import Queue, serialization
from kombu.exceptions import KombuError

from milepost.errors import ConfigurationError, EncodeError
from milepost.runtime import runtime_of
from milepost.security.serializers import is_pickle
from milepost.tasks.departures import sealed_arguments, sealed_followers

FINISH_HEADER = "milepost_finish"
"""Marks a delivery whose body has already run: only callbacks and result may be missing."""

ONLY_FOR_THIS_SEND = frozenset(
    {"producer", "connection", "publisher", "retry", "retry_policy", "add_to_parent", "result_cls"}
    | {"countdown", "eta", "task_type", "compression"}
)
"""Options of ``apply_async`` that mean nothing in another process at another time."""


def pack(signature: Mapping[str, Any], serializer: str | None) -> bytes:
    """Return a signature as bytes, with the name of what can read them.

    Raises:
        EncodeError: the task's own serializer cannot take an argument or an option.
    """
    try:
        dumped: tuple[str, str, str | bytes] = serialization.dumps(
            dict(signature), serializer or "json"
        )
    except (KombuError, TypeError, ValueError) as exc:
        raise EncodeError("$", f"the arguments or options of the message: {exc}") from exc
    kind, encoding, body = dumped
    return f"{kind} {encoding}\n".encode() + (body.encode() if isinstance(body, str) else body)


def unpack(message: bytes, app: Any) -> Signature[Any]:
    """Return the signature that :func:`pack` made *message* from, bound to *app*.

    Raises:
        ConfigurationError: it is pickled, and the app does not allow that: whoever can write
            to the store could else run code here.
    """
    head, _, body = message.partition(b"\n")
    kind, encoding = head.decode().split(" ", 1)
    _refuse_pickle(kind, lambda: may_pickle(app))
    data = serialization.loads(body, kind, encoding, accept={kind})
    signature: Signature[Any] = Signature.from_dict(data, app=app)
    return signature


def may_pickle(app: Any) -> bool:
    """Whether an app may read, and send, what is pickled."""
    return runtime_of(app).settings.allow_pickle


def _refuse_pickle(serializer: str | None, is_allowed: Callable[[], bool]) -> None:
    if is_pickle(serializer) and not is_allowed():
        raise ConfigurationError(
            "a job's message is pickled: use JSON, or Milepost(app, allow_pickle=True) where "
            "nobody else can write to the broker and the store"
        )


def rewritten(message: bytes, change: Callable[[Any], Any], *, allow_pickle: bool) -> bytes:
    """Return a message with its signature changed, in the same serialization.

    Raises:
        ConfigurationError: it is pickled, and that is not allowed.
    """
    head, _, body = message.partition(b"\n")
    kind, encoding = head.decode().split(" ", 1)
    _refuse_pickle(kind, lambda: allow_pickle)
    data = serialization.loads(body, kind, encoding, accept={kind})
    return pack(change(data), serialization.registry.type_to_name[kind])  # type: ignore[attr-defined]


def from_call(task: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> bytes:
    """Return the message of a job about to be sent by ``apply_async``.

    Raises:
        ConfigurationError: it would be pickled, and the app does not allow that.
    """
    serializer = options.get("serializer") or task.serializer
    _refuse_pickle(serializer, lambda: may_pickle(task.app))
    kept = {
        name: value.name if isinstance(value, Queue) else value
        for name, value in options.items()
        if name not in ONLY_FOR_THIS_SEND and value is not None
    }
    if not kept.get("ignore_result", task.ignore_result) and is_reply(task.backend):
        kept.setdefault("reply_to", task.app.thread_oid)  # Celery's own choice, when it is sent
    expires = kept.get("expires")
    if isinstance(expires, int | float):
        kept["expires"] = task.app.now() + timedelta(seconds=expires)
    args, kwargs = sealed_arguments(task.app, task.name, tuple(args or ()), dict(kwargs or {}))
    signature = task.signature(tuple(args), kwargs, **sealed_followers(task.app, kept))
    return pack(signature, options.get("serializer") or task.serializer)


def is_reply(backend: Any) -> bool:
    """Whether a result backend sends each result to its caller, and keeps none: ``rpc://``."""
    return hasattr(backend, "oid")  # the name of a caller's own queue


def from_request(task: Any, request: Any) -> bytes:
    """Return the message of a job that has started: it can no longer expire."""
    # As it came: what is in the clear there must not become ciphertext by being recorded.
    return _kept(task, dict(task.signature_from_request(request)))


def from_signature(task: Any, signature: Signature[Any]) -> bytes:
    """Return the message of a signature that ``retry`` has made."""
    data = dict(signature)
    if not task.milepost_is_encrypted:
        job_id = data["options"]["task_id"]
        data["args"], data["kwargs"] = task.milepost_outgoing(data["args"], data["kwargs"], job_id)
    return _kept(task, data)


def _kept(task: Any, data: Mapping[str, Any]) -> bytes:
    args, kwargs = sealed_arguments(task.app, task.name, data["args"], data["kwargs"])
    options = {
        name: value
        for name, value in data["options"].items()
        if name not in ONLY_FOR_THIS_SEND and name != "expires"
    }
    options = sealed_followers(task.app, options)
    return pack({**data, "args": args, "kwargs": kwargs, "options": options}, task.serializer)


def seconds_until(app: Any, countdown: float | None, eta: datetime | str | None) -> float:
    """Return in how many seconds a message with these options should start."""
    if countdown is not None:
        return max(float(countdown), 0.0)
    eta = maybe_iso8601(eta)  # Celery takes one that is written out, too
    if eta is None:
        return 0.0
    if eta.tzinfo is None:
        eta = eta.replace(tzinfo=app.timezone)
    return max(float((eta - app.now()).total_seconds()), 0.0)
