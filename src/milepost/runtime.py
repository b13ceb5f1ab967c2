"""The bundle that is handed down whole: everything an attempt may need from outside."""

from dataclasses import dataclass, replace
from typing import Any

from milepost.clock import Clock
from milepost.codec import Codec
from milepost.errors import ConfigurationError
from milepost.observer import Emitter
from milepost.plugins import NO_PLUGINS, Plugins
from milepost.security.permissions import ALL_ALLOWED, Permissions
from milepost.settings import Settings
from milepost.store import Store


@dataclass(frozen=True, slots=True)
class Runtime:
    """One application's milepost, as the floors below ``app`` see it."""

    settings: Settings
    store: Store
    codec: Codec
    clock: Clock
    emit: Emitter
    permissions: Permissions = ALL_ALLOWED
    plugins: Plugins = NO_PLUGINS


ATTRIBUTE = "milepost_runtime"
"""Where a Celery app keeps what makes its runtime: on itself, so that two apps share none."""


def runtime_of(app: Any) -> Runtime:
    """Return the runtime that ``Milepost(app)`` attached to a Celery app.

    Raises:
        ConfigurationError: nobody did.
    """
    provide = getattr(app, ATTRIBUTE, None)
    if provide is None:
        raise ConfigurationError(
            f"the Celery app {app.main!r} has a durable task but no milepost: "
            "write `milepost = Milepost(app)` next to where the app is made"
        )
    runtime: Runtime = provide()
    return runtime


def runtime_for(task: Any) -> Runtime:
    """Return the runtime of a task's app, with the codec that the task may have of its own.

    Raises:
        ConfigurationError: as for :func:`runtime_of`.
    """
    runtime = runtime_of(task.app)
    codec = getattr(task, "codec", None)
    return runtime if codec is None else replace(runtime, codec=codec)
