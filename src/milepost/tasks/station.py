"""Which run of which worker this process belongs to, and whether that is shutting down.

The worker's main process writes both on its app, where processes that are forked find them, and
into the environment, for those that are spawned.
"""

import os
from collections.abc import Callable
from typing import Any

from milepost import engine

INCARNATION = "milepost_incarnation"
"""App attribute, and in capitals environment variable, that names this run of the worker."""
DRAIN = "milepost_drain"
"""As above: the flag on the app, its path in the environment."""


def announce(app: Any, incarnation: str, flag: "engine.DrainFlag") -> None:
    """Let the processes that a worker is about to start know where they belong."""
    setattr(app, INCARNATION, incarnation)
    setattr(app, DRAIN, flag)
    os.environ[INCARNATION.upper()] = incarnation
    os.environ[DRAIN.upper()] = flag.path


def incarnation_of(app: Any) -> str:
    """Return the run of the worker that this process belongs to."""
    name = getattr(app, INCARNATION, None) or os.environ.get(INCARNATION.upper())
    return name or f"alone-{os.getpid()}"


def drain_of(app: Any) -> Callable[[], bool]:
    """Return what tells whether that worker is shutting down."""
    flag = getattr(app, DRAIN, None)
    if flag is None:
        path = os.environ.get(DRAIN.upper())
        if path is None:
            return engine.never
        try:
            flag = engine.DrainFlag(path)
        except OSError:  # its worker is gone, and so is whoever could set it
            return engine.never
        setattr(app, DRAIN, flag)
    is_set: Callable[[], bool] = flag.is_set
    return is_set
