"""What a worker does beside recovering jobs: none of it is held up because another part fails."""

from collections.abc import Callable
from typing import Any

from milepost import extras
from milepost.clock import Clock
from milepost.engine.trouble import Trouble
from milepost.integrations.chords import Chords
from milepost.integrations.visibility import Visibility
from milepost.integrations.watch import Watch
from milepost.runtime import Runtime
from milepost.tasks.following import AWAY

PURGE_SECONDS = 60.0
"""How often a worker drops records whose retention is over."""
FAILED_SECONDS = 5.0
"""How long a chore waits that failed: a server that does not answer holds each try up."""


def _outages() -> tuple[type[Exception], ...]:
    redis: Any = extras.find("redis")
    return (*AWAY, redis.RedisError) if redis else AWAY


OUTAGES = _outages()
"""What drivers of brokers and result backends raise while a server is away."""


class Chore:
    """One thing to do.

    Args:
        act: what to do.
        trouble: what the log says while it fails.
        clock: where to read the time.
        every: seconds between two times, where the act has no pace of its own.
    """

    def __init__(
        self, act: Callable[[], None], trouble: str, clock: Clock, every: float = 0.0
    ) -> None:
        self._act, self._clock, self._every = act, clock, every
        self._trouble = Trouble(trouble, clock, OUTAGES)
        self._due_at = clock.monotonic()

    def do(self) -> None:
        """Do it if it is due, whatever comes of it."""
        if self._clock.monotonic() < self._due_at:
            return
        with self._trouble:
            self._act()
        wait = FAILED_SECONDS if self._trouble.is_on else self._every
        self._due_at = self._clock.monotonic() + wait


def chores_of(watch: Watch, app: Any, runtime: Runtime) -> tuple[Chore, ...]:
    """Return the chores of a worker.

    Args:
        watch: the worker's.
        app: the Celery app.
        runtime: the application's.
    """
    visibility, clock = Visibility(app), runtime.clock
    return (
        Chore(Chords(app, runtime).tend, "chords that wait are not kept from expiring", clock),
        Chore(watch.keeper.purge, "old records are not dropped", clock, PURGE_SECONDS),
        Chore(
            lambda: visibility.renew(watch.delivery_tags),
            "the broker may hand out again what this worker has",
            clock,
        ),
    )
