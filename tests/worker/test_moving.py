"""A move from another system with real workers: under load, in an emergency, killed half-way."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from workers import Site, wait_until

from milepost.routing import Mode
from services import start_redis

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "data_testing"
MOVING = Path(__file__).parent / "moving"
JOB_TYPE = "rule_execution"


class Host(Site):
    """The example's host application, with its table and what works that off."""

    home = MOVING

    def start_all(self):
        """Start the table's process and a worker of Celery's that consumes all queues."""
        from table import Table

        Table(self.folder).make()
        queues = ",".join(f"data.{name}" for name in self.project.host.WORK)
        self.worker = self.start_worker(concurrency=2, options=("-Q", queues))
        self.table = subprocess.Popen(
            [sys.executable, str(EXAMPLE / "table.py")], env=self.environment(), cwd=self.folder
        )

    def environment(self):
        path = os.pathsep.join((str(self.home), str(EXAMPLE)))
        given = {"DATA_TESTING_FOLDER": str(self.folder), "PYTHONPATH": path}
        return {**os.environ, **self.env, **given}

    def create(self, unit, **payload):
        payload = {"column": "dep_delay", "unit": unit, **payload}
        return self.milepost.router.create_job(JOB_TYPE, payload)

    def items_of(self, unit):
        import effects

        found = effects.items(self.folder)
        return {item: n for (_, of, item), n in found.items() if of == unit}

    def is_done(self, unit):
        import effects

        return effects.ends(self.folder)[JOB_TYPE, unit] == 1

    def roll_back(self, *death):
        return subprocess.run(
            [sys.executable, str(MOVING / "roll_back.py"), JOB_TYPE, *death],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
        )

    def close(self):
        self.table.kill()
        self.table.wait()
        super().close()


@pytest.fixture
def host(databases, tmp_path):
    host = Host(tmp_path, next(databases), next(databases), "")
    host.start_all()
    yield host
    host.close()


def test_six_job_types_move_under_load(redis_server, databases, tmp_path):
    """Over 2,000 jobs, created without a break: none is lost, none runs twice."""
    command = [sys.executable, str(EXAMPLE / "run.py"), "--jobs", "2200", "--rate", "80"]
    options = ["--broker", next(databases), "--store", next(databases), "--folder", str(tmp_path)]
    done = subprocess.run(command + options, capture_output=True, text=True, timeout=220)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in (tmp_path / "effects").read_text().splitlines()]
    ends = [(job_type, unit) for job_type, unit, item, _ in lines if item == "done"]
    items = [(job_type, unit, item) for job_type, unit, item, _ in lines if item != "done"]
    assert len(ends) == len(set(ends)) == 2203
    assert len(items) == len(set(items))
    proof = json.loads(done.stdout.splitlines()[-2])
    assert min(proof["by_system"].values()) > 500
    crossed = proof["crossed"]
    assert crossed, "no job was under way in Celery when its type was rolled back"
    for unit in crossed:
        systems = [system for of, u, item, system in lines if u == unit and item != "done"]
        assert systems == sorted(systems), "Celery first, then the legacy system, never both"


@pytest.mark.timeout(300)
def test_whoever_rolls_back_is_killed_at_every_step(host):
    """Before a step is taken and before it is noted; the next one goes on, and nothing is lost."""
    for number in range(4):
        for when in ("before", "after"):
            long, short = f"long-{number}-{when}", f"short-{number}-{when}"
            host.milepost.migrations.move(JOB_TYPE, Mode.CELERY, by="test")
            host.create(long, slices=40, pace=0.05)
            wait_until(lambda unit=long: len(host.items_of(unit)) >= 2, f"{long} under way")
            job_id = host.create(short)
            died = host.roll_back(str(number), when)
            assert died.returncode == -9, died.stdout + died.stderr
            assert JOB_TYPE in host.milepost.rollbacks.unfinished()
            done = host.roll_back()
            assert done.returncode == 0, done.stderr
            wait_until(lambda unit=long: host.is_done(unit), f"{long} done")
            wait_until(lambda unit=short: host.is_done(unit), f"{short} done")
            assert host.items_of(long) == {str(item): 1 for item in range(40)}
            assert host.milepost.rollbacks.unfinished() == {}
            wait_until(
                lambda job_id=job_id: (
                    host.milepost.router.get_job_status(job_id).status == "succeeded"
                ),
                "the short job's end is known",
            )


