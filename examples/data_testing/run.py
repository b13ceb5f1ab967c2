"""The demo: move six job types to Celery under load, roll one back in mid-flight, prove it.

python run.py [--jobs N] [--rate N] [--broker URL] [--store URL]

Without options nothing but Python is needed: the broker is a folder, the store an SQLite file.
Exit status 0 says that the proof held: no job lost, none run twice.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import effects
from work import WORK, result_of

HERE = Path(__file__).parent
LONG = 60
"""Items of a job that is under way when its type is rolled back."""
PATIENCE = 240.0
COLUMNS = ("dep_delay", "arr_delay", "distance", "air_time")


def payload_of(job_type: str, unit: int) -> dict[str, Any]:
    """Return what a job is to do; the same for the same unit."""
    payload: dict[str, Any] = {"unit": unit, "slices": 1 + unit % 3}
    if job_type in ("rule_generation", "rule_execution"):
        payload["column"] = COLUMNS[unit % len(COLUMNS)]
    if job_type == "intelligent_sampling":
        payload["seed"] = unit
    if job_type == "test_execution":
        payload["limit"] = unit % 60
    return payload


class Load:
    """Creates jobs of all types, evenly and without a break, as a busy product does.

    Args:
        host: the host application.
        total: how many.
        rate: how many a second.
    """

    def __init__(self, host: Any, total: int, rate: float) -> None:
        self._host, self._total, self._rate = host, total, rate
        self.ids: dict[tuple[str, int], str] = {}
        self.failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load")

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        types, began = list(WORK), time.monotonic()
        try:
            for number in range(self._total):
                job_type, unit = types[number % len(types)], number // len(types)
                # Half of all callers give a key, as they would to be safe against their own
                # retries; some of these do call twice.
                key = f"{job_type}-{unit}" if unit % 2 else None
                for _ in range(2 if unit % 10 == 1 else 1):
                    job_id = self._host.create_job(
                        job_type, payload_of(job_type, unit), idempotency_key=key
                    )
                self.ids[job_type, unit] = job_id
                late = began + number / self._rate - time.monotonic()
                time.sleep(max(late, 0.0))
        except BaseException as exc:
            self.failed = exc
            raise

    def wait_until(self, part: float) -> None:
        """Wait until so large a part of all jobs was created."""
        while len(self.ids) < part * self._total:
            if self.failed is not None:
                raise RuntimeError("the load has stopped") from self.failed
            time.sleep(0.01)

    def join(self) -> None:
        self._thread.join()


def start(folder: Path, *command: str) -> "subprocess.Popen[bytes]":
    """Start a process of the product's."""
    log = (folder / f"{command[-1].replace('/', '-')}.log").open("ab")
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a process and all that it has started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(what: str, condition: Callable[[], Any]) -> Any:
    """Return the first true answer."""
    give_up_at = time.monotonic() + PATIENCE
    while not (found := condition()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"after {PATIENCE:g} s still not: {what}")
        time.sleep(0.05)
    return found


def move_all(host: Any, load: Load) -> dict[str, Any]:
    """Move one type after the other while the load goes on; roll one back on the way."""
    from milepost.routing import Mode

    migrations = host.milepost.migrations
    rolled_back: dict[str, Any] = {}
    for number, job_type in enumerate(WORK, 1):
        load.wait_until(number / (len(WORK) + 2))
        migrations.move(job_type, Mode.PERCENTAGE, share=30, by="demo")
        say(f"{job_type}: 30 % of its jobs go to Celery")
        load.wait_until((number + 0.5) / (len(WORK) + 2))
        migrations.move(job_type, Mode.CELERY, by="demo")
        say(f"{job_type}: all of its jobs go to Celery")
        if job_type == "rule_execution":
            rolled_back = roll_back_in_flight(host, job_type)
    return rolled_back


