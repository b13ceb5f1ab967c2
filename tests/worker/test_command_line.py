"""The command line as people and scripts use it: beside a worker that runs, on a real Redis."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from workers import HERE, wait_until

from milepost import __version__

LIMIT = 60


class Shell:
    """Types ``celery -A project jobs …`` as somebody beside the workers of a site does."""

    def __init__(self, site):
        self.site = site
        path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
        self.env = {**os.environ, **site.env, "PYTHONPATH": path}
        self.env.pop("NO_COLOR", None)

    def command(self, *words):
        return [sys.executable, "-m", "celery", "-A", "project", "jobs", *words]

    def run(self, *words, env=None):
        return subprocess.run(
            self.command(*words),
            cwd=self.site.folder,
            env={**self.env, **(env or {})},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )

    def json(self, *words, code=0):
        done = self.run(*words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def start(self, *words):
        return subprocess.Popen(
            self.command(*words),
            cwd=self.site.folder,
            env=self.env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def on_a_terminal(self, *words, **env):
        """Run a command under a pty; return its exit code and what the terminal got."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.site.folder)
            environ = {**self.env, "TERM": "xterm-256color", "COLUMNS": "140", **env}
            os.execvpe(sys.executable, self.command(*words), environ)
        said = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # so a pty says that nobody writes any more
                break
            if not part:
                break
            said += part
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), said.decode(errors="replace")


@pytest.fixture
def site(make_site):
    site = make_site("redis")
    site.start_worker()
    return site


@pytest.fixture
def shell(site):
    return Shell(site)


def test_a_day_with_a_job(site, shell):
    """List, show, pause, explain, resume, cancel: each says what is so, with its exit code."""
    job = site.jobs.create("count", {"n": 10_000, "pause": 0.05}, owner="ann").id
    site.wait_for_item(job, 3)
    listed = shell.json("list", "--status", "running", "--owner", "ann")["jobs"]
    assert [(one["id"], one["total"], one["status"]) for one in listed] == [
        (job, 10_000, "running")
    ]
    assert job in shell.run("list").stdout
    assert shell.json("show", job)["worker"]

    assert shell.json("pause", job, "--by", "bob")["jobs"][0]["done"]
    wait_until(lambda: site.jobs.get(job).status == "paused", "paused")
    explained = shell.run("explain", job)
    assert (explained.returncode, "paused by bob" in explained.stdout) == (0, True)
    saved = shell.json("checkpoint", job)
    assert next(iter(saved["loops"].values())) >= 3
    assert saved["state"]["sum"] >= 3

    assert shell.run("resume", job).returncode == 0
    wait_until(lambda: site.jobs.get(job).status == "running", "running again")
    watching = shell.start("watch", job, "--json")
    first = json.loads(watching.stdout.readline())
    assert first["status"] in ("pending", "running")
    assert shell.run("cancel", job).stdout.startswith(f"{job}: ends at its next checkpoint")
    rest, _ = watching.communicate(timeout=LIMIT)
    changes = [json.loads(line) for line in rest.splitlines()]
    assert changes[-1]["status"] == "cancelled"
    assert watching.returncode == 6

    refused = shell.run("pause", job)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(f"Error: job '{job}' is cancelled")
    assert shell.run("show", "nope").returncode == 3
    assert shell.json("stats")["all"] == {"cancelled": 1}


def test_failed_ones_are_tried_again(site, shell):
    """By filter, once what was wrong is fixed."""
    jobs = [site.jobs.create("fail_until", {"n": 6, "at": 3}).id for _ in range(3)]
    for job in jobs:
        site.wait_for_end(job)
    watched = shell.run("watch", jobs[0])
    assert (watched.returncode, "not fixed yet" in watched.stdout) == (5, True)
    asked = shell.run("retry", "--type", "fail_until")
    assert (asked.returncode, asked.stdout) == (2, "")
    assert "would retry 3 jobs" in asked.stderr
    site.open_gate("fixed")
    assert shell.run("retry", "--type", "fail_until", "--yes").returncode == 0
    for job in jobs:
        assert shell.run("watch", job, "--timeout", "30").returncode == 0
        assert site.redone(job) == 0


def test_what_is_drawn_on_a_terminal(site, shell):
    """A bar and tables there; plain text and no colour where nobody looks or wants them."""
    job = site.jobs.create("count", {"n": 40, "pause": 0.05}).id
    code, said = shell.on_a_terminal("watch", job)
    assert code == 0
    assert "━" in said
    assert "of 40" in said
    assert "\x1b[" in said
    assert "succeeded, 40 of 40, 100 %" in said
    piped = shell.run("watch", job)
    assert (piped.returncode, "\x1b" in piped.stdout, "━" in piped.stdout) == (0, False, False)

    code, said = shell.on_a_terminal("list")
    assert (code, job in said, "\x1b[32m" in said) == (0, True, True)
    for words, env in ((("list",), {"NO_COLOR": "1"}), (("list", "--no-color"), {})):
        code, said = shell.on_a_terminal(*words, **env)
        assert (code, job in said, "\x1b[32m" in said) == (0, True, False)
    code, said = shell.on_a_terminal("watch", job, TERM="dumb")
    assert (code, "━" in said) == (0, False)