def test_emergency(host):
    """Flags off, traffic turned, the worker gone warmly, its job carried on at the next item."""
    host.milepost.migrations.move(JOB_TYPE, Mode.CELERY, by="test")
    job_id = host.create("long", slices=100, pace=0.05)
    wait_until(lambda: len(host.items_of("long")) >= 2, "the job under way")
    host.milepost.rollbacks.emergency_rollback_all(reason="fire", by="test")
    assert host.worker.process.wait(90) == 0
    assert (host.folder / "maintenance").read_text() == "fire"
    wait_until(lambda: host.is_done("long"), "the job done by the legacy system")
    assert host.items_of("long") == {str(item): 1 for item in range(100)}
    assert host.milepost.router.get_job_status(job_id).engine == "legacy"


def test_a_type_that_fails_goes_back_by_itself(host):
    """A worker sees it, and nobody has to be awake."""
    host.milepost.migrations.move(JOB_TYPE, Mode.CELERY, by="test")
    for number in range(30):
        host.create(f"bad-{number}", column="carrier")
    wait_until(
        lambda: host.milepost.migrations.history(JOB_TYPE)[-1].by == "automatic",
        "the type rolled back",
        limit=60.0,
    )
    assert not host.milepost.flags.is_enabled(f"celery_{JOB_TYPE}")
    counts = host.milepost.migrations.get_migration_status().details
    (one,) = [status for status in counts if status.job_type == JOB_TYPE]
    assert (one.sides["celery"].failed, one.state) == (30, "rolled_back")


WEB = """
import sys, time
from celery import Celery
from milepost import CheckpointableTask, Milepost
from milepost.errors import BrokerUnavailableError, StoreUnavailableError
from milepost.jobs import fast_fail
app = Celery("web", broker=sys.argv[1], backend=sys.argv[3] or None)
app.conf.update(fast_fail())
milepost = Milepost(app, store=sys.argv[2])

@app.task(base=CheckpointableTask, bind=True, name="work")
def work(self):
    pass

milepost.flags.enable("celery_work")
app.finalize(), app.backend, app.connection_for_write().transport  # what is imported late
for _ in range(2):
    began = time.monotonic()
    try:
        milepost.router.create_job("work")
        said = "sent"
    except BrokerUnavailableError as exc:
        said = f"refused: {exc}"
    print(f"{time.monotonic() - began:.2f} {said}", flush=True)
"""


@pytest.mark.parametrize("state", ["refused", "frozen", "frozen backend", "refused backend"])
def test_web_processes_fail_soon(state, tmp_path, databases):
    """One clear error; Celery's own settings wait for 6 s to more than a minute."""
    server = start_redis()
    if state.startswith("frozen"):
        server.freeze()
    else:
        server.kill()
    down = server.url
    broker, backend = (next(databases), down) if "backend" in state else (down, "")
    try:
        done = subprocess.run(
            [sys.executable, "-c", WEB, broker, f"sqlite:///{tmp_path}/jobs.db", backend],
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        server.stop()
    assert done.returncode == 0, done.stderr
    lines = [line.split(" ", 1) for line in done.stdout.splitlines()]
    print(state, *done.stdout.splitlines(), sep="\n")
    assert all(said.startswith("refused: job ") for _, said in lines), done.stdout
    assert all(float(seconds) < 10 for seconds, _ in lines), done.stdout


def test_a_switched_flag_is_seen_by_another_process(databases, tmp_path):
    """Within a second, and a little for the machine."""
    store = next(databases)
    watcher = (
        "import sys, time\n"
        "from celery import Celery\n"
        "from milepost import Milepost\n"
        "milepost = Milepost(Celery('x', broker='memory://'), store=sys.argv[1])\n"
        "assert not milepost.flags.is_enabled('celery_a')\n"
        "print('ready', flush=True)\n"
        "while not milepost.flags.is_enabled('celery_a'): time.sleep(0.005)\n"
        "print(time.time(), flush=True)\n"
    )
    from celery import Celery

    from milepost import Milepost

    milepost = Milepost(Celery("y", broker="memory://"), store=store)
    process = subprocess.Popen(
        [sys.executable, "-c", watcher, store], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "ready\n"
        milepost.flags.enable("celery_a")
        switched = time.time()
        seen = float(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
    print(f"seen after {seen - switched:.2f} s")
    assert seen - switched < 5.0
