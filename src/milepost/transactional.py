"""What a store can do besides that is in the same database as the user's own tables."""

from typing import Any, Protocol, runtime_checkable

from milepost.model import Delta, Lease, Signal


@runtime_checkable
class Transactional(Protocol):
    """A store that can write a checkpoint inside a transaction of the user's."""

    def commit_in(self, connection: Any, lease: Lease, delta: Delta) -> Signal | None:
        """Write a checkpoint on the user's connection, without committing it.

        Args:
            connection: a SQLAlchemy session or connection, or a DB-API connection, to the
                database the store is in.
            lease: as for :meth:`milepost.store.Store.commit`.
            delta: as for :meth:`milepost.store.Store.commit`.

        Raises:
            LeaseLostError: as for :meth:`milepost.store.Store.commit`. The user's
                transaction must be rolled back.
            NotTransactionalError: the connection is not one to the store's database.
        """
        ...
