"""The commands that look: what they write for people and for programs, and how they end."""

import re
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from celery import Celery
from celery.bin import celery as celery_cli

from commands import run
from deliveries import deliver, make_app
from milepost import CheckpointableTask, Milepost
from milepost.errors import StoreUnavailableError
from milepost.integrations.cli import jobs, looking
from milepost.integrations.cli.codes import Exit
from milepost.integrations.cli.looking import position
from milepost.integrations.cli.screen import Screen, aligned, clean, jsonable, without_secrets
from milepost.jobs import reading


class Thing:
    """What JSON cannot say."""

    def __repr__(self):
        return "<thing>"


@pytest.fixture
def app():
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True, name="count", throws=(ValueError,))
    def count(self, n, fail=False):
        self.step(list, "abc", name="letters")
        for item in self.iterate(range(n), every=1, name="items"):
            self.state["sum"] = self.state.get("sum", 0) + item
        if fail:
            raise ValueError("no luck")
        return n

    @app.task(base=CheckpointableTask, bind=True, name="other")
    def other(self):
        return None

    return app


def create(app, task="count", **options):
    return app.milepost.jobs.create(task, {"n": 3} if task == "count" else {}, **options)


def test_celery_finds_the_group():
    """The entry point leads to it, under the name that everybody types."""
    (point,) = [p for p in entry_points(group="celery.commands") if p.name == "jobs"]
    assert point.load() is jobs
    assert celery_cli.celery.commands["jobs"] is jobs


def test_the_help_says_the_exit_codes():
    done = run(None, "--help")
    assert done.code == 0
    assert "130  stopped by Ctrl-C" in done.out
    for name in ("list", "show", "watch", "pause", "doctor"):
        assert run(None, name, "--help").code == 0


def test_commands_and_exit_codes_are_documented():
    text = (Path(__file__).parents[2] / "docs/reference/command-line.md").read_text()
    for name, command in jobs.commands.items():
        assert re.search(rf"^\| `{name}[` ]", text, re.MULTILINE), name
        for option in command.params:
            if option.name not in ("as_json", "no_color", "job_id", "ids"):
                assert option.opts[0] in text, f"{name} {option.opts[0]}"
    for code in Exit:
        assert re.search(rf"^\| {int(code)} \|", text, re.MULTILINE), code


def test_a_plain_list_is_aligned(app):
    """One line for each job, newest first, under the names of the columns."""
    old, new = create(app, owner="ann"), create(app, "other")
    deliver(app.tasks["count"], 3, job_id=old.id)
    lines = run(app, "list").out.splitlines()
    assert lines[0].split() == [
        *("id", "type", "status", "progress", "rate", "left", "attempts", "crashes"),
        *("age", "owner"),
    ]
    assert lines[1].split()[:3] == [new.id, "other", "pending"]
    assert lines[2].split()[:4] == [old.id, "count", "succeeded", "100"]
    assert lines[2].endswith("ann")


def test_filters_and_pages(app):
    """By status, type, owner and age; the cursor leads to the next page."""
    made = [create(app, owner="ann"), create(app, owner="bob"), create(app, "other")]

    def ids(*words):
        return [job["id"] for job in run(app, "list", "--json", *words).json["jobs"]]

    assert ids() == [job.id for job in reversed(made)]
    assert ids("--owner", "ann") == [made[0].id]
    assert ids("--type", "other") == [made[2].id]
    assert ids("--status", "running", "--status", "pending") == ids()
    assert ids("--status", "failed") == []
    assert ids("--since", "5m") == ids()
    assert ids("--since", "2999-01-01") == []
    page = run(app, "list", "--json", "--limit", "2").json
    assert ids("--limit", "2", "--cursor", page["cursor"]) == [made[0].id]
    assert page["cursor"] in run(app, "list", "--limit", "2").err


@pytest.mark.parametrize(
    "words",
    [
        ("list", "--since", "soon"),
        ("list", "--since", "99999999999d"),
        ("list", "--since", "0001-01-01"),
        ("list", "--limit", "99999999999999999999"),
        ("explain", "job", "--timeout", "nan"),
        ("explain", "job", "--timeout", "inf"),
        ("explain", "job", "--timeout", "-1"),
        ("watch", "job", "--timeout", "nan"),
        ("watch", "job", "--interval", "nan"),
        ("watch", "job", "--interval", "1e300"),
        ("doctor", "--timeout", "nan"),
        ("rollback", "job", "--timeout", "inf"),
        ("list", "--status", "lost"),
        ("list", "--cursor", "x"),
        ("list", "--limit", "0"),
        ("show",),
    ],
)
def test_wrong_usage_ends_with_2(app, words):
    done = run(app, *words)
    assert (done.code, done.out) == (2, "")
    assert "Error: " in done.err


