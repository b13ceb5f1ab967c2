"""The bundle that is handed down whole: everything an attempt may need from outside."""

from dataclasses import dataclass, field, replace
from typing import Any

from milepost import codecs, security
from milepost.clock import Clock
from milepost.codec import Codec
from milepost.errors import ConfigurationError, NoKeysError
from milepost.model import Job
from milepost.observer import Emitter
from milepost.plugins import NO_PLUGINS, Plugins
from milepost.settings import Settings
from milepost.store import Store


@dataclass(frozen=True, slots=True)
class Runtime:
    """One application's milepost, as the floors below ``app`` see it.

    Attributes:
        gates: guards that tasks have made before what they call, by what each is declared
            as; gone with the application, or with the eager call, whose store they ask.
    """

    settings: Settings
    store: Store
    codec: Codec
    clock: Clock
    emit: Emitter
    permissions: "security.Permissions" = field(default_factory=lambda: security.ALL_ALLOWED)
    plugins: Plugins = NO_PLUGINS
    cipher: "codecs.Cipher | None" = None
    gates: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)


ATTRIBUTE = "milepost_runtime"
"""Where a Celery app keeps what makes its runtime: on itself, so that two apps share none."""


def attached(app: Any, attribute: str) -> Any:
    """Return what ``Milepost(app)`` has put on a Celery app.

    Raises:
        ConfigurationError: the app has no milepost.
    """
    found = getattr(app, attribute, None)
    if found is None:
        raise ConfigurationError(
            f"the Celery app {app.main!r} has no milepost: "
            "write `milepost = Milepost(app)` next to where the app is made"
        )
    return found


def runtime_of(app: Any) -> Runtime:
    """Return the runtime that ``Milepost(app)`` attached to a Celery app.

    Raises:
        ConfigurationError: nobody did.
    """
    runtime: Runtime = attached(app, ATTRIBUTE)()
    return runtime


ROUTING = "milepost_routing"
"""Where a Celery app keeps what makes its routing."""
OVERSEER = "milepost_overseer"
"""Where it keeps what makes the overseer of its move, which is None where it makes none."""
CIPHER = "milepost_cipher"
"""Where a Celery app keeps what makes its cipher, which works without a store too."""


def cipher_of(app: Any) -> "codecs.Cipher":
    """Return what encrypts for a Celery app.

    Raises:
        NoKeysError: its milepost was given no keys.
    """
    provide = getattr(app, CIPHER, None)
    cipher: codecs.Cipher | None = None if provide is None else provide()
    if cipher is None:
        raise NoKeysError(f"the Celery app {app.main!r}")
    return cipher


def runtime_for(task: Any, job: Job | None = None) -> Runtime:
    """Return the runtime of a task's app, as the task has it: with a codec of its own, say.

    Args:
        task: which task.
        job: the job that is to be written to; None: the one that runs here, if one does.

    Raises:
        ConfigurationError: as for :func:`runtime_of`.
    """
    runtime = runtime_of(task.app)
    codec = getattr(task, "codec", None)
    if codec is not None:
        runtime = replace(runtime, codec=codec)
    adapt = getattr(task, "milepost_adapt", None)
    return runtime if adapt is None else adapt(runtime, job)
