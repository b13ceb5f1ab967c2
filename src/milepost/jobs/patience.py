"""Doing what may hang, but not waiting for it for ever."""

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("milepost")

PATIENCE = 5.0
"""Seconds a control act waits for Celery's broker and result backend.

Their clients wait without end for a peer that accepts connections and never answers."""


def attempt(
    what: str,
    work: Callable[[], None],
    seconds: float = PATIENCE,
    given_up: threading.Event | None = None,
) -> bool:
    """Do something whose failure somebody else makes good, and wait for it for a while.

    Args:
        what: what is being done, for the log.
        work: does it, in a thread of its own, which a peer that never answers keeps.
        seconds: how long to wait.
        given_up: is set when nobody waits any longer, for work that is to do nothing then.

    Returns:
        Whether it was done in time; if not, the log says why, and it may still be done.
    """
    done = threading.Event()
    problems: list[str] = []

    def run() -> None:
        try:
            work()
        except Exception as exc:  # of any broker or backend
            problems.append(repr(exc))
        finally:
            done.set()

    threading.Thread(target=run, name="milepost-control", daemon=True).start()
    if not done.wait(seconds):
        if given_up is not None:
            given_up.set()
        problems.append(f"no answer within {seconds:g} s")
    for problem in problems:
        logger.warning("%s: %s", what, problem)
    return not problems
