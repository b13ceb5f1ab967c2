"""A plugin as its users have it: installed by pip into an environment, run by a worker of it."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from workers import wait_until

ROOT = Path(__file__).parents[2]
PROJECT = """\
import os

from celery import Celery

from milepost import Milepost

app = Celery("shop", broker="filesystem://")
app.conf.broker_transport_options = {
    "data_folder_in": "queue",
    "data_folder_out": "queue",
    "control_folder": "control",
    "polling_interval": 0.05,
}
app.conf.worker_pool_start_method = os.environ.get("START_METHOD", "fork")
milepost = Milepost(app, store="sqlite:///jobs.db")
"""
CREATE = """\
import json
import sys

from shop import milepost

words = milepost.jobs.create("text.words", {"folder": "texts", "top": 2})
lines = milepost.jobs.create("text.lines", {"folder": "texts"})
print(json.dumps([milepost.jobs.result(job.id, timeout=60) for job in (words, lines)]))
"""


class Place:
    """A folder with an environment, a project, and what its workers leave."""

    def __init__(self, folder):
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("MILEPOST", "PYTHON"))}
        self.env |= {"WORDCOUNT_JOURNAL": str(folder / "journal"), "C_FORCE_ROOT": "1"}
        self.log = folder / "worker.log"
        self.worker = None

    def install(self):
        """Make the environment, with what this one has, and the plugin by pip."""
        subprocess.run([sys.executable, "-m", "venv", self.folder / "venv"], check=True)
        site = next((self.folder / "venv").glob("lib/python*/site-packages"))
        # What milepost needs is taken from here: an index is not needed, nor there everywhere.
        ours = sysconfig.get_path("purelib")
        (site / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
        self.run(
            *("-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"),
            *("--disable-pip-version-check", str(ROOT / "examples" / "plugin_package")),
        )

    def run(self, *words):
        """Run the environment's Python; return what it says."""
        done = subprocess.run(
            [self.python, *words], cwd=self.folder, env=self.env, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.said()}"
        return done.stdout

    def ask(self, what):
        """Return what a command lists."""
        words = ("-m", "celery", "-A", "shop", "jobs", what, "--json")
        return json.loads(self.run(*words))[what]

    def start_worker(self, start_method):
        env = {**self.env, "START_METHOD": start_method}
        with self.log.open("wb") as log:
            self.worker = subprocess.Popen(
                [
                    *(self.python, "-m", "celery", "-A", "shop", "worker", "-l", "INFO"),
                    *("-c", "1", "-n", "plugin@test"),
                ],
                cwd=self.folder,
                env=env,
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: "plugin@test ready." in self.said(), "the worker is ready")

    def said(self):
        return self.log.read_text() if self.log.exists() else ""

    def stop(self):
        if self.worker is not None and self.worker.poll() is None:
            self.worker.terminate()
            try:
                self.worker.wait(20)
            except subprocess.TimeoutExpired:
                self.worker.kill()
                self.worker.wait()


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    for name in ("queue", "control", "texts"):
        (tmp_path / name).mkdir()
    (tmp_path / "texts" / "a.txt").write_text("the cat, the dog\n")
    (tmp_path / "texts" / "b.txt").write_text("The dog sleeps\nand sleeps\n and the dog\n")
    (tmp_path / "shop.py").write_text(PROJECT)
    place.install()
    yield place
    place.stop()


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_a_plugin_that_pip_installs(place, start_method):
    """Its tasks run in a real worker, its observer hears of it, and the commands show it."""
    plugins = place.ask("plugins")
    (ours,) = [one for one in plugins if one["distribution"] == "milepost-wordcount"]
    assert (ours["name"], ours["version"], ours["state"]) == ("wordcount", "1.2.0", "loaded")
    types = place.ask("types")
    assert [(one["name"], one["owner"], one["input_model"]) for one in types] == [
        ("text.lines", "milepost-wordcount", None),
        ("text.words", "milepost-wordcount", "Words"),
    ]

    place.start_worker(start_method)
    assert json.loads(place.run("-c", CREATE)) == [[["the", 4], ["dog", 3]], 4]

    journal = wait_until(
        lambda: (lines := (place.folder / "journal").read_text().splitlines())[1:] and lines,
        "both ends in the observer's journal",
    )
    assert [line.split()[1:] for line in sorted(journal, key=lambda line: line.split()[1])] == [
        ["milepost_wordcount.count_lines", "succeeded"],
        ["milepost_wordcount.count_words", "succeeded"],
    ]
