"""What a worker says of itself when it is asked: its milepost, its store, its keeper, its clock.

Imported with the keeper, so a worker that does not know the command has no keeper.
"""

import os
import socket
import threading
import time
from typing import Any

import celery
from celery.worker.control import inspect_command

from milepost._version import __version__
from milepost.runtime import runtime_of
from milepost.tasks import station

COMMAND = "milepost"
"""The name of the command: ``celery -A proj inspect milepost``."""
THREADS = ("milepost-lease", "milepost-recovery")
"""The threads of a keeper."""


@inspect_command(name=COMMAND)
def milepost_of_worker(state: Any, **_: Any) -> dict[str, Any]:
    """Say which milepost a worker runs, on which store, and whether its keeper is alive."""
    app = state.app
    runtime = runtime_of(app)
    alive = {thread.name for thread in threading.enumerate() if thread.is_alive()}
    return {
        "milepost": __version__,
        "celery": celery.__version__,
        "incarnation": station.incarnation_of(app),
        "store": runtime.store.name,
        "namespace": runtime.settings.namespace,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "time": time.time(),
        "draining": station.drain_of(app)(),
        "keeper": alive.issuperset(THREADS),
    }
