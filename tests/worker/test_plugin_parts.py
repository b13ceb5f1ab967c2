"""Store, codec, observer and policy of one plugin, all in use in a real worker."""

import json
import os
import subprocess
import sys

import pytest
from workers import wait_until

PLUGIN = """\
import os

from milepost.codecs.json import JsonCodec
from milepost.errors import DecodeError
from milepost.hookspecs import hookimpl
from milepost.security.roles import Role, RoleTable
from milepost.stores.sql.sqlite import connect


def open_store(url, settings):
    return connect(url.replace("acme:", "sqlite:", 1), settings)


class Marked:
    \"\"\"JSON behind a mark of its own.\"\"\"

    def __init__(self):
        self.json = JsonCodec()

    def encode(self, value):
        return b"ACME" + self.json.encode(value)

    def decode(self, data):
        if not data.startswith(b"ACME"):
            raise DecodeError("no mark")
        return self.json.decode(data[4:])


def observe(event):
    with open("events", "a") as file:
        file.write(f"{type(event).__name__} {os.getpid()}\\n")


@hookimpl
def milepost_stores():
    return {"acme": open_store}


@hookimpl
def milepost_codecs():
    return {"marked": Marked}


@hookimpl
def milepost_observers():
    return {"acme": lambda: observe}


@hookimpl
def milepost_permission_policies():
    roles = {"ops": Role(["*"]), "viewer": Role(["see"])}
    return {"acme": lambda: RoleTable(roles, {"ops": ["ann"], "viewer": ["eve"]})}
"""
PROJECT = """\
import time

from celery import Celery

from milepost import CheckpointableTask, Milepost

app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue",
    "data_folder_out": "queue",
    "control_folder": "control",
    "polling_interval": 0.05,
}
milepost = Milepost(app, store="acme:///jobs.db", codec="marked", policy="acme")


@app.task(base=CheckpointableTask, bind=True, job_type="shop.add")
def add(self, n):
    for item in self.iterate(range(n), every=1):
        self.state["sum"] = self.state.get("sum", 0) + item
        time.sleep(0.02)
    return self.state["sum"]
"""
WORKER = "-m celery -A shop worker -c 1 -l INFO -n parts@test"
JOBS = "-m celery -A shop jobs"
CREATE = """\
from shop import milepost

print(milepost.jobs.create("shop.add", {"n": 50}, principal="ann").id)
"""


@pytest.fixture
def place(tmp_path):
    for name in ("queue", "control"):
        (tmp_path / name).mkdir()
    (tmp_path / "acme.py").write_text(PLUGIN)
    (tmp_path / "shop.py").write_text(PROJECT)
    for name, version in (("acme", "2.0"), ("broken", "0.1")):
        meta = tmp_path / f"{name}_parts-{version}.dist-info"
        meta.mkdir()
        about = f"Metadata-Version: 2.1\nName: {name}-parts\nVersion: {version}\n"
        (meta / "METADATA").write_text(about)
        (meta / "entry_points.txt").write_text(f"[milepost]\n{name} = {name}\n")
    return tmp_path


@pytest.fixture
def call(place):
    """A function that runs Python in that place and returns how it ended."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MILEPOST")}
    env |= {"PYTHONPATH": str(place), "C_FORCE_ROOT": "1"}

    def run(*words, start=False):
        command = [sys.executable, *words]
        if not start:
            return subprocess.run(command, cwd=place, env=env, capture_output=True, text=True)
        with (place / "log").open("ab") as log:
            return subprocess.Popen(command, cwd=place, env=env, stdout=log, stderr=log)

    return run


def test_the_parts_of_a_plugin(place, call):
    """A job lives in the plugin's store, in its codec's bytes, under its policy, and is seen.

    That another plugin cannot be imported is said, and is no matter.
    """
    worker = call(*WORKER.split(), start=True)
    try:
        made = call("-c", CREATE)
        assert made.returncode == 0, made.stderr
        job_id = made.stdout.strip()

        def ask(*words):
            return call(*JOBS.split(), *words)

        plugins = {
            one["name"]: one for one in json.loads(ask("plugins", "--json").stdout)["plugins"]
        }
        assert plugins["acme"]["brings"] == [
            *("stores acme", "codecs marked", "observers acme", "permission_policies acme")
        ]
        assert plugins["broken"]["problem"] == "ModuleNotFoundError: No module named 'broken'"
        assert "plugin 'broken' of broken-parts 0.1 is not in use" in (place / "log").read_text()

        denied = ask("pause", job_id, "--principal", "eve")
        assert denied.returncode == 10
        assert "'eve' may not pause 'shop.add'" in denied.stderr
        assert ask("show", job_id, "--principal", "eve").returncode == 0
        assert ask("show", job_id).returncode == 10

        done = ask("watch", job_id, "--principal", "ann", "--timeout", "60")
        assert done.returncode == 0, f"{done.stderr}{(place / 'log').read_text()}"
        kept = json.loads(ask("checkpoint", job_id, "--principal", "ann", "--json").stdout)
        assert kept["state"] == {"sum": sum(range(50))}

        files = (one for one in place.glob("jobs.db*") if one.suffix != ".db-shm")
        assert any(b"ACME" in one.read_bytes() for one in files)
        seen = wait_until(
            lambda: (text := (place / "events").read_text()) and "JobSettled" in text and text,
            "the observer has seen the end",
        )
        assert "PermissionDecided" in seen
        pids = {int(line.split()[1]) for line in seen.splitlines() if line.startswith("JobS")}
        assert pids
        assert worker.pid not in pids  # a pool process has carried it
    finally:
        worker.terminate()
        worker.wait(30)
