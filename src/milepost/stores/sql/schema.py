"""The tables, and the way from any older version of them to this one.

The version is kept in ``<namespace>_meta``. To change the schema, append a step: a step is
never edited once it was released.
"""

import uuid
from collections.abc import Sequence

from milepost.errors import StoreError
from milepost.stores.sql.dialect import Dialect, Link, Tables

Step = tuple[str, ...]

FIRST: Step = (
    """
    CREATE TABLE {jobs} (
        id {key} PRIMARY KEY, task {text} NOT NULL, status {text} NOT NULL,
        created_at {float} NOT NULL, delivery {int} NOT NULL, fence {int} NOT NULL DEFAULT 0,
        worker {text}, lease_until {float}, lease_seconds {float} NOT NULL DEFAULT 0,
        attempts {int} NOT NULL DEFAULT 0, crashes {int} NOT NULL DEFAULT 0,
        strikes {int} NOT NULL DEFAULT 0, interruptions {int} NOT NULL DEFAULT 0,
        done {int} NOT NULL DEFAULT 0, total {int}, doing {text} NOT NULL DEFAULT '',
        signal {text}, started_at {float}, ended_at {float}, due_at {float},
        begun_at {float}, begun_done {int} NOT NULL DEFAULT 0, moved_at {float},
        index_at {float}, sends {int} NOT NULL DEFAULT 0, expires_at {float},
        kept {int} NOT NULL DEFAULT 0, call {int}, told {text}, asked {int},
        owner {text}, idempotency_key {text}, metadata {text}, reason {text}, error {text},
        message {bytes} NOT NULL, result {bytes}, history {text}
    ){hot}
    """,
    "CREATE INDEX {jobs}_due ON {jobs} (index_at, id) WHERE index_at IS NOT NULL",
    "CREATE INDEX {jobs}_old ON {jobs} (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX {jobs}_new ON {jobs} (created_at, id)",
    "CREATE INDEX {jobs}_own ON {jobs} (owner, created_at, id) WHERE owner IS NOT NULL",
    """
    CREATE TABLE {fields} (
        job_id {key} NOT NULL, name {key} NOT NULL, value {bytes} NOT NULL,
        PRIMARY KEY (job_id, name)
    ){compact}
    """,
)
"""Beyond the record: ``index_at``, ``sends`` and ``expires_at`` drive recovery and retention;
``kept`` is 1 once fields were written; ``call`` is the last call that wrote and ``told`` the
signal it was given, so that a call whose answer was lost can be made again; ``asked`` is the
same for calls from outside, which come between those of an attempt. What may be long stands
last: SQLite walks through all that is before the column it wants. No index holds a column
that a checkpoint changes."""

DOCUMENTS: Step = (
    """
    CREATE TABLE {documents} (
        name {key} PRIMARY KEY, version {int} NOT NULL, call {int}, data {bytes} NOT NULL
    ){compact}
    """,
    """
    CREATE TABLE {counters} (
        name {key} NOT NULL, counter {key} NOT NULL, total {int} NOT NULL, call {int},
        PRIMARY KEY (name, counter)
    ){compact}
    """,
)
"""``call`` is the last call that wrote a row, so that it knows its own work again."""

LIMITS: Step = (
    """
    CREATE TABLE {limits} (
        name {key} PRIMARY KEY, idle_from {float} NOT NULL, kept {text} NOT NULL
    ){compact}
    """,
)
"""``kept`` is the window of one key as JSON; from ``idle_from`` on it no longer matters."""

STEPS: Sequence[Step] = (FIRST, DOCUMENTS, LIMITS)
"""Step *n* leads from version *n* to version *n + 1*."""


def ensure(dialect: Dialect, link: Link, namespace: str) -> str:
    """Bring the schema up to date; many processes may do so at once.

    Returns:
        The identity of these tables, drawn when they were made.

    Raises:
        StoreError: the tables are newer than this code.
    """
    steps = STEPS
    current = _current(dialect, link, namespace)
    if current is None or current[0] < len(steps):
        link.begin()
        try:
            dialect.lock_schema(link, namespace)
            _migrate(dialect, link, namespace, steps)
            link.commit()
        except BaseException:
            link.rollback()
            raise
        current = _current(dialect, link, namespace)
    if current is None:
        raise StoreError(f"store {dialect.name}: its tables vanished while they were made")
    if current[0] > len(steps):
        raise StoreError(
            f"store {dialect.name}: the tables {namespace}_* are of schema version {current[0]}, "
            f"this milepost knows version {len(steps)}: upgrade milepost here, or set another "
            "namespace"
        )
    return current[1]


def _current(dialect: Dialect, link: Link, namespace: str) -> tuple[int, str] | None:
    meta = Tables.of(namespace).meta
    if not dialect.has_table(link, meta):
        return None
    rows = link.fetch(f"SELECT version, identity FROM {meta}", {})
    return (rows[0][0], rows[0][1]) if rows else None


def _migrate(dialect: Dialect, link: Link, namespace: str, steps: Sequence[Step]) -> None:
    """Run the missing steps; the caller holds the schema's lock."""
    tables = Tables.of(namespace)
    words = {**dialect.words, **tables.words}
    current = _current(dialect, link, namespace)
    if current is None:
        text, integer = words["text"], words["int"]
        link.run(f"CREATE TABLE {tables.meta} (version {integer}, identity {text})", {})
        insert = f"INSERT INTO {tables.meta} (version, identity) VALUES (0, :identity)"
        link.run(dialect.render(insert), {"identity": uuid.uuid4().hex})
    for step in steps[current[0] if current else 0 :]:
        for statement in step:
            link.run(dialect.render(statement.format_map(words)), {})
    if current is None or current[0] < len(steps):
        update = dialect.render(f"UPDATE {tables.meta} SET version = :version")
        link.run(update, {"version": len(steps)})
