"""What goes wrong again and again, said when it begins, once a minute, and when it is over."""

import logging
from types import TracebackType

from milepost.clock import Clock
from milepost.errors import StoreError

logger = logging.getLogger("milepost")

NOT_RENEWED = "leases are not renewed"
"""What those say who renew leases, while they cannot."""
AGAIN = 60.0
"""Seconds until an error is said once more that is still raised."""


class Trouble:
    """Catches what something that is done in rounds raises; the next round may go well.

    Args:
        what: what does not happen meanwhile, for the log.
        clock: where to read the time.
        outages: errors that say that a server is away, beside the store's own.
    """

    def __init__(self, what: str, clock: Clock, outages: tuple[type[Exception], ...] = ()) -> None:
        self._what, self._clock = what, clock
        self._outages: tuple[type[Exception], ...] = (StoreError, *outages)
        self._since: float | None = None
        self._said: dict[type[BaseException], float] = {}  # by error, so that none hides another

    @property
    def is_on(self) -> bool:
        """Whether the last round went wrong."""
        return self._since is not None

    def __enter__(self) -> None:
        """Begin a round."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        """End a round, whatever it raised."""
        if exc is None:
            self._end()
        elif not isinstance(exc, Exception):
            return False
        else:
            self._say(exc)
        return True

    def _say(self, exc: Exception) -> None:
        now = self._clock.monotonic()
        if self._since is None:
            self._since = now
        if now - self._said.get(type(exc), float("-inf")) < AGAIN:
            return
        self._said[type(exc)] = now
        lasts = now - self._since
        so_far = f", for {lasts:.0f} s now" if lasts >= 1 else ""
        # What is no outage may be a mistake: it is told with where it was made.
        trace = None if isinstance(exc, self._outages) else exc
        logger.log(
            logging.WARNING if trace is None else logging.ERROR,
            *("%s%s: %s", self._what, so_far, exc),
            exc_info=trace,
        )

    def _end(self) -> None:
        if self._since is None:
            return
        lasted = self._clock.monotonic() - self._since
        logger.info("over after %.0f s: %s", lasted, self._what)
        self._since = None
        self._said.clear()