def roll_back_in_flight(host: Any, job_type: str) -> dict[str, Any]:
    """Let long jobs begin in Celery, and roll their type back while they are under way."""
    units = [f"long-{number}" for number in range(3)]
    payload = {"column": "dep_delay", "slices": LONG, "pace": 0.05}
    ids = {unit: host.create_job(job_type, {**payload, "unit": unit}) for unit in units}
    begun = wait_for(
        "a long job under way in Celery",
        lambda: [unit for unit in units if effects.items(host.FOLDER)[job_type, unit, "2"]],
    )
    done = host.milepost.rollbacks.rollback_job_type(job_type, reason="as a drill", by="demo")
    for step in done.steps:
        say(f"{job_type}, rollback, {step.name}: {step.outcome}")
    return {
        "job_type": job_type,
        "ids": ids,
        "begun": begun,
        "handed": dict(done.handed),
        "left": dict(done.left),
        "payload": payload,
    }


def prove(host: Any, load: Load, rolled_back: dict[str, Any]) -> dict[str, Any]:
    """Hold what ran against what was asked for."""
    expected = {(job_type, str(unit)) for job_type, unit in load.ids}
    expected |= {(rolled_back["job_type"], unit) for unit in rolled_back["ids"]}
    wait_for("every job at its end", lambda: len(effects.ends(host.FOLDER)) >= len(expected))
    time.sleep(2.0)  # for a second run of any, should there be one
    ends, items = effects.ends(host.FOLDER), effects.items(host.FOLDER)
    wrong = [
        (job_type, unit)
        for (job_type, unit), job_id in load.ids.items()
        if unit % 20 == 0
        and as_json(host.milepost.router.result(job_id))
        != result_of(job_type, payload_of(job_type, unit))
    ]
    for unit, job_id in rolled_back["ids"].items():
        full = {**rolled_back["payload"], "unit": unit}
        if host.milepost.router.result(job_id) != result_of(rolled_back["job_type"], full):
            wrong.append((rolled_back["job_type"], unit))
    crossed = [
        unit
        for unit in rolled_back["begun"]
        if effects.systems(host.FOLDER, rolled_back["job_type"], unit) == {"celery", "legacy"}
    ]
    by_system: Counter[str] = Counter()
    for job_id in load.ids.values():
        by_system[host.milepost.router.engine_of(job_id)] += 1
    return {
        "jobs": len(expected),
        "lost": sorted(expected - set(ends)),
        "doubled": sorted(job for job, times in ends.items() if times > 1),
        "unexpected": sorted(set(ends) - expected),
        "items_doubled": sorted(item for item, times in items.items() if times > 1),
        "wrong": wrong,
        "crossed": crossed,
        "handed": len(rolled_back["handed"]),
        "left": rolled_back["left"],
        "by_system": dict(by_system),
    }


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=600)
    parser.add_argument("--rate", type=float, default=40.0, help="jobs a second")
    parser.add_argument("--broker", default="filesystem://")
    parser.add_argument("--store")
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="data-testing-"))
    os.environ.update(DATA_TESTING_FOLDER=str(folder), DATA_TESTING_BROKER=options.broker)
    if options.store:
        os.environ["DATA_TESTING_STORE"] = options.store
    import host  # reads the environment

    host.milepost.runtime.settings  # noqa: B018  (a wrong one is an error now)
    host.FOLDER.mkdir(exist_ok=True)
    from table import Table

    Table(folder).make()
    queues = ",".join(f"data.{job_type}" for job_type in WORK)
    worker = ("-m", "celery", "-A", "host", "worker", "-c", "2", "-l", "INFO", "-Q", queues)
    quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
    processes = [
        start(folder, str(HERE / "table.py")),
        start(folder, *worker, *quiet, "-n", "worker@demo"),
    ]
    try:
        wait_for("the worker ready", lambda: "ready." in log_of(folder, "worker@demo"))
        load = Load(host, options.jobs, options.rate)
        load.start()
        try:
            rolled_back = move_all(host, load)
        finally:
            load.join()
        proof = prove(host, load, rolled_back)
    finally:
        for process in processes:
            stop(process)
    say(json.dumps(proof))
    bad = ("lost", "doubled", "unexpected", "items_doubled", "wrong", "left")
    held = not any(proof[name] for name in bad) and bool(proof["crossed"])
    say("The proof held." if held else "The proof did NOT hold.")
    return 0 if held else 1


def log_of(folder: Path, name: str) -> str:
    try:
        return (folder / f"{name}.log").read_text(errors="replace")
    except FileNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
