"""From what a user has in hand (session, connection) to the driver's own connection.

SQLAlchemy is recognised by its shape, so that it need not be installed.
"""

from typing import Any

from milepost.errors import NotTransactionalError


def driver_connection(store: str, given: Any) -> Any:
    """Return the driver's connection under *given*, with a transaction begun above it.

    Args:
        store: the store's name, for the error.
        given: a SQLAlchemy session or connection, or a DB-API connection, which is returned
            as it is.

    Raises:
        NotTransactionalError: it is asynchronous.
    """
    if hasattr(given, "sync_session") or hasattr(given, "sync_connection"):
        raise NotTransactionalError(store, "it is an asynchronous session")
    if callable(getattr(given, "connection", None)) and hasattr(given, "get_bind"):
        given = given.connection()
    if hasattr(given, "exec_driver_sql"):
        # Statements below SQLAlchemy do not start its transaction, and without one its
        # commit() would do nothing and its pool would roll back.
        if not given.in_transaction():
            given.begin()
        return given.connection.driver_connection
    return given
