"""PostgreSQL through psycopg 3: every verb of an attempt is one statement, one round trip.

Nobody waits forever: the server is told to give up after the store's timeout, and should it
not answer at all (frozen, unplugged), the client gives up by itself a moment later.
"""

import os
import re
import time
import zlib
from collections.abc import Generator, Mapping, Sequence
from math import ceil
from typing import Any
from urllib.parse import parse_qs, urlsplit

from milepost import extras
from milepost.errors import ConfigurationError, MissingExtraError, NotTransactionalError
from milepost.model import Delta
from milepost.settings import Settings
from milepost.stores.sql.dialect import Link, Params, Row, Trouble
from milepost.stores.sql.store import SqlStore

PLACEHOLDER = re.compile(r"(?<![:\w]):([a-z_]+)")
GRACE = 0.25
"""How much longer than the server the client waits, in seconds."""

IDLE, IN_TRANSACTION, IN_ERROR = 0, 2, 3
"""libpq's transaction status."""

PASSING = re.compile("53|55P03|57014|57P03")
"""SQLSTATEs of a server that is there but too busy: resources, lock, timeout, starting up."""
LOST = re.compile("08|25006|25P03|40|57P0")
"""SQLSTATEs after which a new connection may do: broken, demoted, collided, shut down."""

DELETE = "DELETE FROM {fields} AS f USING held WHERE f.job_id = held.id AND f.name = ANY(:gone)"
ONE = "SELECT held.id, CAST(:name AS text), CAST(:value AS bytea) FROM held"
MANY = """SELECT held.id, w.name, w.value FROM held,
    unnest(CAST(:names AS text[]), CAST(:values AS bytea[])) AS w (name, value)"""
UPSERT = """INSERT INTO {fields} (job_id, name, value) {rows}
    ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value"""


def render(sql: str) -> str:
    """Return *sql* with ``:name`` in psycopg's words."""
    return PLACEHOLDER.sub(r"%(\1)s", sql)


class PostgresLink:
    """One connection, or the user's own joined, with one cursor that is used again and again.

    Args:
        connection: psycopg's connection.
        cursor: a cursor of it that returns tuples.
        fields: name of the table of fields.
    """

    def __init__(self, connection: Any, cursor: Any, fields: str) -> None:
        self._connection, self._cursor = connection, cursor
        self._fields = fields
        self._composed: dict[tuple[str, bool, int], str] = {}

    def fetch(self, sql: str, params: Params) -> list[Row]:
        cursor = self._cursor
        cursor.execute(sql, params, prepare=True)
        rows: list[Row] = cursor.fetchall()
        return rows

    def run(self, sql: str, params: Params) -> int:
        # Without parameters it is the schema's DDL, which runs once: nothing to prepare.
        self._cursor.execute(sql, params or None, prepare=True if params else None)
        return int(self._cursor.rowcount)

    def begin(self) -> None:
        self._cursor.execute("BEGIN")

    def commit(self) -> None:
        self._cursor.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.pgconn.transaction_status in (IN_TRANSACTION, IN_ERROR):
            self._cursor.execute("ROLLBACK")

    def save(self, update: str, params: Params, delta: Delta) -> list[Row]:
        # All parts of one statement see the same snapshot, in no order: a field that is both
        # deleted and written must only be written.
        writes, gone = delta.writes, [name for name in delta.deletes if name not in delta.writes]
        if not writes and not gone:
            return self.fetch(update, params)
        if len(writes) == 1:
            ((params["name"], params["value"]),) = writes.items()
        elif writes:
            params["names"], params["values"] = list(writes), list(writes.values())
        if gone:
            params["gone"] = gone
        kind = (update, bool(gone), min(len(writes), 2))
        sql = self._composed.get(kind)
        if sql is None:
            sql = self._composed[kind] = self._compose(*kind)
        return self.fetch(sql, params)

    def _compose(self, update: str, deletes: bool, writes: int) -> str:
        """Build the one statement: the row is locked and checked first, the rest hangs on it."""
        parts = [f"held AS ({update})"]
        if deletes:
            parts.append(f"gone AS ({render(DELETE.format(fields=self._fields))})")
        if writes:
            rows = ONE if writes == 1 else MANY
            parts.append(f"put AS ({render(UPSERT.format(fields=self._fields, rows=rows))})")
        return f"WITH {', '.join(parts)} SELECT * FROM held"

    def check(self) -> None:
        """Nothing to do: a connection goes with its server."""

    def is_usable(self) -> bool:
        return not self._connection.closed and self._connection.pgconn.transaction_status == IDLE

    def close(self) -> None:
        self._connection.close()


