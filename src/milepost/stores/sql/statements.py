"""The statements of the SQL stores, in the words of :mod:`milepost.stores.sql.dialect`.

Each ``UPDATE`` decides and writes in one statement, so that two callers never both win: the
second one waits for the row and then finds its condition no longer true. ``PUT`` locks the
row instead where others could write it meanwhile, and leaves it as it is. The time is read
once per statement (``t.now``) where several columns must agree on it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from milepost.history import LONGEST
from milepost.model import JobStatus
from milepost.stores.bounds import MAX_DOUBLINGS
from milepost.stores.sql.dialect import Dialect, Tables
from milepost.stores.sql.record import ASKED, COLUMNS

TERMINAL = ", ".join(f"'{status}'" for status in JobStatus if status.is_terminal)
CLOCK = "(SELECT {now} AS now) AS t"
ALIVE = "(j.expires_at IS NULL OR j.expires_at > (SELECT {now}))"
OWNED = """j.status = 'running' AND (j.worker = :owner OR
    substr(j.worker, 1, length(CAST(:prefix AS {text}))) = CAST(:prefix AS {text}))"""

LAPSED = """(CASE WHEN j.status = 'running'
    AND (j.lease_until IS NULL OR j.lease_until <= t.now) THEN 1 ELSE 0 END)"""
SNOOZING = """(j.status = 'scheduled' AND COALESCE(j.index_at <= j.due_at, false)
    AND j.due_at > t.now)"""
DOUBLINGS = f"""(CASE WHEN j.strikes + {LAPSED} <= 1 THEN 0
    WHEN j.strikes + {LAPSED} > {MAX_DOUBLINGS} THEN {MAX_DOUBLINGS}
    ELSE j.strikes + {LAPSED} - 1 END)"""
LEASE = f"(CAST(:seconds AS {{float}}) * (1 << CAST({DOUBLINGS} AS INTEGER)))"

FRESH = 7 / 8
"""How much of a lease must be left for a commit to leave it as it is, and no more than all
of it: a clock that was set back must not make a lease longer than it was granted."""

NOTED = f"""CASE WHEN length(j.history) > {LONGEST}
    THEN '-' || substr(j.history, length(j.history) - {LONGEST} + 1)
    ELSE COALESCE(j.history, '') END || CAST(CAST(round(t.now * 1000) AS {{int}}) AS {{text}})"""
"""A history up to a new line's time. The dash keeps a line whose beginning was cut off from
being read with another time."""

CREATE = f"""
    INSERT INTO {{jobs}} (id, task, status, created_at, message, delivery, due_at, index_at,
        call, owner, idempotency_key, metadata)
    SELECT :id, :task, :status, t.now, :message, :delivery,
        t.now + CAST(:delay AS {{float}}), t.now + CAST(:check AS {{float}}),
        :call, :owner, :key, :metadata
    FROM {CLOCK} WHERE true ON CONFLICT (id) DO NOTHING
"""
CLAIM = f"""
    UPDATE {{jobs}} AS j SET
        status = 'running', task = :task, reason = NULL, delivery = :number,
        message = COALESCE(:message, j.message), fence = j.fence + 1, worker = :worker,
        lease_until = t.now + {LEASE}, lease_seconds = {LEASE}, index_at = t.now + {LEASE},
        attempts = j.attempts + 1, crashes = j.crashes + {LAPSED},
        strikes = j.strikes + {LAPSED}, started_at = COALESCE(j.started_at, t.now),
        begun_at = t.now, begun_done = j.done,
        due_at = NULL, sends = 0, call = :call, told = NULL,
        signal = CASE WHEN {LAPSED} = 1 THEN COALESCE(j.signal, j.told) ELSE j.signal END,
        history = CASE WHEN {LAPSED} = 1 THEN {NOTED}
            || replace(CAST(:crash AS {{text}}), '?', COALESCE(j.worker, ''))
            ELSE j.history END
    FROM {CLOCK}
    WHERE j.id = :id AND j.status NOT IN ({TERMINAL}, 'paused') AND (j.delivery < :number
        OR j.delivery = :number AND (j.status <> 'running' OR {LAPSED} = 1) AND NOT {SNOOZING})
    RETURNING {{columns}}, {{now}}
"""
PUT = f"""
    INSERT INTO {{fields}} (job_id, name, value)
    SELECT j.id, :name, :value FROM {{jobs}} AS j
    WHERE j.id = :id AND j.fence = :fence AND j.status = 'running' AND j.kept = 1
        AND j.strikes = 0 AND j.signal IS NULL AND j.told IS NULL
        AND j.lease_until - {{now}} BETWEEN j.lease_seconds * {FRESH} AND j.lease_seconds
    {{lock}} ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value
