"""P1, P8, P15 encrypted, and the rate at which keys are rotated."""

import json
from collections.abc import Iterator
from typing import Any

import redis
from celery import Celery
from celery.exceptions import Ignore

from benchmarks.attempts import Body, Carrier
from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.measure import Case, Sample, Watch, in_turn, times_as_long
from benchmarks.resume import FEW_AND_MANY, resumed
from benchmarks.steps import raw, result
from milepost import EncryptedTask, Milepost
from milepost.codecs.encrypted import Cipher
from milepost.codecs.keyring import Key, Keyring
from milepost.jobs import rotation
from milepost.model import Delivery, Delta
from milepost.query import Query
from milepost.stores.sealed import sealed

KEYS = Keyring([Key("2026-11", b"k" * 32, is_current=True)])
NEXT = Keyring([Key("2026-11", b"k" * 32), Key("2026-12", b"n" * 32, is_current=True)])
KILOBYTE = "r" * 1020
MEBIBYTE = json.dumps(
    [{"id": n, "name": f"user {n * 7919 % 1000}", "paid": n * 1.37} for n in range(22_000)]
)[: 1024 * 1024]
"""What rows of a table look like as JSON."""


class EncryptedCarrier(Carrier):
    """An app with one encrypted task, whose body is whatever it is handed."""

    def __init__(self, store: str) -> None:
        app = Celery("benchmarks", broker="memory://", set_as_current=False)
        self.runtime = Milepost(app, store=store, keys=KEYS).runtime
        self._body: Body = str

        @app.task(base=EncryptedTask, bind=True, shared=False, ignore_result=True)
        def carried(task: Any) -> None:
            self._result = self._body(task)

        self.task: Any = carried

    def carry(self, body: Body, job_id: str | None = None) -> Any:
        job_id = job_id or self.record()
        self._body, self._result = body, None
        args, _ = self.task.milepost_outgoing((), {}, job_id)
        self.task.push_request(id=job_id, called_directly=False, ignore_result=True, args=args)
        try:
            self.task.run(*args)
        except Ignore:
            return None
        finally:
            self.task.pop_request()
        return self._result


def steps_of(carrier: Carrier, steps: int, value: str | None = None) -> Case:
    """Return the case of *steps* steps in one attempt of a new job."""
    step = result if value is None else (lambda: value)

    def body(task: Any) -> Sample:
        with Watch(steps) as watch:
            for _ in range(steps):
                task.step(step)
        return watch.sample

    return lambda: carrier.carry(body)


def measure(ground: Ground) -> Iterator[Figure]:
    yield from of_steps(ground)
    yield from of_large_values(ground)
    yield from of_resumes(ground)
    yield from of_rotation(ground)


def of_steps(ground: Ground) -> Iterator[Figure]:
    server, steps = ground.redis(), ground.size(5000, 200)
    client = redis.Redis(port=server.port)
    plain, secret = Carrier(server.url), EncryptedCarrier(server.url)
    found = in_turn(
        ground.rounds,
        {
            "raw": raw(steps, client.hset),
            "plain": steps_of(plain, steps),
            "secret": steps_of(secret, steps),
            "plain KB": steps_of(plain, steps, KILOBYTE),
            "secret KB": steps_of(secret, steps, KILOBYTE),
        },
    )
    yield Figure(
        "P1",
        "encrypted `self.step`, 100 B, Redis",
        found["secret"].micros,
        "µs",
        found["raw"].micros,
        "bare redis-py HSET of 100 B",
        times_as_long(found["secret"], found["raw"]),
        Bar(1.4, 1.0),
    )
    for size, bar in (("", None), (" KB", Bar(1.3, 1.15))):
        yield Figure(
            "P15",
            f"encrypted `self.step`, {'1 KB' if size else '100 B'}, Redis",
            found[f"secret{size}"].micros,
            "µs",
            found[f"plain{size}"].micros,
            "the same step, plain",
            times_as_long(found[f"secret{size}"], found[f"plain{size}"]),
            bar,
        )
    yield Figure("P16", "Redis memory of an encrypted 100 B step", memory(secret, client), "B")


