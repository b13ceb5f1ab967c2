"""The doctor: what each fact means, judged on plain values; and how the facts are gathered."""

import re
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import pytest
from celery import Celery

import milepost
from commands import run
from deliveries import deliver, make_app
from milepost import BaseTask, CheckpointableTask, Milepost
from milepost.integrations.cli.bounded import together
from milepost.integrations.cli.doctor import checks
from milepost.integrations.cli.doctor.checks import CHECKS, judge
from milepost.integrations.cli.doctor.facts import (
    Conf,
    Facts,
    Here,
    JobFacts,
    Server,
    TaskFacts,
    WorkerFacts,
)
from milepost.integrations.cli.doctor.finding import Level, some
from milepost.integrations.cli.doctor.gathering import look_at_jobs, skew_of, worker_of
from milepost.integrations.cli.doctor.project import conf_of, tasks_of
from milepost.integrations.cli.doctor.servers import one_each
from milepost.integrations.inspection import COMMAND, milepost_of_worker
from milepost.model import NewJob

STORE = "redis://there:6379/0"
HERE = Here("1.0", "5.7.0", "here", 1, STORE)
CONF = Conf(
    broker="redis",
    broker_timeout=5.0,
    redis_backend=True,
    backend_timeout=5.0,
    explicit=frozenset({"worker_cancel_long_running_tasks_on_connection_loss"}),
)
WORKER = WorkerFacts(
    *("w1", ("celery",), True, "1.0", "5.7.0", "there", 2, STORE, "milepost"), keeper=True
)
SERVER = Server("there:6379", ("broker", "store"), "7.2.4", "noeviction", 0, 100, True, "", "id")
SOUND = Facts(HERE, CONF, (TaskFacts("t", True, True, True),), (SERVER,), (WORKER,), JobFacts())


def found(facts):
    """Return the codes of what is found, with their levels."""
    return {finding.code: str(finding.level) for finding in judge(facts)}


def test_a_sound_system_has_nothing():
    assert found(SOUND) == {}


def conf(**changed):
    return replace(SOUND, conf=replace(CONF, **changed))


def server(**changed):
    return replace(SOUND, servers=(replace(SERVER, **changed),))


def worker(**changed):
    return replace(SOUND, workers=(WORKER, replace(WORKER, name="w2", **changed)))


def jobs(**changed):
    return replace(SOUND, jobs=JobFacts(**changed))


def tasks(*given, **changed):
    return replace(conf(**changed), tasks=given)


