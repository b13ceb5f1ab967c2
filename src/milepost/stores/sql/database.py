"""How a call reaches the database and comes back: sessions, retries, errors, transactions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar
from weakref import WeakSet

from milepost.errors import NotTransactionalError, StoreError, StoreUnavailableError
from milepost.stores.record import Record
from milepost.stores.sql import schema
from milepost.stores.sql.dialect import Dialect, Link, Tables, Trouble
from milepost.stores.sql.record import changes, record_of
from milepost.stores.sql.sessions import Session, Sessions
from milepost.stores.sql.statements import Statements

T = TypeVar("T")


class Database:
    """A namespace of tables behind a dialect.

    Args:
        dialect: the database and its driver.
        namespace: prefix of the tables.

    Attributes:
        sql: the statements, rendered for them.
        list_of: makes a list one parameter of a statement.
    """

    def __init__(self, dialect: Dialect, namespace: str) -> None:
        self._dialect = dialect
        self._namespace = namespace
        self._tables = Tables.of(namespace)
        self.sql = Statements.of(dialect, self._tables)
        self.list_of = dialect.list_of
        self.sessions = Sessions(self._connect)
        self._identity: str | None = None
        self._joined: WeakSet[Any] = WeakSet()

    def _connect(self) -> Link:
        link = self._dialect.connect()
        try:
            self._identity = schema.ensure(self._dialect, link, self._namespace)
        except BaseException:
            link.close()
            raise
        return link

    def close(self) -> None:
        """Close every connection of this process."""
        self.sessions.close()

    # -- calls -------------------------------------------------------------------------

    def call(self, work: Callable[[Link, int], T]) -> T:
        """Do one verb; once more, on a new connection, if the connection broke.

        The number of the call stays the same, so that *work* can tell its own traces from
        those of others when the first answer was lost.
        """
        number: int | None = None
        try:
            while True:
                session = self.sessions.get()
                again = number is None
                number = next(session.calls) if number is None else number
                try:
                    return self._use(session, work, number)
                except Exception as exc:
                    if not again or self._dialect.diagnose(exc) is not Trouble.LOST:
                        raise
        except Exception as exc:
            known = self._translate(exc)
            if known is None:
                raise
            raise known from exc

    def _use(self, session: Session, work: Callable[[Link, int], T], number: int) -> T:
        """Run *work* on the session; give the session up if it cannot be used again."""
        with session.lock:
            try:
                session.link.check()
                return work(session.link, number)
            except BaseException as exc:
                lost = self._dialect.diagnose(exc) is Trouble.LOST
                if lost or not session.link.is_usable():
                    session.close()
                raise

    def _translate(self, error: Exception) -> StoreError | None:
        """Return what to raise instead: the one place where drivers' errors become ours."""
        trouble = self._dialect.diagnose(error)
        if trouble is None:
            return None
        text = " ".join(str(error).split()) or type(error).__name__
        if trouble is Trouble.REFUSED:
            return StoreError(f"store {self._dialect.name}: {text}")
        return StoreUnavailableError(self._dialect.name, text)

    # -- rows --------------------------------------------------------------------------

    def read(self, link: Link, sql: str, job_id: str) -> Record | None:
        """Return a row, unless its retention is over."""
        rows = link.fetch(sql, {"id": job_id})
        found = record_of(rows[0]) if rows else None
        return None if found is None or found.is_expired else found

    @contextmanager
    def locked(self, link: Link, job_id: str, sql: str | None = None) -> Iterator[Record | None]:
        """Hold the row of a job for the length of the block."""
        with transaction(link):
            yield self.read(link, sql or self.sql.lock, job_id)

    def write(self, link: Link, before: Record, after: Record, **trace: int) -> None:
        """Write what changed in a row that is locked, and if anything did, *trace* with it.

        The trace is the column for the number of the call, by which it knows its own work
        again; none where doing it twice is no harm.
        """
        changed = changes(before, after)
        if changed:
            changed |= trace
            link.run(self.sql.change(changed), {**changed, "id": before.job.id})

    # -- the user's own connection -----------------------------------------------------

    @contextmanager
    def joined(self, connection: Any) -> Iterator[Link]:
        """Use a driver's connection of the user's, inside their transaction."""
        try:
            link = self._dialect.join(connection)
            self._check_tables(connection, link)
            yield link
        except Exception as exc:
            known = self._translate(exc)
            if known is None:
                raise
            raise known from exc

    def _check_tables(self, connection: Any, link: Link) -> None:
        """Refuse a connection that does not see this store's own tables."""
        if connection in self._joined:
            return
        if self._identity is None:
            self.sessions.get()
        if not self._dialect.has_table(link, self._tables.meta):
            why = f"its database has no table {self._tables.meta}"
            raise NotTransactionalError(self._dialect.name, why)
        if link.fetch(self.sql.identity, {}) != [(self._identity,)]:
            why = f"its tables {self._namespace}_* are those of another store"
            raise NotTransactionalError(self._dialect.name, why)
        with suppress(TypeError):  # sqlite3 has no weak references; asking it again is cheap
            self._joined.add(connection)


class OnDatabase:
    """What the groups of a store's verbs stand on.

    Args:
        database: where the jobs are.
        retention: seconds a record is kept after its job's end.
        limit: the largest value a checkpoint may hold, in bytes.
    """

    def __init__(self, database: Database, retention: float, limit: int) -> None:
        self._database, self._sql = database, database.sql
        self._retention, self._limit = retention, limit
        self._call, self._read, self._write = database.call, database.read, database.write


@contextmanager
def transaction(link: Link) -> Iterator[None]:
    """Run the block as one transaction."""
    try:
        link.begin()
        yield
        link.commit()
    except BaseException:
        link.rollback()
        raise
