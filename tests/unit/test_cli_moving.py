"""The commands of a move: where jobs go, the way there, the way back, how far it is."""

import json

import pytest

from commands import run
from deliveries import make_app
from hosts import AdoptingHost
from milepost import CheckpointableTask
from milepost.integrations.cli.options import whoami
from milepost.routing import MigrationTracker, Routing


@pytest.fixture
def host():
    return AdoptingHost()


@pytest.fixture
def app(host):
    app = make_app(milepost={"routing": Routing(legacy=host)})

    @app.task(base=CheckpointableTask, bind=True, name="tasks.import_rows", job_type="import")
    def import_rows(self, rows=1):
        return rows

    @app.task(base=CheckpointableTask, bind=True, name="export")
    def export(self):
        pass

    return app


def test_route_says_where_jobs_go(app):
    run(app, "migrate", "import", "--share", "25")
    done = run(app, "route")
    assert (done.code, done.out) == (0, "export: legacy\nimport: celery, 25 % of them\n")
    assert run(app, "route", "import", "--json").json == {
        "routes": [{"job_type": "import", "mode": "percentage", "share": 25.0}]
    }


def test_route_shares_out(app):
    done = run(app, "route", "import", "--mode", "shadow", "--share", "10", "--by", "ann")
    assert (done.code, done.out) == (0, "import: legacy, 10 % in celery too\n")
    assert run(app, "route", "import", "--mode", "legacy").out == "import: legacy\n"
    history = app.milepost.migrations.history("import")
    assert [(move.state, move.by) for move in history] == [("shadow", "ann"), ("legacy", whoami())]


def test_route_answers_for_a_key(app):
    run(app, "migrate", "import", "--share", "50")
    decision = app.milepost.router.decide("import", "k")
    done = run(app, "route", "import", "--key", "k")
    assert done.out == f"import, key 'k': {decision.engine}\n"
    assert run(app, "route", "import", "--key", "k", "--json").json["engine"] == decision.engine


@pytest.mark.parametrize(
    "words, problem",
    [
        (("route", "--mode", "celery"), "of which job type?"),
        (("route", "import", "--share", "5"), "--share goes with"),
        (("route", "import", "--mode", "percentage"), "--share"),
        (("route", "import", "--mode", "percentage", "--share", "100"), "below 100"),
        (("migrate", "imprt"), "'imprt'"),
        (("rollback", "imprt"), "'imprt'"),
        (("migration-status", "imprt"), "'imprt'"),
        (("rollback",), "Name a job type"),
        (("rollback", "import", "--all"), "Name a job type"),
    ],
)
def test_wrong_usage(app, words, problem):
    done = run(app, *words)
    assert done.code == 2
    assert problem in done.err
    assert app.milepost.flags.rules() == ()


def test_migrate_and_roll_back(app, host):
    done = run(app, "migrate", "import", "--code-version", "7", "--note", "at last")
    assert (done.code, done.out) == (0, "import: celery\n")
    job_id = app.milepost.router.create_job("import", {"rows": 2})
    foretold = run(app, "rollback", "import", "--dry-run")
    assert foretold.code == 0
    assert "Nothing is changed" in foretold.out
    assert "jobs: hand over 1 open jobs, at their checkpoints" in foretold.out
    assert host.jobs == {}
    done = run(app, "rollback", "import", "--reason", "errors", "--json")
    assert done.code == 0
    assert done.json["handed"] == {job_id: "1"}
    assert [step["name"] for step in done.json["steps"]] == [
        *("flags", "consumers", "jobs", "tracker"),
    ]
    assert app.milepost.migrations.history("import")[-1].note == "errors"


def test_what_is_left_makes_the_code_1(app):
    run(app, "migrate", "import")
    job_id = app.milepost.router.create_job("import")
    app.milepost.jobs.pause(job_id, by="ann")
    done = run(app, "rollback", "import")
    assert done.code == 1
    assert "1 jobs are still Celery's" in done.err


def test_rolling_back_all_asks_for_yes(app):
    done = run(app, "rollback", "--all")
    assert done.code == 2
    assert "--yes" in done.err
    assert app.milepost.flags.rules() == ()
    assert run(app, "rollback", "--all", "--dry-run").code == 0
    assert run(app, "rollback", "--all", "--yes", "--reason", "fire").code == 0
    assert not app.milepost.flags.is_enabled("celery_import")


def test_rolling_back_to_nowhere():
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True, name="export")
    def export(self):
        pass

    done = run(app, "rollback", "export")
    assert done.code == 2
    assert "no legacy system" in done.err


def test_migration_status(app, monkeypatch):
    run(app, "migrate", "import", "--by", "ann", "--note", "at last", "--code-version", "7")
    app.milepost.router.create_job("import")
    done = run(app, "migration-status")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines[-3:-1]] == ["export", "import"]
    assert "0 ended, 1 open" in lines[-2]
    assert lines[-1] == "1 of 2 job types have moved."
    status = run(app, "migration-status", "--json").json
    assert (status["total"], status["migrated"], status["pending"], status["progress"]) == (
        *(2, 1, 1, 0.5),
    )
    one = run(app, "migration-status", "import", "--json").json
    assert (one["state"], one["by"], one["version"]) == ("migrated", "ann", "7")
    assert json.dumps(one["sides"]["celery"]["open"]) == "1"
    said = run(app, "migration-status", "import").out
    assert "at last" in said


def test_a_rollback_that_was_not_ended_is_told(app, monkeypatch):
    def die(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MigrationTracker, "note", die)
        assert run(app, "rollback", "import").code == 130
    assert "A rollback of import was begun and is at: tracker." in run(app, "migration-status").err
    assert run(app, "rollback", "import").code == 0
    assert run(app, "migration-status").err == ""