LATE = TaskFacts("late", acks_late=True)
MEMORY = replace(SOUND, here=replace(HERE, store="memory://"))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        # the project
        (replace(SOUND, here=replace(HERE, problem="no milepost")), {"no-milepost": "error"}),
        (conf(always_eager=True), {"always-eager": "error"}),
        (tasks(LATE, broker="amqp"), {"late-not-durable": "warning"}),
        (tasks(LATE), {"late-not-durable": "warning", "visibility-timeout": "warning"}),
        (tasks(TaskFacts("t", reject_on_worker_lost=True)), {"reject-not-durable": "warning"}),
        (
            tasks(TaskFacts("t", True, True, True, ("acks_late=False",))),
            {"durable-contradiction": "error"},
        ),
        (
            replace(conf(visibility_timeout=60.0), jobs=JobFacts(longest=("j", 61.0))),
            {"visibility-timeout": "note"},
        ),
        (jobs(longest=("j", 3599.0)), {}),
        (conf(broker_timeout=None), {"broker-timeout": "warning"}),
        (conf(broker="amqp", broker_timeout=None), {}),
        (conf(backend_timeout=120.0), {"backend-timeout": "warning"}),
        (conf(redis_backend=False, backend_timeout=None), {}),
        (conf(explicit=frozenset()), {"celery-6-connection-loss": "note"}),
        (
            conf(explicit=CONF.explicit | {"broker_connection_retry"}, retries_connection=False),
            {"celery-6-retry-on-startup": "note"},
        ),
        (
            conf(explicit=CONF.explicit | {"task_acks_on_failure_or_timeout"}),
            {"celery-6-acks-on-failure": "note"},
        ),
        (conf(deprecated=("CELERY_ACKS_LATE",)), {"celery-6-setting-names": "note"}),
        (tasks(TaskFacts("t", routing=("queue",))), {"celery-6-task-routing": "note"}),
        # the servers
        (server(policy="allkeys-lru", maxmemory=1000), {"redis-eviction": "error"}),
        (server(policy="volatile-lru"), {"redis-eviction": "warning"}),
        (server(appendonly=False, save=""), {"redis-persistence": "warning"}),
        (server(appendonly=False, save="3600 1"), {"redis-snapshots": "note"}),
        (server(appendonly=False, save=None), {}),
        (server(version="5.0.14"), {"redis-version": "error"}),
        (server(version="5.0.14", roles=("broker",)), {}),
        (server(maxmemory=110), {"redis-memory": "warning"}),
        (replace(MEMORY, workers=None), {"memory-store": "note"}),
        (
            replace(MEMORY, workers=(replace(WORKER, store="memory://"),)),
            {"memory-store": "error"},
        ),
        (conf(broker="memory"), {"memory-broker": "note"}),
        (conf(broker="filesystem"), {"one-host": "error"}),
        (replace(conf(broker="filesystem"), workers=None), {"one-host": "note"}),
        # the workers
        (replace(SOUND, workers=()), {"no-workers": "warning"}),
        (
            replace(SOUND, workers=None, gaps={"workers": "refused"}),
            {"broker-unavailable": "error"},
        ),
        (worker(answers=False), {"no-keeper": "warning"}),
        (worker(keeper=False), {"keeper-dead": "error"}),
        (worker(keeper=False, draining=True), {}),
        (worker(store="redis://else:6379/0"), {"other-store": "error"}),
        (worker(namespace="mail"), {"other-store": "error"}),
        (worker(version="1.1"), {"mixed-versions": "warning"}),
        (worker(celery="5.7.1"), {"mixed-versions": "warning"}),
        (worker(skew=-6.0), {"clock-skew": "warning"}),
        (worker(skew=4.0), {}),
        (replace(SOUND, gaps={"the store's Redis": "refused"}), {"not-checked": "note"}),
        # the jobs
        (jobs(skew=60.0), {"clock-skew": "warning"}),
        (replace(SOUND, jobs=None, gaps={"jobs": "refused"}), {"store-unavailable": "error"}),
        (jobs(waiting={"celery": 3}), {}),
        (jobs(waiting={"mail": 3}), {"queue-unconsumed": "error"}),
        (replace(jobs(waiting={"mail": 3}), workers=()), {"no-workers": "warning"}),
        (replace(jobs(waiting={"mail": 3}), workers=(replace(WORKER, queues=None),)), {}),
        (jobs(chord=("j", 90000.0)), {}),
        (
            replace(jobs(chord=("j", 90000.0)), conf=replace(CONF, chords_are_tended=False)),
            {"chord-expiry": "error"},
        ),
        (jobs(stalled=("j",)), {"jobs-stalled": "note"}),
        (jobs(parked=("j",), cut=True), {"jobs-parked": "note"}),
        (jobs(crashed=("j",)), {"jobs-crashed": "note"}),
        (jobs(strangers={"theirs": 2}), {"jobs-strange": "warning"}),
    ],
)
def test_what_is_found(facts, expected):
    assert found(facts) == expected


def test_the_worst_comes_first():
    facts = replace(server(policy="allkeys-lru", maxmemory=1000), workers=())
    facts = replace(facts, jobs=JobFacts(stalled=("j",)))
    assert [f.level for f in judge(facts)] == [Level.ERROR, Level.WARNING, Level.NOTE]


def test_every_finding_says_what_and_why_and_what_to_change():
    for check in CHECKS:
        assert check.__doc__
    for finding in judge(Facts(here=Here(problem="none"), workers=(), gaps={"x": "y"})):
        assert finding.what
        assert finding.why.endswith(".")
        assert finding.change