class PostgresDialect:
    """PostgreSQL's differences.

    Args:
        psycopg: the driver.
        url: where the database is, in libpq's form.
        name: the same for people.
        settings: namespace and timeout.
    """

    words: Mapping[str, str] = {
        "now": "date_part('epoch', clock_timestamp())",
        "ids": "= ANY(:ids)",
        "lock": "FOR UPDATE",
        "skip": "FOR UPDATE SKIP LOCKED",
        "key": 'text COLLATE "C"',
        "text": "text",
        "int": "bigint",
        "float": "double precision",
        "bytes": "bytea",
        # Room in each page, so that a checkpoint's update needs no new index entries.
        "hot": " WITH (fillfactor = 70)",
        "compact": "",
    }

    def __init__(self, psycopg: Any, url: str, name: str, settings: Settings) -> None:
        self.name = name
        self._psycopg, self._url = psycopg, url
        self._fields = f"{settings.namespace}_fields"
        self._timeout = settings.store_timeout
        self._connection_class = _impatient(psycopg.Connection, self._timeout + GRACE)

    def render(self, sql: str) -> str:
        return render(sql)

    def list_of(self, values: Sequence[str]) -> list[str]:
        return list(values)

    def connect(self) -> Link:
        connection = self._connection_class.connect(
            self._url,
            autocommit=True,
            connect_timeout=ceil(self._timeout),
            application_name=f"milepost {os.getpid()}",
        )
        try:
            limit = ceil(self._timeout * 1000)
            connection.execute(
                f"SET statement_timeout = {limit}; "
                # A worker that froze between two statements must not keep a row for ever.
                f"SET idle_in_transaction_session_timeout = {limit}; "
                "SET default_transaction_isolation = 'read committed'"
            )
        except BaseException:
            connection.close()
            raise
        return PostgresLink(connection, connection.cursor(binary=True), self._fields)

    def lock_schema(self, link: Link, namespace: str) -> None:
        key = zlib.crc32(f"milepost {namespace.lower()}".encode())
        link.fetch(render("SELECT pg_advisory_xact_lock(CAST(:key AS bigint))"), {"key": key})

    def has_table(self, link: Link, table: str) -> bool:
        # Not to_regclass(): it may answer from a cache older than the schema's lock.
        sql = (
            "SELECT 1 FROM pg_catalog.pg_class WHERE relname = :table AND pg_table_is_visible(oid)"
        )
        return bool(link.fetch(render(sql), {"table": table.lower()}))

    def join(self, connection: Any) -> Link:
        if not isinstance(connection, self._psycopg.Connection):
            kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
            raise NotTransactionalError(self.name, f"it is on a {kind}, not on psycopg 3")
        if connection.autocommit and connection.pgconn.transaction_status == IDLE:
            raise NotTransactionalError(
                self.name, "the connection is in autocommit mode and no transaction is open"
            )
        # The user's row and cursor factories must not decide what the store reads.
        rows = self._psycopg.rows.tuple_row
        return PostgresLink(
            connection, self._psycopg.Cursor(connection, row_factory=rows), self._fields
        )

    def diagnose(self, error: BaseException) -> Trouble | None:
        if isinstance(error, TimeoutError):
            return Trouble.UNAVAILABLE
        if isinstance(error, UnicodeError):
            return Trouble.REFUSED
        if not isinstance(error, self._psycopg.Error):
            return None
        code = getattr(error, "sqlstate", None)
        if code is None:
            lost = isinstance(error, (self._psycopg.OperationalError, self._psycopg.InterfaceError))
            return Trouble.LOST if lost else Trouble.REFUSED
        if PASSING.match(code):
            return Trouble.UNAVAILABLE
        return Trouble.LOST if LOST.match(code) else Trouble.REFUSED


def _impatient(base: Any, seconds: float) -> Any:
    """Return psycopg's connection class with a limit to how long a call may take.

    The server's own ``statement_timeout`` is no help against a server that is stopped: its
    kernel still acknowledges every packet.
    """

    def wait(self: Any, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        return base.wait(self, _limited(gen, time.monotonic() + seconds, seconds), *args, **kwargs)

    return type("ImpatientConnection", (base,), {"wait": wait})


def _limited(
    gen: Generator[Any, Any, Any], deadline: float, seconds: float
) -> Generator[Any, Any, Any]:
    """Pass psycopg's waits through; the driver looks in every 100 ms while nothing comes."""
    try:
        state = next(gen)
        while True:
            ready = yield state
            if not ready and time.monotonic() > deadline:
                raise TimeoutError(f"no answer within {seconds:g} seconds")
            state = gen.send(ready)
    except StopIteration as end:
        return end.value


def connect(url: str, settings: Settings) -> SqlStore:
    """Open the store in the database that *url* names; nothing connects until its first use.

    Args:
        url: ``postgresql://user:password@host:port/database?option=value``, as libpq reads it.
        settings: namespace, retention, limits and timeout.

    Raises:
        ConfigurationError: the URL is wrong.
        MissingExtraError: psycopg is not installed, or finds no libpq.
    """
    try:
        psycopg = extras.load("psycopg", "postgres")
    except ImportError as exc:  # psycopg is there
        raise MissingExtraError("psycopg's libpq wrapper", "postgres") from exc
    plain = "postgresql" + url[url.index(":") :]
    name, secrets = _name(plain)
    try:
        psycopg.conninfo.conninfo_to_dict(plain)
    except psycopg.Error as exc:
        problem = " ".join(str(exc).split())
        for secret in secrets:
            problem = problem.replace(secret, "***")
        # Not chained: the driver's error quotes parts of the URL.
        raise ConfigurationError(f"{name}: libpq cannot read this URL: {problem}") from None
    return SqlStore(PostgresDialect(psycopg, plain, name, settings), settings)


def _name(url: str) -> tuple[str, list[str]]:
    """Return the URL for people, without password and options, and what is secret in it."""
    parts = urlsplit(url)
    login, at, place = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    secrets = [password, *parse_qs(parts.query).get("password", ())]
    return f"postgresql://{user}{at}{place}{parts.path}", [text for text in secrets if text]
