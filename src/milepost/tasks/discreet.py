"""What surrounds an encrypted task in its worker, and must not be told too much."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from milepost.codec import Codec
from milepost.errors import EncodeError
from milepost.events import Event, JobSettled
from milepost.observer import Emitter


class DiscreetCodec:
    """A codec whose errors say nothing of the value but its type: they are logged.

    Args:
        inner: the codec that does the work.
    """

    def __init__(self, inner: Codec) -> None:
        self._encode = inner.encode
        self.decode = inner.decode

    def encode(self, value: Any) -> bytes:
        """Return *value* as bytes; see :meth:`milepost.codec.Codec.encode`."""
        try:
            return self._encode(value)
        except EncodeError as exc:
            problem = exc.problem
        raise EncodeError("$", problem)


class DiscreetEmitter(Emitter):
    """Tells observers what they may know of an encrypted task.

    Args:
        inner: tells the application's observers.
        told: what they may be told of a reason.
    """

    def __init__(self, inner: Emitter, told: Callable[[str], str]) -> None:
        super().__init__((inner,) if inner else ())
        self._told = told

    def __call__(self, event: Event) -> None:
        """Tell *event*, without what a user may have written."""
        if isinstance(event, JobSettled) and event.reason:
            event = replace(event, reason=self._told(event.reason))
        super().__call__(event)


def told(app: Any, task: str, words: str) -> str:
    """Return what others than the record of a job may be told of a reason.

    Args:
        app: the Celery app.
        task: the name of the job's task.
        words: the reason, behind words of milepost's own or the name of a class, and a colon.
    """
    tell = getattr(app.tasks.get(task), "milepost_told", None)
    return words if tell is None else str(tell(words))
