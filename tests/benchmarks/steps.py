"""P1, P2, P3, P16: the durable step, against the barest write to the same store."""

import sqlite3
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import redis

from benchmarks.attempts import Carrier
from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.measure import Case, Sample, Series, Watch, in_turn, times_as_long, times_the_rate
from milepost import extras
from milepost.model import Delivery, Delta

RESULT = "r" * 96
"""100 bytes as the JSON codec writes it, quotes and mark included."""

SQLITE_RAW = """
    INSERT INTO steps SELECT ?, ?, ? FROM jobs WHERE id = ? AND fence = ?
    ON CONFLICT (job, name) DO UPDATE SET value = excluded.value
"""
POSTGRES_RAW = """
    INSERT INTO steps SELECT %s, %s, %s FROM jobs WHERE id = %s AND fence = %s
    ON CONFLICT (job, name) DO UPDATE SET value = excluded.value
"""


def result() -> str:
    """Be the step: do nothing, return 100 bytes."""
    return RESULT


def durable_steps(store: str, steps: int) -> Case:
    """Return the case of *steps* steps in one attempt of a new job."""
    carrier = Carrier(store)

    def body(task: Any) -> Sample:
        with Watch(steps) as watch:
            for _ in range(steps):
                task.step(result)
        return watch.sample

    return lambda: carrier.carry(body)


def commits(store: str, steps: int) -> Case:
    """Return the case of the store alone: the same writes by ``store.commit``."""
    carrier = Carrier(store)
    data = carrier.runtime.codec.encode(RESULT)

    def case() -> Sample:
        job_id = carrier.record()
        granted: Any = carrier.store.claim(Delivery(job_id, "bench"), "bench:1", 3.0)
        deltas = [Delta({f"sresult#{i}": data}) for i in range(steps)]
        commit, lease = carrier.store.commit, granted.lease
        with Watch(steps) as watch:
            for delta in deltas:
                commit(lease, delta)
        return watch.sample

    return case


def raw(steps: int, write: Callable[[str, str, bytes], Any]) -> Case:
    """Return the case of *steps* calls ``write(job, name, value)``, each to a new name."""
    data, jobs = b"r" * 100, count()

    def case() -> Sample:
        job = f"raw-{next(jobs)}"
        names = [f"sresult#{i}" for i in range(steps)]
        with Watch(steps) as watch:
            for name in names:
                write(job, name, data)
        return watch.sample

    return case


def measure(ground: Ground) -> Iterator[Figure]:
    """Measure on Redis first, then on the SQL stores."""
    yield from on_redis(ground)
    yield from on_sqlite(ground)
    yield from on_postgres(ground)


def on_redis(ground: Ground) -> Iterator[Figure]:
    server, steps = ground.redis(), ground.size(5000, 200)
    client = redis.Redis(port=server.port)
    found = in_turn(
        ground.rounds,
        {
            "raw": raw(steps, client.hset),
            "commit": commits(server.url, steps),
            "step": durable_steps(server.url, steps),
        },
    )
    reference = {"raw": found["raw"].micros, "raw_name": "bare redis-py HSET of 100 B"}
    bar = Bar(1.4, 1.0)
    for case, what in (("step", "`self.step`, 100 B"), ("commit", "`store.commit` alone, 100 B")):
        ratio = times_as_long(found[case], found["raw"])
        yield Figure(
            "P1", f"{what}, Redis", found[case].micros, "µs", **reference, ratio=ratio, bar=bar
        )
    yield Figure(
        "P3",
        "client CPU of a `self.step`, Redis",
        found["step"].cpu_micros,
        "µs",
        found["raw"].cpu_micros,
        "bare redis-py HSET",
        found["step"].cpu_micros / found["raw"].cpu_micros,
        Bar(45, 25, of_ratio=False),
    )
    yield memory_of_a_step(server.url, client, steps)


def memory_of_a_step(url: str, client: Any, steps: int) -> Figure:
    carrier = Carrier(url)
    job_id = carrier.record()

    def body(task: Any) -> None:
        for _ in range(steps):
            task.step(result)

    carrier.carry(body, job_id)
    used = client.memory_usage(f"milepost:{{{job_id}}}:data", samples=0)
    bar = Bar(200, 160, of_ratio=False)
    return Figure("P16", "Redis memory of a 100 B step", used / steps, "B", bar=bar)


def on_sqlite(ground: Ground) -> Iterator[Figure]:
    bars = {
        "NORMAL": Bar(25_000, at_least=True, of_ratio=False),
        "FULL": Bar(0.8, 0.9, at_least=True),
    }
    for level, bar in bars.items():
        steps = ground.size(5000 if level == "NORMAL" else 1000, 100)
        name = str(ground.directory / f"{level}.db")
        found = in_turn(
            ground.rounds,
            {
                "raw": raw(steps, sqlite_writer(f"{name}-raw", level)),
                "step": durable_steps(f"sqlite:///{name}?synchronous={level}", steps),
            },
        )
        yield rate(f"`self.step`, 100 B, SQLite WAL {level}", found["step"], found["raw"], bar)


def sqlite_writer(path: str, level: str) -> Callable[[str, str, bytes], Any]:
    """Return what checks a fence and writes a value in one statement, and nothing else."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {level}")
    connection.execute("CREATE TABLE jobs (id TEXT PRIMARY KEY, fence INTEGER)")
    connection.execute(
        "CREATE TABLE steps (job TEXT, name TEXT, value BLOB, PRIMARY KEY (job, name)) "
        "WITHOUT ROWID"
    )
    connection.execute("INSERT INTO jobs VALUES ('job', 1)")
    execute = connection.cursor().execute
    return lambda job, name, data: execute(SQLITE_RAW, (job, name, data, "job", 1))


def on_postgres(ground: Ground) -> Iterator[Figure]:
    server, steps = ground.postgres(), ground.size(1000, 100)
    for level, bar in (("on", Bar(0.8, 0.9, at_least=True)), ("off", None)):
        url = f"{server.url}?options=-c%20synchronous_commit%3D{level}"
        found = in_turn(
            ground.rounds,
            {
                "raw": raw(steps, postgres_writer(url)),
                "step": durable_steps(url, steps),
            },
        )
        what = f"`self.step`, 100 B, PostgreSQL, synchronous_commit {level}"
        yield rate(what, found["step"], found["raw"], bar)


def postgres_writer(url: str) -> Callable[[str, str, bytes], Any]:
    """Return what checks a fence and writes a value in one statement, and nothing else."""
    connection: Any = extras.load("psycopg", "postgres").connect(url, autocommit=True)
    connection.execute("DROP TABLE IF EXISTS jobs, steps")
    connection.execute("CREATE TABLE jobs (id text PRIMARY KEY, fence bigint)")
    connection.execute(
        "CREATE TABLE steps (job text, name text, value bytea, PRIMARY KEY (job, name))"
    )
    connection.execute("INSERT INTO jobs VALUES ('job', 1)")
    execute = connection.cursor(binary=True).execute
    return lambda job, name, data: execute(POSTGRES_RAW, (job, name, data, "job", 1), prepare=True)


def rate(what: str, ours: Series, reference: Series, bar: Bar | None) -> Figure:
    ratio = times_the_rate(ours, reference)
    return Figure("P2", what, ours.rate, "/s", reference.rate, "raw fenced statement", ratio, bar)