def test_every_finding_is_documented():
    folder = Path(checks.__file__).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    codes = set(re.findall(r"^ +\"([a-z0-9]+(?:-[a-z0-9]+)+)\",$", source, re.MULTILINE))
    assert len(codes) > 25
    page = Path(__file__).parents[2] / "docs/reference/command-line.md"
    documented = set(re.findall(r"^\| `([a-z0-9-]+)` \|", page.read_text(), re.MULTILINE))
    assert codes <= documented


def test_long_lists_are_cut():
    assert some(["b", "a"]) == "a, b"
    assert some([str(n) for n in range(9)]) == "0, 1, 2, 3, 4 and 4 more"


# -- gathering -------------------------------------------------------------------------------


def test_whoever_does_not_answer_is_a_gap():
    """Neither an error nor a peer that hangs keeps the others from being told."""
    never = threading.Event()

    def refuse():
        raise OSError("redis://me:hunter2@there refused\nthe connection")

    before = time.monotonic()
    asked = {"good": lambda: 1, "bad": refuse, "silent": never.wait, "empty": lambda: None}
    got, gaps = together(asked, 0.3)
    never.set()
    assert time.monotonic() - before < 3
    assert got == {"good": 1, "empty": None}
    assert gaps == {
        "bad": "redis://***@there refused the connection",
        "silent": "no answer within 0.3 s",
    }


def test_a_clock_is_compared_with_the_moments_around_the_question():
    assert skew_of(5.0, 4.0, 6.0) == 0.0
    assert skew_of(9.0, 4.0, 6.0) == 3.0
    assert skew_of(1.0, 4.0, 6.0) == -3.0


def test_a_server_with_two_roles_is_one():
    broker = Server("a:6379", ("broker",), run="x")
    store = Server("b:6379", ("store",), run="x")
    assert [one.roles for one in one_each([broker, store])] == [("broker", "store")]
    assert len(one_each([broker, replace(store, run="y")])) == 2


def test_a_worker_without_the_command_does_not_answer():
    silent = worker_of("w", [{"name": "q"}], None, 0.0, 1.0)
    assert (silent.answers, silent.queues) == (False, ("q",))
    assert not worker_of("w", None, {"error": "KeyError"}, 0.0, 1.0).answers


def test_what_a_worker_says_is_what_is_read():
    """Both ends of the command agree, on a worker of this very process."""

    class State:
        app = make_app()

    reply = milepost_of_worker(State())
    assert reply["keeper"] is False
    read = worker_of("w", [], reply, time.time() - 1, time.time())
    assert read.answers
    assert (read.store, read.namespace, read.version) == (
        *("memory://", "milepost"),
        milepost.__version__,
    )
    assert abs(read.skew) < 1
    assert COMMAND == "milepost"


def test_the_configuration_is_read():
    app = Celery("a", broker="redis://there/0", backend="redis://there/1", set_as_current=False)
    app.conf.update(
        broker_transport_options={"visibility_timeout": 60, "socket_timeout": 2},
        redis_socket_timeout=3,
        result_expires=timedelta(hours=1),
        task_acks_late=True,
    )
    read = conf_of(app)
    assert (read.broker, read.broker_timeout, read.visibility_timeout) == ("redis", 2, 60.0)
    assert (read.redis_backend, read.backend_timeout, read.result_expires) == (True, 3.0, 3600.0)
    assert read.acks_late
    assert "task_acks_late" in read.explicit
    assert "worker_cancel_long_running_tasks_on_connection_loss" not in read.explicit


def test_old_names_of_settings_are_seen():
    app = Celery("a", broker="memory://", set_as_current=False)
    app.config_from_object({"CELERY_ACKS_LATE": True})
    assert conf_of(app).deprecated == ("CELERY_ACKS_LATE",)


def test_settings_with_a_namespace_are_read():
    """As in Django's: a name that was also Celery's old one is no old name there."""
    app = Celery("a", set_as_current=False)
    settings = ModuleType("settings")
    vars(settings).update(
        CELERY_BROKER_URL="memory://",
        CELERY_RESULT_BACKEND="cache+memory://",
        CELERY_TASK_SERIALIZER="json",
        CELERY_ACKS_LATE=True,
        CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS=True,
    )
    app.config_from_object(settings, namespace="CELERY")
    read = conf_of(app)
    assert read.deprecated == ("CELERY_ACKS_LATE",)
    assert "worker_cancel_long_running_tasks_on_connection_loss" in read.explicit
    assert "broker_connection_retry" not in read.explicit


