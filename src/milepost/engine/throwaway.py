"""The store of a job that nobody will resume: an eager or a direct call."""

from typing import Any

from milepost.model import Delta, Lease, Signal
from milepost.stores.memory import MemoryStore


class ThrowawayStore(MemoryStore):
    """Keeps the journal of an eager or direct call, and is gone with it.

    Nobody will resume it, so that it can pretend to be in the user's database: ``atomic()``
    then just commits the user's transaction.
    """

    def commit_in(self, connection: Any, lease: Lease, delta: Delta) -> Signal | None:  # noqa: ARG002
        return self.commit(lease, delta)
