"""Looking at a job again and again, until it has changed or ended."""

import math
import time
from collections.abc import Callable, Iterator

from milepost.model import Job

Look = Callable[[], Job]


def changes_of(look: Look, interval: float) -> Iterator[Job]:
    """Yield a job's record now and whenever it has changed, until the job has ended."""
    seen = None
    while True:
        job = look()
        news = (job.status, job.reason, job.progress, job.signal, job.fence, job.history)
        if news != seen:
            seen = news
            yield job
        if job.status.is_terminal:
            return
        time.sleep(interval)


def end_of(look: Look, timeout: float | None, interval: float) -> Job:
    """Return a job's record once it has ended.

    Args:
        look: reads the record.
        timeout: seconds to wait at most; None: for ever.
        interval: seconds between two looks.

    Raises:
        TimeoutError: it has not in time.
    """
    give_up_at = math.inf if timeout is None else time.monotonic() + timeout
    while not (job := look()).status.is_terminal:
        left = give_up_at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"job {job.id!r} is still {job.status} after {timeout} s")
        time.sleep(min(interval, left))
    return job
