"""Sending that fails soon: settings for processes where somebody waits, and one clear error."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.exceptions import OperationalError

from milepost.errors import BrokerUnavailableError

RETRY_LIMIT = "Retry limit exceeded"
"""What the RuntimeError says with which Celery gives up on its result backend."""


def fast_fail(seconds: float = 0.8) -> dict[str, Any]:
    """Return settings of Celery's with which a dead or frozen server is an error soon.

    For web processes: ``app.conf.update(fast_fail())``. Workers are better off with Celery's
    own patience. What a setting holds already is replaced, not joined.

    Args:
        seconds: how long one answer may take; a send waits for at most two.
    """
    sockets = {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry_on_timeout": False,
        "max_retries": 0,
    }
    return {
        "broker_connection_timeout": seconds,
        "broker_transport_options": sockets,
        "task_publish_retry": False,
        "redis_socket_timeout": seconds,
        "redis_socket_connect_timeout": seconds,
        "redis_retry_on_timeout": False,
        "result_backend_transport_options": {
            "retry_policy": {"max_retries": 0, "timeout": seconds}
        },
        "milepost_store_timeout": seconds,
    }


@contextmanager
def broker_errors_as_one(app: Any, job_id: str) -> Iterator[None]:
    """Turn whatever a driver says when it cannot send into one error.

    Raises:
        BrokerUnavailableError: and what the driver said.
    """
    try:
        yield
    except Exception as exc:
        if not _is_about_the_broker(app, exc):
            raise
        said = " ".join(f"{type(exc).__name__}: {exc}".split())
        raise BrokerUnavailableError(job_id, said) from exc


def _is_about_the_broker(app: Any, exc: Exception) -> bool:
    if isinstance(exc, OperationalError | OSError):
        return True
    if isinstance(exc, RuntimeError) and RETRY_LIMIT in f"{exc}":
        return True
    connection = app.connection_for_write()
    if isinstance(exc, connection.connection_errors + connection.channel_errors):
        return True
    return isinstance(exc, getattr(app.backend, "connection_errors", ()))
