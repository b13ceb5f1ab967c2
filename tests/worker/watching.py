"""Who reads along where nothing should be readable: a search over all bytes, events, Flower."""

import base64
import os
import subprocess
import sys

import httpx
from workers import HERE, wait_until

from services import free_port


def bytes_everywhere(site):
    """Yield, with the name of its place, all that a site has written anywhere."""
    for path in site.folder.rglob("*"):
        if path.is_file():
            yield str(path.name), path.read_bytes()
    for url in {site.broker, site.store_url, site.backend}:
        if url.startswith("redis"):
            yield url, b"\n".join(redis_bytes(url))
        elif url.startswith("postgres"):
            yield url, postgres_bytes(site)


def redis_bytes(url):
    import redis

    client = redis.Redis.from_url(url)
    for key in client.scan_iter("*"):
        yield key
        kind = client.type(key)
        if kind == b"string":
            yield client.get(key)
        elif kind == b"hash":
            for pair in client.hgetall(key).items():
                yield from pair
        elif kind == b"list":
            yield from client.lrange(key, 0, -1)
        elif kind == b"set":
            yield from client.smembers(key)
        elif kind == b"zset":
            yield from client.zrange(key, 0, -1)
        else:
            assert kind == b"none", f"a key of kind {kind}"  # it expired meanwhile


def postgres_bytes(site):
    import psycopg

    parts = []
    with psycopg.connect(site.store_url) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            if table.startswith(site.milepost.runtime.settings.namespace):
                for row in connection.execute(f'SELECT * FROM "{table}"').fetchall():
                    parts += [v if isinstance(v, bytes) else str(v).encode() for v in row]
    return b"\n".join(parts)


def find_canary(site, canary="canary-4711"):
    """Return the places where the canary, in any of its spellings, is found."""
    plain = canary.encode()
    spellings = [plain, canary.encode("utf-16-le"), canary[::-1].encode()]
    spellings += [base64.b64encode(plain)[:12], plain.hex().encode()]
    found = set()
    for place, data in bytes_everywhere(site):
        found |= {(place, word) for word in spellings if word in data}
    return found


class Events:
    """Everything that workers tell those who watch them, as Flower does."""

    def __init__(self, site):
        self.lines = []
        env = {**site.env, "PROJECT_EVENTS": "1"}
        self.log = site.folder / "events.log"
        code = (
            "import sys, project\n"
            "app = project.app\n"
            "with app.connection_for_read() as c:\n"
            "    r = app.events.Receiver(c, handlers={'*': lambda e: print(e, flush=True)})\n"
            "    print('ready', flush=True)\n"
            "    r.capture(limit=None, timeout=None, wakeup=False)\n"
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=site.folder,
                env={**os.environ, **env, "PYTHONPATH": str(HERE)},
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: b"ready" in self.log.read_bytes(), "the events' receiver")

    def stop(self):
        self.process.kill()
        self.process.wait()


class Flower:
    """A real Flower on a site's broker, on a free loopback port."""

    def __init__(self, site):
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = site.folder / "flower.log"
        port = self.url.rpartition(":")[2]
        command = ("flower", "--address=127.0.0.1", f"--port={port}", "--logging=debug")
        env = {"PYTHONPATH": str(HERE), "FLOWER_UNAUTHENTICATED_API": "true"}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "project", *command],
                cwd=site.folder,
                env={**os.environ, **site.env, **env},
                stdout=log,
                stderr=log,
            )
        wait_until(self._answers, "Flower")

    def _answers(self):
        try:
            return httpx.get(f"{self.url}/healthcheck").is_success
        except httpx.TransportError:
            assert self.process.poll() is None, self.log.read_text()
            return False

    def get(self, path):
        """Return a page, or fail."""
        answer = httpx.get(f"{self.url}{path}", timeout=20.0)
        answer.raise_for_status()
        return answer

    def pages(self):
        """Yield all that it shows: by path, the text."""
        tasks = self.get("/api/tasks").json()
        for path in ("/api/tasks", "/tasks", "/workers", "/api/workers?refresh=1", "/metrics"):
            yield path, self.get(path).text
        for job_id in tasks:
            for path in (f"/api/task/info/{job_id}", f"/task/{job_id}"):
                yield path, self.get(path).text

    def states(self):
        """Return what it knows of tasks: by id, name and state."""
        found = self.get("/api/tasks").json()
        return {job_id: (task["name"], task["state"]) for job_id, task in found.items()}

    def stop(self):
        self.process.kill()
        self.process.wait()
