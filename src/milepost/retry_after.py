"""What a server says with ``Retry-After``: when it wants to be asked again."""

import math
from email.utils import parsedate_to_datetime


def seconds_to_wait(header: str | None, *, now: float, unit: float = 1.0) -> float | None:
    """Return how many seconds a server asks to wait.

    Args:
        header: what it says: a number, or a date.
        now: the moment from which a date counts, in seconds since the epoch.
        unit: seconds that its number counts: 0.001 where it says milliseconds.

    Returns:
        Seconds from 0, or None where it says nothing that can be read.
    """
    text = header or ""
    try:
        seconds = float(text) * unit
    except ValueError:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError):
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