def test_tasks_are_read():
    """With what annotations have made of them."""
    app = make_app(task_annotations={"spoilt": {"acks_late": False}})

    def body(*_):
        return None

    for name in ("spoilt", "sound"):
        app.task(base=CheckpointableTask, bind=True, name=name)(body)
    app.task(base=BaseTask, name="plain", acks_late=True)(body)
    app.task(name="routed", queue="x")(body)
    with pytest.warns(match="'queue' task attribute"):
        app.finalize()
    read = {task.name: task for task in tasks_of(app)}
    assert read["spoilt"].contradictions == ("acks_late=False",)
    assert read["sound"] == TaskFacts("sound", True, True, True)
    assert (read["plain"].durable, read["plain"].acks_late) == (False, True)
    assert read["routed"].routing == ("queue",)
    assert not [name for name in read if name.startswith("celery.")]


def test_jobs_are_read():
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True, name="work")
    def work(self):
        return None

    made = app.milepost.jobs.create(work, queue="elsewhere")
    deliver(work, job_id=app.milepost.jobs.create(work).id)
    read = look_at_jobs(app, app.milepost.jobs)
    assert read.waiting == {"elsewhere": 1}
    assert (read.stalled, read.parked, read.crashed, read.cut) == ((), (), (), False)
    assert read.skew == 0.0
    assert read.longest is None
    assert read.strangers == {}
    app.milepost.store.create(NewJob("theirs", "their.task", b"m"))
    assert look_at_jobs(app, app.milepost.jobs).strangers == {"their.task": 1}
    app.milepost.store.delete("theirs")
    app.milepost.jobs.pause(made.id)
    assert look_at_jobs(app, app.milepost.jobs).waiting == {}


def test_chords_are_seen():
    """Also where a later part of the member's chain is what the chord waits for."""
    app = make_app()

    @app.task(base=CheckpointableTask, bind=True, name="work")
    def work(self):
        return None

    def age():
        return look_at_jobs(app, app.milepost.jobs).chord

    work.apply_async()
    assert age() is None
    link = work.si().set(chord=work.si(), group_id="g")
    work.apply_async(task_id="chained", chain=[link])
    assert age()[0] == "chained"
    app.milepost.jobs.cancel("chained")
    work.apply_async(task_id="member", chord=work.si(), group_id="g")
    assert age()[0] == "member"


def test_settings_that_cannot_be_read_are_not_judged():
    app = make_app(milepost=False)
    app.conf.result_backend = "no-such-backend://"
    done = run(app, "doctor", "--timeout", "0.1", "--json")
    codes = [finding["code"] for finding in done.json["findings"]]
    assert "not-checked" in codes
    assert not [code for code in codes if code.startswith("celery-6")]


def test_the_command(monkeypatch):
    """8 for warnings, as here: nobody works."""
    app = make_app()
    done = run(app, "doctor", "--timeout", "0.1", "--json")
    assert done.code == 8
    codes = {finding["code"] for finding in done.json["findings"]}
    assert {"no-workers", "memory-store", "memory-broker"} <= codes
    assert done.json["errors"] == 0
    done = run(app, "doctor", "--timeout", "0.1")
    assert done.code == 8
    assert "[no-workers]" in done.out
    assert "0 errors, 1 warning, 3 notes" in done.out


def test_an_app_without_milepost_is_looked_at_too():
    done = run(make_app(milepost=False), "doctor", "--timeout", "0.1", "--json")
    assert done.code == 9
    assert done.json["findings"][0]["code"] == "no-milepost"


def test_no_password_is_told():
    """Whatever a driver puts into its errors."""
    app = Celery("a", broker="redis://me:hunter2@127.0.0.1:1/0", set_as_current=False)
    Milepost(app)
    done = run(app, "doctor", "--timeout", "0.1")
    assert done.code == 9
    assert "broker-unavailable" in done.out
    assert "store-unavailable" in done.out
    assert "hunter2" not in done.out + done.err