def test_nothing_found_is_no_error(app):
    done = run(app, "list")
    assert (done.code, done.out, done.err) == (0, "", "No jobs found.\n")
    assert run(app, "list", "--json").json == {"jobs": [], "cursor": None}


def test_show_has_everything(app):
    job = create(app, owner="ann", metadata={"ticket": 7})
    app.milepost.jobs.pause(job.id, by="bob")
    out = run(app, "show", job.id).out
    for word in (job.id, "paused", "ann", "{'ticket': 7}", "bob", "pause"):
        assert word in out
    document = run(app, "show", job.id, "--json").json
    assert document["status"] == "paused"
    assert document["history"][0]["by"] == "bob"
    assert document["timings"]["under_way"] is None
    assert document["timings"]["waited"] >= 0


@pytest.mark.parametrize("name", ["show", "watch", "explain", "checkpoint"])
def test_an_unknown_id_ends_with_3(app, name):
    done = run(app, name, "nope")
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("Error: no job 'nope'")
    assert done.err.count("\n") == 1


def test_explain(app):
    job = create(app)
    app.milepost.jobs.pause(job.id, by="ann")
    assert "It was paused by ann" in run(app, "explain", job.id, "--timeout", "0.1").out
    document = run(app, "explain", job.id, "--no-workers", "--json").json
    assert document["status"] == "paused"
    assert document["facts"]


@pytest.mark.parametrize(
    ("tasks", "summary"),
    [
        ({"w1": ["count"], "w2": ["old [rate_limit=1/s]"]}, "It has waited for a worker for"),
        ({"w1": ["old"], "w2": ["old"]}, "no worker that consumes it has its task 'count'"),
        ({"w1": ["count [rate_limit=1/s]"], "w2": []}, "It has waited for a worker for"),
        ({"w1": ["count"]}, "It has waited for a worker for"),
    ],
)
def test_explain_names_workers_of_older_code(app, monkeypatch, tasks, summary):
    """They take the job's message, and leave it."""
    job = create(app)
    queue = [{"name": app.conf.task_default_queue}]

    class Inspect:
        def __init__(self, destination=None, timeout=1.0):
            assert destination in (None, ["w1", "w2"])

        def active_queues(self):
            return {"w2": queue, "w1": queue, "w3": [{"name": "other"}]}

        def registered(self):
            return tasks

    monkeypatch.setattr(app.control, "inspect", Inspect)
    explanation = app.milepost.jobs.explain(job.id)
    assert summary in explanation.summary
    said = "\n".join(explanation.facts)
    for worker, names in tasks.items():
        knows = any(name.startswith("count") for name in names)
        assert (f"{worker} does not have the task 'count'" in said) is not knows


def test_explain_does_not_wait_for_a_silent_broker(app, monkeypatch):
    """The record's answer comes, with a word about the rest."""
    job = create(app)
    monkeypatch.setattr(looking, "PATIENCE", 0.1)
    monkeypatch.setattr(reading, "consumers_for", lambda *_: time.sleep(20))
    done = run(app, "explain", job.id, "--timeout", "0.1")
    assert (done.code, "It has waited for a worker" in done.out) == (0, True)
    assert "could not be asked" in done.err


def test_checkpoint(app):
    """People get one line for each value, programs all of it."""
    job = create(app)
    assert "nothing yet" in run(app, "checkpoint", job.id).out
    deliver(app.tasks["count"], 3, kwargs={"fail": True}, job_id=job.id)
    rows = [line.split(None, 2) for line in run(app, "checkpoint", job.id).out.splitlines()]
    assert ["step", "letters", "['a', 'b', 'c']"] in rows
    assert ["state", "sum", "3"] in rows
    assert [row[:2] for row in rows if row[0] == "loop"] == [["loop", "items"]]
    document = run(app, "checkpoint", job.id, "--json").json
    assert document["steps"] == {"letters": ["a", "b", "c"]}
    assert document["state"] == {"sum": 3}


def test_positions_in_words():
    assert position(1200) == "1,200 done"
    assert position([12, "k"]) == "12 done, cursor 'k'"
    assert position({"keys": [1, 2]}) == "2 keys done"
    assert position({"finished": 9}) == "finished: 9"


def test_stats(app):
    create(app), create(app), create(app, "other")
    assert run(app, "stats", "--json").json == {
        "types": {"count": {"pending": 2}, "other": {"pending": 1}},
        "all": {"pending": 3},
    }
    assert [line.split() for line in run(app, "stats").out.splitlines()[1:]] == [
        *(["count", "2"], ["other", "1"], ["all", "3"]),
    ]


