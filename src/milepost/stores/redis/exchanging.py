"""Values of a job in Redis that take the place of others, a batch at a time."""

from collections.abc import Sequence
from typing import Any

from milepost.errors import JobNotFoundError
from milepost.model import Swap
from milepost.stores.redis.wire import Wire

BATCH = 500
"""Swaps in one script, so that it never holds the server up."""


def exchange(wire: Wire, record: str, job_id: str, swaps: Sequence[Swap]) -> int:
    """Make swaps; the contract is :meth:`milepost.store.Store.exchange`'s.

    Args:
        wire: the way to the server.
        record: the key of the job's record.
        job_id: which job.
        swaps: what to exchange.
    """
    made = 0
    for start in range(0, len(swaps), BATCH) or (0,):
        words = [word for swap in swaps[start : start + BATCH] for word in _words(swap)]
        reply = wire.run("exchange", 1, record, *words)
        if reply is None:
            raise JobNotFoundError(job_id)
        made += int(reply)
    return made


def _words(swap: Swap) -> tuple[Any, ...]:
    if swap.name == "doing" and swap.of_record:
        return "progress", "progress", swap.before, swap.after
    return "record" if swap.of_record else "data", swap.name, swap.before, swap.after
