"""SQLite through the standard library: the store that needs no server.

One file in WAL mode. Commits survive a crash of the process; with ``synchronous=NORMAL``, the
default, the last ones may be lost when the *machine* loses power. ``?synchronous=FULL`` keeps
those too, at the price of an fsync each.
"""

import json
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from milepost.clock import Clock, SystemClock
from milepost.errors import (
    ConfigurationError,
    NotTransactionalError,
    StoreError,
    StoreUnavailableError,
)
from milepost.model import Delta
from milepost.settings import Settings
from milepost.stores.sql.dialect import Link, Params, Row, Trouble
from milepost.stores.sql.store import SqlStore

OLDEST = (3, 35, 0)
SYNCHRONOUS = ("NORMAL", "FULL", "EXTRA")
CHECK_EVERY = 0.25
"""How often to look whether the file is still there, in seconds."""
HINT = "sqlite:///relative/path.db or sqlite:////absolute/path.db"

PASSING = frozenset(
    {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL}
)
"""Primary result codes of conditions that pass without anybody touching the store."""


class SqliteLink:
    """One connection to the file, or the user's own connection joined.

    Args:
        connection: the driver's connection.
        clock: where to read time: the host is the server here.
        fields: name of the table of fields.
        stamp: device and inode of the file, or None for a joined connection.
        path: the file.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        clock: Clock,
        *,
        fields: str,
        path: str = "",
        stamp: tuple[int, int] | None = None,
    ) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        # The user's row_factory must not decide what the store reads.
        self._cursor.row_factory = None
        self._now = clock.now
        self._delete = f"DELETE FROM {fields} WHERE job_id = ? AND name = ?"
        self._upsert = (
            f"INSERT INTO {fields} (job_id, name, value) VALUES (?, ?, ?) "
            "ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value"
        )
        self._path, self._stamp = path, stamp
        # What is read on a user's connection is text only.
        self._is_text_bytes = stamp is None and connection.text_factory is bytes
        self._check_at = 0.0

    def fetch(self, sql: str, params: Params) -> list[Row]:
        params["now"] = self._now()
        rows: list[Row] = self._cursor.execute(sql, params).fetchall()
        if self._is_text_bytes:
            return [tuple(v.decode() if isinstance(v, bytes) else v for v in row) for row in rows]
        return rows

    def run(self, sql: str, params: Params) -> int:
        params["now"] = self._now()
        return self._cursor.execute(sql, params).rowcount

    def begin(self) -> None:
        self._cursor.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self._cursor.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self._cursor.execute("ROLLBACK")

    def save(self, update: str, params: Params, delta: Delta) -> list[Row]:
        if self._stamp is None:
            return self._apply(update, params, delta)
        if not delta.writes and not delta.deletes:
            return self.fetch(update, params)
        execute = self._cursor.execute
        try:
            execute("BEGIN IMMEDIATE")
            hit = self._apply(update, params, delta)
            execute("COMMIT")
        except BaseException:
            self.rollback()
            raise
        return hit

    def _apply(self, update: str, params: Params, delta: Delta) -> list[Row]:
        hit = self.fetch(update, params)
        if hit:
            job_id = params["id"]
            if delta.deletes:
                gone = [(job_id, name) for name in delta.deletes]
                self._cursor.executemany(self._delete, gone)
            if len(delta.writes) == 1:
                self._cursor.execute(self._upsert, (job_id, *next(iter(delta.writes.items()))))
            elif delta.writes:
                rows = [(job_id, name, value) for name, value in delta.writes.items()]
                self._cursor.executemany(self._upsert, rows)
        return hit

    def check(self) -> None:
        """Refuse a file that was deleted or replaced: writes to it would vanish unseen."""
        now = time.monotonic()
        if now < self._check_at:
            return
        if not self._is_in_place():
            raise StoreError(
                f"store sqlite:///{self._path}: the file was deleted or replaced while it was in "
                "use; the jobs in it are lost unless you restore it. The next use opens the file "
                "that is there then, or makes a new one"
            )
        self._check_at = now + CHECK_EVERY

    def _is_in_place(self) -> bool:
        try:
            found = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (found.st_dev, found.st_ino) == self._stamp

    def is_usable(self) -> bool:
        try:
            return not self._connection.in_transaction and self._is_in_place()
        except OSError:  # a folder that may not be looked into, a network that is gone
            return False

    def close(self) -> None:
        self._connection.close()


class SqliteDialect:
    """SQLite's differences.

    Args:
        path: the file, absolute.
        fields: name of the table of fields.
        timeout: how long to wait for another writer.
        synchronous: one of ``SYNCHRONOUS``.
        clock: where to read time.
    """

    words: Mapping[str, str] = {
        "now": ":now",
        "ids": "IN (SELECT value FROM json_each(:ids))",
        "lock": "",
        "skip": "",
        "key": "TEXT",
        "text": "TEXT",
        "int": "INTEGER",
        "float": "REAL",
        "bytes": "BLOB",
        "hot": "",
        "compact": " WITHOUT ROWID",
    }

    def __init__(
        self, path: str, fields: str, timeout: float, synchronous: str, clock: Clock
    ) -> None:
        self.name = f"sqlite:///{path}"
        self._path, self._timeout, self._synchronous = path, timeout, synchronous
        self._clock = clock
        self._fields = fields

    def render(self, sql: str) -> str:
        return sql

    def list_of(self, values: Sequence[str]) -> str:
        return json.dumps(values)

    def connect(self) -> Link:
        folder = os.path.dirname(self._path)
        if not os.path.isdir(folder):
            raise StoreUnavailableError(self.name, f"there is no directory {folder} to look into")
        # Threads do not share a connection; close() may come from another one, under a lock.
        connection = sqlite3.connect(
            self._path, timeout=self._timeout, isolation_level=None, check_same_thread=False
        )
        try:
            self._enter_wal(connection)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            found = os.stat(self._path)
        except BaseException:
            connection.close()
            raise
        stamp = (found.st_dev, found.st_ino)
        return SqliteLink(
            connection, self._clock, fields=self._fields, path=self._path, stamp=stamp
        )

    def _enter_wal(self, connection: sqlite3.Connection) -> None:
        """Switch to WAL once; SQLite does not wait for others by itself when it does so."""
        deadline = time.monotonic() + self._timeout
        while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            try:
                connection.execute("PRAGMA journal_mode = WAL").fetchone()
            except sqlite3.OperationalError as exc:
                if self.diagnose(exc) is Trouble.REFUSED or time.monotonic() > deadline:
                    raise
                time.sleep(0.005)

    def lock_schema(self, link: Link, namespace: str) -> None:
        """Nothing more to do: BEGIN IMMEDIATE keeps every other writer out."""

    def has_table(self, link: Link, table: str) -> bool:
        sql = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :table COLLATE NOCASE"
        return bool(link.fetch(sql, {"table": table}))

    def join(self, connection: Any) -> Link:
        if not isinstance(connection, sqlite3.Connection):
            kind = f"{type(connection).__module__}.{type(connection).__qualname__}"
            raise NotTransactionalError(self.name, f"it is on a {kind}, not on sqlite3")
        manual = connection.isolation_level is None or getattr(connection, "autocommit", 0) is True
        if manual and not connection.in_transaction:
            raise NotTransactionalError(
                self.name, "the connection is in autocommit mode and no transaction is open"
            )
        cursor = connection.cursor()
        cursor.row_factory = None
        files = {name: file for _, name, file in cursor.execute("PRAGMA database_list")}
        file = os.fsdecode(files.get("main") or files.get(b"main") or "")
        if not file:
            raise NotTransactionalError(self.name, "its database is in memory")
        if not (os.path.exists(self._path) and os.path.samefile(file, self._path)):
            raise NotTransactionalError(self.name, f"its database is another file, {file}")
        return SqliteLink(connection, self._clock, fields=self._fields)

    def diagnose(self, error: BaseException) -> Trouble | None:
        if isinstance(error, UnicodeError):
            return Trouble.REFUSED
        if isinstance(error, OSError):  # of looking at the file
            return Trouble.UNAVAILABLE
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", None)
        passing = code is not None and code & 0xFF in PASSING
        return Trouble.UNAVAILABLE if passing else Trouble.REFUSED


def connect(url: str, settings: Settings, clock: Clock | None = None) -> SqlStore:
    """Open the store in the file that *url* names; nothing is touched until its first use.

    Args:
        url: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, with
            ``?synchronous=FULL`` for one fsync per commit.
        settings: namespace, retention, limits and timeout.
        clock: where to read time. None: the host's clock.

    Raises:
        ConfigurationError: the URL is wrong, or the SQLite library is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise ConfigurationError(
            f"SQLite {sqlite3.sqlite_version} is too old for a store: it needs 3.35 or newer"
        )
    path, synchronous = _parse(url)
    fields = f"{settings.namespace}_fields"
    dialect = SqliteDialect(
        path, fields, settings.store_timeout, synchronous, clock or SystemClock()
    )
    return SqlStore(dialect, settings)


def _parse(url: str) -> tuple[str, str]:
    """Return the absolute path and the level of synchronous."""
    parts = urlsplit(url)
    path, query = unquote(parts.path)[1:], dict(parse_qsl(parts.query, keep_blank_values=True))
    if parts.netloc or not parts.path.startswith("/") or parts.fragment:
        raise ConfigurationError(f"{url!r}: the path comes after three slashes: {HINT}")
    if not path or ":memory:" in path or query.get("mode") == "memory":
        raise ConfigurationError(
            f"{url!r}: a SQLite database in memory is another one for each connection. "
            f"Use memory:// for a store that dies with the process, or {HINT}"
        )
    synchronous = query.pop("synchronous", "NORMAL").upper()
    if query or synchronous not in SYNCHRONOUS:
        raise ConfigurationError(
            f"{url!r}: the only option is ?synchronous= with one of {', '.join(SYNCHRONOUS)}"
        )
    return os.path.abspath(path), synchronous