# -- watch ---------------------------------------------------------------------------------


def test_watch_ends_as_the_job_did(app):
    """0 for success, 5 for failure, 6 for cancellation."""
    good, bad, gone = create(app), create(app), create(app)
    deliver(app.tasks["count"], 3, job_id=good.id)
    deliver(app.tasks["count"], 3, kwargs={"fail": True}, job_id=bad.id)
    app.milepost.jobs.cancel(gone.id)
    done = run(app, "watch", good.id)
    assert (done.code, done.out.startswith("succeeded, 3 of 3, 100 %")) == (0, True)
    done = run(app, "watch", bad.id)
    assert (done.code, "ValueError: no luck" in done.out) == (5, True)
    assert run(app, "watch", gone.id).code == 6


def test_watch_has_patience_to_an_end(app):
    """7 when the time is up; each line of --json is a document."""
    done = run(app, "watch", create(app).id, "--timeout", "0.2", "--json")
    assert done.code == 7
    assert done.json["status"] == "pending"
    assert "still pending" in done.err


# -- apps and stores that do not serve -------------------------------------------------------


def test_without_an_app():
    """Celery then gives its default app, which nobody has made."""
    done = run(Celery("default", set_as_current=False), "list")
    assert done.code == 2
    assert "celery -A proj jobs" in done.err
    assert done.err.count("\n") == 1


def test_an_app_without_milepost():
    done = run(make_app(milepost=False), "list")
    assert done.code == 2
    assert "has no milepost" in done.err


def test_an_app_without_a_store():
    app = Celery("nostore", broker="memory://", set_as_current=False)
    Milepost(app)
    done = run(app, "list")
    assert done.code == 2
    assert "uses no Redis" in done.err


def test_modules_that_cannot_be_imported():
    app = make_app(include=["no_such_module_anywhere"])
    done = run(app, "list")
    assert done.code == 2
    assert "no_such_module_anywhere" in done.err


def test_a_store_that_is_away(app, monkeypatch):
    """One line, code 4, and no password in it."""

    def find(_):
        raise StoreUnavailableError("redis://me:hunter2@there/0", "refused, password=hunter2")

    monkeypatch.setattr(app.milepost.store, "find", find)
    done = run(app, "list")
    assert done.code == 4
    assert done.err.count("\n") == 1
    assert "hunter2" not in done.err


def test_an_interrupt_is_no_traceback(app, monkeypatch):
    def find(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(app.milepost.store, "find", find)
    assert run(app, "list").code == 130


# -- writing -------------------------------------------------------------------------------


def test_stored_text_cannot_steer_the_terminal():
    assert clean("a\x1b[31mb\nc\ud800") == "a\\x1b[31mb\\nc\\ud800"


def test_secrets_are_not_written():
    assert without_secrets("redis://u:p@host/0?password=x&db=1") == (
        "redis://***@host/0?password=***&db=1"
    )
    assert without_secrets("mail a@b.c at http://host/x@y") == "mail a@b.c at http://host/x@y"


def test_what_json_cannot_say_is_its_repr():
    assert jsonable({1: (Thing(), float("nan"), b"x"), "a": [None, True, 1.5]}) == {
        "1": ["<thing>", "nan", "b'x'"],
        "a": [None, True, 1.5],
    }


def test_columns_stand_below_each_other():
    assert aligned([["a", "1"], ["bcd", "22"]], numbers=[1]) == ["a     1", "bcd  22"]
    assert aligned([]) == []


@pytest.mark.parametrize(
    ("terminal", "term", "installed", "drawn"),
    [
        (True, "xterm", True, True),
        (True, "xterm", False, False),
        (True, "dumb", True, False),
        (False, "xterm", True, False),
    ],
)
def test_when_rich_draws(monkeypatch, terminal, term, installed, drawn):
    """On a terminal that can, if it is there at all."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("TERM", term)
    if not installed:
        monkeypatch.setitem(sys.modules, "rich", None)
    assert Screen(as_json=False, no_color=False).is_rich is drawn
    assert not Screen(as_json=True, no_color=False).is_rich


def test_the_plug_in_is_light():
    """Celery imports it with every command of its own, so it brings no rich and no driver."""
    code = (
        "import sys; sys.modules['flower'] = None\n"  # another plug-in, and no light one
        "import celery.bin.celery\n"
        "import milepost.integrations.cli\n"
        "print(*{name.partition('.')[0] for name in set(sys.modules)})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"rich", "redis", "psycopg", "orjson"} & set(done.stdout.split())