def memory(carrier: Carrier, client: Any, steps: int = 2000) -> float:
    job_id = carrier.record()

    def body(task: Any) -> None:
        for _ in range(steps):
            task.step(result)

    carrier.carry(body, job_id)
    used = client.memory_usage(f"milepost:{{{job_id}}}:data", samples=0)
    return float(used) / steps


def of_large_values(ground: Ground) -> Iterator[Figure]:
    data, times = MEBIBYTE.encode(), ground.size(20, 2)
    for compression in ("zlib", "zstd", None):
        cipher = Cipher(KEYS, compression)
        record = cipher.sealer().seal(b"place", data)

        def writing(cipher: Cipher = cipher) -> Sample:
            with Watch(times) as watch:
                for _ in range(times):
                    cipher.sealer().seal(b"place", data)
            return watch.sample

        def reading(cipher: Cipher = cipher, record: bytes = record) -> Sample:
            with Watch(times) as watch:
                for _ in range(times):
                    cipher.open(b"place", record, "x")
            return watch.sample

        found = in_turn(ground.rounds, {"write": writing, "read": reading})
        bar = Bar(250, at_least=True, of_ratio=False) if compression else None
        for case, series in found.items():
            what = f"{case} 1 MiB encrypted, {compression or 'no compression'}"
            shrunk = f" ({len(data) / len(record):.1f}× smaller)" if compression else ""
            rate = len(data) / series.micros
            yield Figure("P15", what + shrunk, rate, "MB/s", bar=bar)


def of_resumes(ground: Ground) -> Iterator[Figure]:
    server = ground.redis()
    plain, secret = Carrier(server.url), EncryptedCarrier(server.url)
    for steps, bar in FEW_AND_MANY.items():
        steps = min(steps, ground.size(steps, 500))

        def play(task: Any, steps: int = steps) -> None:
            for _ in range(steps):
                task.step(result)

        cases = {
            "plain": resumed(plain, play)[1],
            "secret": resumed(secret, play)[1],
        }
        found = in_turn(ground.rounds, cases)
        yield Figure(
            "P8",
            f"resume with {steps:,} encrypted steps, Redis",
            found["secret"].millis,
            "ms",
            found["plain"].millis,
            "the same, plain",
            times_as_long(found["secret"], found["plain"]),
            bar,
        )


def of_rotation(ground: Ground) -> Iterator[Figure]:
    """Measure jobs that have ended, each with ten encrypted values."""
    server, jobs, fields = ground.redis(), ground.size(400, 20), 9
    carrier = EncryptedCarrier(server.url)
    name, old = carrier.task.name, Cipher(KEYS)

    def case() -> Sample:
        client = redis.Redis(port=server.port)
        client.flushdb()
        for _ in range(jobs):
            job_id = carrier.record()
            store = sealed(carrier.store, old, name)
            lease = store.claim(Delivery(job_id, name), "bench:1", 60.0).lease  # type: ignore[union-attr]
            store.commit(lease, Delta({f"s{n}": b"r" * 100 for n in range(fields)}))
        cipher, exchanged = Cipher(NEXT), 0
        with Watch(jobs * (fields + 1)) as watch:
            for job in carrier.store.find(Query(limit=jobs)).jobs:
                exchanged += rotation.renew(carrier.runtime, cipher, job)[0]
        assert exchanged == jobs * (fields + 1)
        return watch.sample

    found = in_turn(ground.rounds, {"rotate": case})
    bar = Bar(5000, at_least=True, of_ratio=False)
    yield Figure(
        "–", "values encrypted anew by a rotation, Redis", found["rotate"].rate, "/s", bar=bar
    )