"""
MOVED = """
        call = :call,
        done = COALESCE(:done, j.done),
        total = CASE WHEN CAST(:done AS {int}) IS NULL THEN j.total ELSE :total END,
        doing = COALESCE(:doing, j.doing),
        moved_at = CASE WHEN :moved = 1 THEN {now} ELSE j.moved_at END,
        strikes = CASE WHEN :wrote = 1 THEN 0 ELSE j.strikes END,
        kept = CASE WHEN :wrote = 1 THEN 1 ELSE j.kept END"""
"""What commit and settle change alike: the delta's traces in the job's row."""
COMMIT = f"""
    UPDATE {{jobs}} AS j SET
        lease_until = {{now}} + j.lease_seconds,
        told = CASE WHEN j.call = :call THEN j.told ELSE j.signal END,
        signal = CASE WHEN j.call = :call THEN j.signal END,{MOVED}
    WHERE j.id = :id AND j.fence = :fence AND j.status = 'running'
    RETURNING id, told
"""
SETTLE = f"""
    UPDATE {{jobs}} AS j SET
        status = :status, reason = :reason, result = :result, error = :error,
        worker = NULL, lease_until = NULL, signal = NULL, told = NULL,
        due_at = t.now + CAST(:delay AS {{float}}),
        index_at = t.now + CASE WHEN :finishing = 1 THEN j.lease_seconds
            ELSE CAST(:check AS {{float}}) END,
        ended_at = CASE WHEN :ended = 1 THEN t.now END,
        expires_at = CASE WHEN :ended = 1 THEN t.now + CAST(:retention AS {{float}}) END,
        interruptions = j.interruptions + :interrupted,
        delivery = COALESCE(:delivery, j.delivery),
        message = COALESCE(:message, j.message),
        history = CASE WHEN CAST(:line AS {{text}}) IS NULL THEN j.history
            ELSE {NOTED} || CAST(:line AS {{text}}) END,{MOVED}
    FROM {CLOCK}
    WHERE j.id = :id AND j.fence = :fence AND j.status = 'running'
    RETURNING id
"""
RENEW = f"""
    UPDATE {{jobs}} AS j SET lease_until = t.now + j.lease_seconds,
        index_at = t.now + j.lease_seconds
    FROM {CLOCK}
    WHERE j.id IN (SELECT j.id FROM {{jobs}} AS j WHERE j.id {{ids}} AND {OWNED}
        ORDER BY j.id {{skip}}) AND {OWNED}
    RETURNING id
"""
OWNS = f"SELECT j.id FROM {{jobs}} AS j WHERE j.id {{ids}} AND {OWNED}"
FINISH = f"""
    UPDATE {{jobs}} SET index_at = NULL
    WHERE id IN (SELECT id FROM {{jobs}} WHERE id {{ids}} ORDER BY id {{lock}})
        AND index_at IS NOT NULL AND status IN ({TERMINAL})
"""
LOAD = f"""
    SELECT f.name, f.value FROM {{jobs}} AS j LEFT JOIN {{fields}} AS f ON f.job_id = j.id
    WHERE j.id = :id AND {ALIVE}
"""
READ = "SELECT {columns}, {now} FROM {jobs} WHERE id = :id"
ASK = "SELECT {asked}, {now} FROM {jobs} WHERE id = :id {lock}"
FIND = f"SELECT {{columns}}, {{now}} FROM {{jobs}} AS j WHERE {ALIVE}"
NEWEST = " ORDER BY created_at DESC, id DESC LIMIT :limit"
TALLY = f"SELECT task, status, count(*) FROM {{jobs}} AS j WHERE {ALIVE} GROUP BY task, status"
DUE = """
    SELECT id FROM {jobs} WHERE index_at <= (SELECT {now}) ORDER BY index_at, id LIMIT :limit
"""
DELETE = "DELETE FROM {jobs} WHERE id = :id"
EXPIRE = "DELETE FROM {jobs} WHERE id = :id AND expires_at <= {now}"
EMPTY = "DELETE FROM {fields} WHERE job_id = :id"
PURGE = """
    WITH old AS (SELECT id FROM {jobs} WHERE expires_at <= (SELECT {now})
        ORDER BY expires_at LIMIT 500 {skip})
    DELETE FROM {jobs} WHERE id IN (SELECT id FROM old) RETURNING id
"""
DROP = "DELETE FROM {fields} WHERE job_id = :id AND name {ids}"
SET_FIELD = """
    INSERT INTO {fields} (job_id, name, value) VALUES (:id, :name, :value)
    ON CONFLICT (job_id, name) DO UPDATE SET value = excluded.value
