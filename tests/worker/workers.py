"""Real Celery workers for tests: started, killed, frozen and cleaned up by process id."""

import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
LIMIT = 30.0
"""Seconds a condition may take before a test fails; generous, nothing is timed by it."""
_numbers = itertools.count()


def wait_until(condition, what, limit=LIMIT, interval=0.02):
    """Return the first true value of *condition*, asked again and again."""
    give_up_at = time.monotonic() + limit
    while not (value := condition()):
        if time.monotonic() > give_up_at:
            raise AssertionError(f"after {limit:.0f} s still not: {what}")
        time.sleep(interval)
    return value


class Effect(NamedTuple):
    """One line that a task has left."""

    job: str
    word: str
    fence: int
    item: str
    pid: int


class WorkerProcess:
    """One ``celery worker`` in a session of its own."""

    def __init__(self, folder, env, pool="prefork", concurrency=2, options=()):
        self.pool = pool
        self.name = f"w{next(_numbers)}"
        self.log = folder / f"{self.name}.log"
        command = [
            *(sys.executable, "-m", "celery", "-A", "project", "worker", "-l", "INFO"),
            *("-P", pool, "-c", str(concurrency), "-n", f"{self.name}@test"),
            *("--without-gossip", "--without-mingle", *options),
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
            )

    @property
    def pid(self):
        return self.process.pid

    def wait_until_ready(self):
        """Wait until the worker consumes."""
        wait_until(self._is_ready, f"worker {self.name} ready")
        return self

    def _is_ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"worker {self.name} ended with {self.process.returncode}")
        return f"{self.name}@test ready." in self.text()

    def text(self):
        """Return what it has logged."""
        return self.log.read_text(errors="replace")

    def child_pids(self):
        """Return the ids of its pool processes."""
        answer = subprocess.run(
            ["ps", "-o", "pid=,stat=", "--ppid", str(self.pid)], capture_output=True, text=True
        )
        rows = [line.split() for line in answer.stdout.splitlines()]
        return [int(pid) for pid, state in rows if not state.startswith("Z")]

    def kill(self):
        """SIGKILL the main process; those of the pool die with it.

        One that was just being started has not asked for that yet, and is killed here.
        """
        children = self.child_pids()
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
        for pid in children:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_alive, children)), "the pool's processes dead")

    def freeze(self):
        """SIGSTOP the main process first, so that it cannot speak for its children."""
        for pid in (self.pid, *self.child_pids()):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self):
        for pid in (*self.child_pids(), self.pid):
            os.kill(pid, signal.SIGCONT)

    def ask_to_stop(self):
        """SIGTERM: Celery's warm shutdown."""
        self.process.terminate()

    def stop(self):
        """End whatever is left of it."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()


def is_alive(pid):
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


class Site:
    """One broker, store and result backend; the project's client side, and its workers."""

    home = HERE
    """The folder that has ``project.py``."""

    def __init__(self, folder, broker, store, backend, conf=None, settings=None):
        self.folder = folder
        self.broker, self.store_url, self.backend = broker, store, backend
        self.workers = []
        if broker.startswith("filesystem"):
            conf = {"broker_transport_options": _folders(folder), **(conf or {})}
        self.env = {
            "PROJECT_FOLDER": str(folder),
            "PROJECT_BROKER": broker,
            "PROJECT_STORE": store,
            "PROJECT_BACKEND": backend,
            "PROJECT_CONF": json.dumps(conf or {}),
            **{f"MILEPOST_{name.upper()}": str(v) for name, v in (settings or {}).items()},
        }
        self.project = self._load_project()
        self.app, self.milepost = self.project.app, self.project.milepost
        self.jobs = self.milepost.jobs

    def _load_project(self):
        """Import the project once more, under this site's environment."""
        before = dict(os.environ)
        os.environ.update(self.env)
        try:
            spec = importlib.util.spec_from_file_location("project", self.home / "project.py")
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            # What is read lazily has to be read under this environment too.
            assert module.milepost.runtime.settings
            return module
        finally:
            os.environ.clear()
            os.environ.update(before)

    def start_worker(self, pool="prefork", concurrency=2, options=(), ready=True):
        """Start a worker; it is ended with the site."""
        path = os.pathsep.join(filter(None, (str(self.home), os.environ.get("PYTHONPATH"))))
        env = {**os.environ, **self.env, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        env["PROJECT_WORKER"] = "1"  # so that the project knows it from the test's own process
        env["C_FORCE_ROOT"] = "1"  # else Celery takes no pickle in a container's root shell
        worker = WorkerProcess(self.folder, env, pool, concurrency, options)
        self.workers.append(worker)
        return worker.wait_until_ready() if ready else worker

    def worker_of(self, pid):
        """Return the worker that a process belongs to."""
        return next(w for w in self.workers if pid == w.pid or pid in w.child_pids())

    def send(self, name, *args, **options):
        """Send a task of the project's."""
        return self.app.tasks[name].apply_async(args, **options)

    # -- what happened ---------------------------------------------------------------------

    def effects(self, job=None, word=None):
        """Return the lines that tasks have left: of one job, of one kind."""
        try:
            text = (self.folder / "effects").read_text()
        except FileNotFoundError:
            return []
        found = [_effect(line) for line in text.splitlines()]
        return [e for e in found if job in (None, e.job) and word in (None, e.word)]

    def items(self, job):
        """Return how often each item of a job ran."""
        return Counter(int(e.item) for e in self.effects(job, "item"))

    def redone(self, job):
        """Return how many items ran once more than needed."""
        return sum(times - 1 for times in self.items(job).values())

    def wait_for_item(self, job, item, fence=None):
        """Wait until an item of a job is being worked on; return the line."""

        def look():
            lines = self.effects(job, "item")
            return next(
                (e for e in lines if int(e.item) >= item and fence in (None, e.fence)), None
            )

        return wait_until(look, f"item {item} of {job}", interval=0.005)

    def wait_for(self, job, word, times=1):
        """Wait until a job has left so many lines of one kind."""
        return wait_until(
            lambda: (lines := self.effects(job, word)) and len(lines) >= times and lines,
            f"{times} × {word} of {job or 'any job'}",
            interval=0.005,
        )

    def wait_for_end(self, job, limit=LIMIT):
        """Wait until a job has ended; return its record."""
        return self.jobs.wait(job, timeout=limit, interval=0.02)

    def open_gate(self, name):
        (self.folder / name).touch()

    def close(self):
        """End all workers and give back connections."""
        for worker in self.workers:
            worker.stop()
        self.app.close()
        self.milepost.store.close()


def _effect(line):
    job, word, fence, item, pid = line.split()
    return Effect(job, word, int(fence), item, int(pid))


def _folders(folder):
    for name in ("queue", "control"):
        (folder / name).mkdir(exist_ok=True)
    queue = str(folder / "queue")
    return {
        "data_folder_in": queue,
        "data_folder_out": queue,
        "control_folder": str(folder / "control"),
        "polling_interval": 0.05,
    }
