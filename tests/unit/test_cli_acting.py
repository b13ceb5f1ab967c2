"""The commands that change jobs: one, several, or all that a filter finds."""

import getpass

import pytest

from commands import run
from deliveries import deliver, make_app, record
from milepost import CheckpointableTask
from milepost.integrations.cli.acting import FITS
from milepost.integrations.cli.options import whoami


@pytest.fixture
def app():
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True, name="work", throws=(ValueError,))
    def work(self, fail=False):
        self.step(str, "x", name="one")
        for _ in self.iterate(range(3), every=1):
            pass
        if fail:
            raise ValueError("no luck")

    return app


def create(app, **options):
    return app.milepost.jobs.create("work", {}, **options).id


def failed(app):
    job_id = create(app)
    deliver(app.tasks["work"], kwargs={"fail": True}, job_id=job_id)
    return job_id


def test_pause_and_resume(app):
    job_id = create(app)
    done = run(app, "pause", job_id)
    assert (done.code, done.out) == (0, f"{job_id}: paused\n")
    assert record(app, job_id).status == "paused"
    assert record(app, job_id).history[-1].by == whoami()
    done = run(app, "resume", job_id, "--by", "ann")
    assert (done.code, done.out) == (0, f"{job_id}: goes on\n")
    assert record(app, job_id).history[-1].by == "ann"


def test_a_refusal_stops_nobody_else(app):
    """Each id has its line; one that was refused makes the code 1."""
    good, bad = create(app), failed(app)
    done = run(app, "pause", bad, "nope", good)
    assert done.code == 1
    assert done.out == f"{good}: paused\n"
    assert f"job '{bad}' is failed" in done.err
    assert "no job 'nope'" in done.err


def test_a_filter_that_finds_nothing_is_said(app):
    """A type with a typing error, say: who pauses it in an incident must not think it done."""
    create(app)
    done = run(app, "pause", "--type", "wrok", "--yes")
    assert (done.code, done.out) == (0, "")
    assert "There is no job to pause that fits." in done.err


def test_as_json(app):
    good, bad = create(app), failed(app)
    done = run(app, "pause", bad, "nope", good, "--json")
    assert done.code == 1
    assert [(one["id"], one["done"], one["status"]) for one in done.json["jobs"]] == [
        (bad, False, "failed"),
        ("nope", False, None),
        (good, True, "paused"),
    ]


def test_unknown_ids_alone_are_code_3(app):
    assert run(app, "cancel", "nope", "neither").code == 3


def test_cancel(app):
    job_id = create(app)
    assert run(app, "cancel", job_id).out == f"{job_id}: cancelled\n"
    assert run(app, "cancel", job_id).code == 1


def test_wake(app):
    job_id = create(app, countdown=600)
    assert run(app, "wake", job_id).out == f"{job_id}: starts now\n"
    assert record(app, job_id).status == "pending"


def test_retry_and_restart(app):
    """A retry keeps the checkpoint, a restart drops it, but for its steps if asked."""
    job_id = failed(app)
    assert run(app, "retry", job_id).code == 0
    assert app.milepost.jobs.checkpoint(job_id)["loops"]
    deliver(app.tasks["work"], kwargs={"fail": True}, job_id=job_id)
    assert run(app, "restart", job_id, "--keep-steps").code == 0
    assert app.milepost.jobs.checkpoint(job_id)["steps"] == {"one": "x"}
    assert app.milepost.jobs.checkpoint(job_id)["loops"] == {}
    deliver(app.tasks["work"], kwargs={"fail": True}, job_id=job_id)
    assert run(app, "restart", job_id).out == f"{job_id}: begins again\n"
    assert app.milepost.jobs.checkpoint(job_id)["steps"] == {}


def test_a_filter_needs_yes(app):
    """Without it nothing happens but the count, which is a wrong use of the command."""
    ids = {create(app, owner="ann"), create(app, owner="ann")}
    create(app, owner="bob")
    done = run(app, "pause", "--owner", "ann")
    assert (done.code, done.out) == (2, "")
    assert "would pause 2 jobs" in done.err
    assert run(app, "pause", "--owner", "ann", "--json").json == {"jobs": [], "would_hit": 2}
    done = run(app, "pause", "--owner", "ann", "--yes", "--json")
    assert done.code == 0
    assert {one["id"] for one in done.json["jobs"]} == ids


def test_a_filter_means_those_the_act_fits(app):
    """`retry --type work` is not about jobs that wait; a status that is named is."""
    waiting, bad = create(app), failed(app)
    done = run(app, "retry", "--type", "work", "--yes")
    assert (done.code, done.out.split(":")[0]) == (0, bad)
    done = run(app, "retry", "--status", "pending", "--yes")
    assert done.code == 1
    assert waiting in done.err


def test_all(app):
    create(app), create(app)
    assert "would cancel 2 jobs" in run(app, "cancel", "--all").err
    assert run(app, "cancel", "--all", "--yes").code == 0


@pytest.mark.parametrize("act", FITS)
def test_which_jobs(app, act):
    """Neither ids nor a filter, or both: nobody guesses."""
    assert run(app, act).code == 2
    assert run(app, act, "some-id", "--type", "work").code == 2
    assert run(app, act, "some-id", "--since", "1h").code == 2


def test_a_user_without_a_name_is_somebody_too(monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(getpass, "getuser", nobody)
    assert whoami().startswith("uid")


def test_what_was_done_is_told_though_the_store_goes_away(app, monkeypatch):
    """The answer for the first job is written before the second one ends the command."""
    from milepost.errors import StoreUnavailableError

    first, second = create(app), create(app)
    signal = app.milepost.store.signal

    def once(job_id, *args, **kwargs):
        if job_id == second:
            raise StoreUnavailableError("store", "gone")
        return signal(job_id, *args, **kwargs)

    monkeypatch.setattr(app.milepost.store, "signal", once)
    done = run(app, "pause", first, second, "--json")
    assert done.code == 4
    assert [one["id"] for one in done.json["jobs"]] == [first]