def test_the_doctor(site, shell):
    """It finds the keeper of the worker that runs, and what this Redis does not keep."""
    done = shell.run("doctor", "--json")
    report = json.loads(done.stdout)
    codes = {finding["code"]: finding["level"] for finding in report["findings"]}
    assert codes.get("redis-persistence") == "warning"
    assert codes.get("late-not-durable") == "warning"
    assert not {"no-workers", "no-keeper", "keeper-dead", "other-store", "not-checked"} & set(codes)
    assert (report["errors"], done.returncode) == (0, 8)
    assert f"{report['warnings']} warnings" in shell.run("doctor").stdout

    elsewhere = shell.run("doctor", "--json", env={"MILEPOST_NAMESPACE": "elsewhere"})
    assert elsewhere.returncode == 9
    assert "other-store" in elsewhere.stdout


def test_the_doctor_counts_jobs_that_were_given_up(site, shell):
    site.wait_for_end(site.jobs.create("kill_itself").id)
    codes = [one["code"] for one in json.loads(shell.run("doctor", "--json").stdout)["findings"]]
    assert "jobs-crashed" in codes


def test_ctrl_c_ends_a_watch(site, shell):
    """Without a traceback; the job does not mind."""
    job = site.jobs.create("count", {"n": 1000, "pause": 0.05}).id
    # Where a shell started the tests in the background, SIGINT is ignored, and commands would
    # inherit that; a handler they do not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        watching = shell.start("watch", job)
    finally:
        signal.signal(signal.SIGINT, before)
    watching.stdout.readline()
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=LIMIT)
    assert (watching.returncode, err) == (130, "")
    assert not site.jobs.get(job).status.is_terminal


def test_the_doctor_finds_a_queue_that_nobody_consumes(site, shell):
    site.jobs.create("count", {"n": 1}, queue="forgotten")
    done = shell.run("doctor", "--json")
    found = {finding["code"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert "'forgotten'" in found["queue-unconsumed"]["what"]
    assert done.returncode == 9


def test_the_doctor_finds_a_worker_without_a_keeper(site, shell):
    """One of another app on the same broker answers a ping, but nothing of milepost's."""
    (Path(site.folder) / "bare.py").write_text(
        "import os\nfrom celery import Celery\n"
        "app = Celery('bare', broker=os.environ['PROJECT_BROKER'])\n"
        "app.conf.task_default_queue = 'bare'\n"
    )
    bare = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "bare", "worker", "-P", "solo"),
            *("-n", "bare@test", "--without-gossip", "--without-mingle"),
        ],
        cwd=site.folder,
        env={**shell.env, "C_FORCE_ROOT": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(
            lambda: "bare@test" in (site.app.control.inspect(timeout=0.5).ping() or {}), "bare up"
        )
        found = json.loads(shell.run("doctor", "--json").stdout)["findings"]
        assert ["bare@test" in one["what"] for one in found if one["code"] == "no-keeper"] == [True]
    finally:
        bare.kill()
        bare.wait()


def test_workers_say_which_milepost_they_run(site, shell):
    """Celery's own inspect knows the command too."""
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "project", "inspect", "milepost", "--json"],
        cwd=site.folder,
        env=shell.env,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    ((_, reply),) = json.loads(done.stdout).items()
    assert (reply["milepost"], reply["keeper"]) == (__version__, True)


def test_servers_that_are_away(site, shell):
    """One line and code 4, for the store; the doctor tells of both."""
    gone = {"PROJECT_STORE": "redis://:hunter2@127.0.0.1:1/0"}
    done = shell.run("list", env=gone)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr
    done = shell.run("doctor", env={**gone, "PROJECT_BROKER": gone["PROJECT_STORE"]})
    assert done.returncode == 9
    for code in ("store-unavailable", "broker-unavailable"):
        assert code in done.stdout
    assert "hunter2" not in done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["redis+sqlite", "files+sqlite", "redis+postgres"])
def test_on_other_stores(make_site, kind):
    """The same commands, whatever keeps the jobs and carries the messages."""
    site = make_site(kind)
    site.start_worker()
    shell = Shell(site)
    job = site.jobs.create("count", {"n": 5}).id
    assert shell.run("watch", job, "--timeout", "30").returncode == 0
    assert [one["id"] for one in shell.json("list")["jobs"]] == [job]
    assert shell.json("stats")["all"] == {"succeeded": 1}
    codes = {one["code"] for one in json.loads(shell.run("doctor", "--json").stdout)["findings"]}
    assert not {"no-workers", "no-keeper", "keeper-dead", "other-store", "not-checked"} & codes
    assert ("one-host" in codes) == ("sqlite" in kind)
