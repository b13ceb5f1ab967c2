"""The socket for observers: they are told facts and can stop nothing."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeAlias

from milepost import events

Observer: TypeAlias = Callable[["events.Event"], None]
"""Called with each event, in the thread where it happened. Must be quick and thread-safe."""

logger = logging.getLogger("milepost")


class Emitter:
    """Tells every observer; a failing one is logged and cannot stop a job."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def __call__(self, event: "events.Event") -> None:
        """Tell *event* to each observer."""
        for observer in self._observers:
            try:
                observer(event)
            except Exception:  # a job must not die of its monitoring
                logger.exception("observer %r failed on %r", observer, event)

    def __bool__(self) -> bool:
        return bool(self._observers)
