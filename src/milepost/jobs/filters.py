"""What people write to say which jobs they mean, read into a query's values."""

import math
import time
from collections.abc import Iterable
from datetime import datetime, timedelta

from milepost.errors import ConfigurationError
from milepost.model import JobStatus

Statuses = str | JobStatus | Iterable[str | JobStatus] | None
Since = float | datetime | timedelta | None


def statuses_of(status: Statuses) -> frozenset[JobStatus]:
    """Return the statuses that are meant; none means all.

    Raises:
        ConfigurationError: one does not exist.
    """
    given = (status,) if isinstance(status, str) else tuple(status or ())
    try:
        return frozenset(JobStatus(one) for one in given)
    except ValueError:
        known = ", ".join(JobStatus)
        raise ConfigurationError(f"status {status!r}: it must be among {known}") from None


def moment_of(since: Since) -> float | None:
    """Return a moment in seconds since the epoch; a timedelta counts back from now.

    Raises:
        ConfigurationError: it is none that a clock can show.
    """
    if since is None:
        return None
    try:
        if isinstance(since, timedelta):
            return time.time() - since.total_seconds()
        moment = since.timestamp() if isinstance(since, datetime) else float(since)
    except (TypeError, ValueError, OverflowError, OSError):
        moment = math.nan
    if not math.isfinite(moment):
        wanted = "seconds since the epoch, a datetime, or a timedelta back from now"
        raise ConfigurationError(f"since = {since!r}: give {wanted}")
    return moment