"""
HAS_FIELDS = "SELECT 1 FROM {fields} WHERE job_id = :id LIMIT 1"
EMPTY_ALL = "DELETE FROM {fields} WHERE job_id {ids}"
IDENTITY = "SELECT identity FROM {meta}"
DOCUMENT = """
    SELECT d.version, d.data, d.call, t.now FROM (SELECT {now} AS now) AS t
    LEFT JOIN {documents} AS d ON d.name = :name
"""
DOCUMENTS = """
    SELECT name, version, data, (SELECT {now}) FROM {documents}
    WHERE substr(name, 1, length(CAST(:prefix AS {text}))) = CAST(:prefix AS {text})
        AND length(data) > 0 ORDER BY name
"""
FIRST_DOCUMENT = """
    INSERT INTO {documents} (name, version, call, data) VALUES (:name, 1, :call, :data)
    ON CONFLICT (name) DO NOTHING
"""
NEXT_DOCUMENT = """
    UPDATE {documents} SET version = version + 1, call = :call, data = :data
    WHERE name = :name AND version = :version
"""
ADD = """
    INSERT INTO {counters} AS c (name, counter, total, call)
    VALUES (:name, :counter, :amount, :call)
    ON CONFLICT (name, counter) DO UPDATE SET call = excluded.call,
        total = c.total + CASE WHEN c.call = excluded.call THEN 0 ELSE excluded.total END
    RETURNING total
"""
TOTALS = "SELECT counter, total FROM {counters} WHERE name = :name"
LOCK_WINDOW = """
    INSERT INTO {limits} (name, idle_from, kept) VALUES (:name, 0, '')
    ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING kept, {now}
"""
KEEP_WINDOW = "UPDATE {limits} SET kept = :kept, idle_from = :idle_from WHERE name = :name"
DROP_WINDOWS = "DELETE FROM {limits} WHERE idle_from <= {now}"


EXCHANGE = """
    UPDATE {fields} SET value = :after WHERE job_id = :id AND name = :name AND value = :before
"""
EXCHANGE_IN_RECORD = "UPDATE {jobs} SET {column} = :after WHERE id = :id AND {column} = :before"
CHANGE = "UPDATE {jobs} SET {changes} WHERE id = :id"


@dataclass(frozen=True)
class Statements:
    """Every statement, rendered for one dialect and one namespace."""

    rendered: Callable[[str], str]
    create: str = CREATE
    claim: str = CLAIM
    put: str = PUT
    commit: str = COMMIT
    settle: str = SETTLE
    renew: str = RENEW
    owns: str = OWNS
    finish: str = FINISH
    load: str = LOAD
    read: str = READ
    lock: str = READ + " {lock}"
    grab: str = READ + " {skip}"
    ask: str = ASK
    tally: str = TALLY
    due: str = DUE
    delete: str = DELETE
    expire: str = EXPIRE
    empty: str = EMPTY
    drop: str = DROP
    set_field: str = SET_FIELD
    has_fields: str = HAS_FIELDS
    purge: str = PURGE
    empty_all: str = EMPTY_ALL
    identity: str = IDENTITY
    document: str = DOCUMENT
    documents: str = DOCUMENTS
    first_document: str = FIRST_DOCUMENT
    next_document: str = NEXT_DOCUMENT
    add: str = ADD
    totals: str = TOTALS
    lock_window: str = LOCK_WINDOW
    keep_window: str = KEEP_WINDOW
    drop_windows: str = DROP_WINDOWS
    exchange: str = EXCHANGE

    @classmethod
    def of(cls, dialect: Dialect, tables: Tables) -> "Statements":
        """Render every statement."""
        words = {**dialect.words, **tables.words}
        words |= {"columns": ", ".join(COLUMNS), "asked": ", ".join(ASKED)}

        def rendered(sql: str) -> str:
            return dialect.render(" ".join(sql.format_map(words).split()))

        return cls(rendered, *(rendered(str(field.default)) for field in fields(cls)[1:]))

    def change(self, columns: Iterable[str]) -> str:
        """Return the statement that sets these columns of one job."""
        changes = ", ".join(f"{name} = :{name}" for name in columns)
        return self.rendered(CHANGE.replace("{changes}", changes))

    def exchange_in_record(self, column: str) -> str:
        """Return the statement that exchanges a value of a job's own row."""
        return self.rendered(EXCHANGE_IN_RECORD.replace("{column}", column))

    def find(self, conditions: Iterable[str]) -> str:
        """Return the statement that finds the newest jobs for which all of these hold."""
        return self.rendered(" AND ".join((FIND, *conditions)) + NEWEST)
