"""The router: where a job goes, that it stays there, and that it never goes twice."""

import asyncio
import contextlib
import threading

import pytest
from kombu.exceptions import OperationalError
from pydantic import BaseModel

from deliveries import deliver, make_app, sent
from hosts import AdoptingHost, HostJobs
from milepost import CheckpointableTask
from milepost.errors import (
    BrokerUnavailableError,
    ConfigurationError,
    InvalidInputError,
    InvalidTransitionError,
    JobNotFoundError,
    PermissionDeniedError,
    StoreUnavailableError,
    UnknownJobTypeError,
)
from milepost.events import JobRouted, ShadowFailed
from milepost.hookspecs import hookimpl
from milepost.jobs.sending import Sender, id_of_key
from milepost.jobtype import JobType
from milepost.model import NOTHING, Delivery, JobStatus, Settlement
from milepost.routing import Engine, Mode, Routing, StaticFlags, is_shadow, pins
from milepost.routing.bundle import routing_of
from milepost.routing.dispatch import Order
from milepost.routing.rules import Rule
from milepost.routing.shadows import BATCH, parity_of
from milepost.security.permissions import Decision as PolicyDecision
from milepost.security.roles import Role, RoleTable
from milepost.stores.memory import MemoryStore
from milepost.tasks import message
from milepost.testing import FakeClock


@pytest.fixture
def host():
    return AdoptingHost()


@pytest.fixture
def events():
    return []


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def make(host, events, clock):
    def make(**routing):
        given = {"legacy": host, **routing}
        store = MemoryStore(clock)
        options = {"routing": Routing(**given), "observers": [events.append], "clock": clock}
        app = make_app(milepost={"store": store, **options})

        @app.task(base=CheckpointableTask, bind=True, name="tasks.import_rows", job_type="import")
        def import_rows(self, rows=1):
            return rows

        return app

    return make


@pytest.fixture
def app(make):
    return make()


@pytest.fixture
def router(app):
    return app.milepost.router


def enable(app, share=100.0, job_type="import"):
    app.milepost.flags.add([Rule.make(f"celery_{job_type}", share)])  # past any policy


def run(app, job_id, **kwargs):
    return deliver(app.tasks["tasks.import_rows"], job_id=job_id, kwargs=kwargs)


def refuse_sending(monkeypatch, app, after=lambda: None):
    def send_task(*args, **options):
        after()
        raise OperationalError("broker down")

    monkeypatch.setattr(app, "send_task", send_task)


# -- where it goes ---------------------------------------------------------------------------


def test_at_first_everything_goes_to_the_legacy_system(app, router, host):
    """With the payload as it is, and the id that the legacy system gives."""
    assert router.create_job("import", {"rows": 3}) == "1"
    assert (host.jobs["1"].job_type, host.jobs["1"].payload) == ("import", {"rows": 3})
    assert sent(app) == []
    assert router.mode("import") == (Mode.LEGACY, 0.0)


def test_a_flag_moves_a_type_with_no_call_site_touched(app, router, host):
    assert router.route_job("import", rows=1) == "1"
    enable(app)
    job_id = router.route_job("import", rows=2)
    assert [(headers["id"], body[1]) for headers, body in sent(app)] == [(job_id, {"rows": 2})]
    assert list(host.jobs) == ["1"]
    app.milepost.flags.disable("celery_import")
    assert router.route_job("import", rows=3) == "2"


def test_types_move_one_by_one(app, router, host):
    enable(app, job_type="export")
    router.create_job("import")
    assert len(host.jobs) == 1


def test_a_share_sticks_to_its_key(app, router, host):
    enable(app, 40)
    where = {
        key: router.engine_of(router.create_job("import", route_key=key))
        for key in map(str, range(100))
    }
    again = {key: router.engine_of(router.create_job("import", route_key=key)) for key in where}
    assert where == again
    assert {Engine.CELERY, Engine.LEGACY} == set(where.values())
    assert router.mode("import") == (Mode.PERCENTAGE, 40.0)


def test_the_decision_is_in_the_record(app, router):
    enable(app, 99.99)
    job = app.milepost.jobs.get(router.create_job("import", metadata={"mine": 1}, owner="ann"))
    assert job.metadata == {
        "mine": 1,
        "route": {"job_type": "import", "mode": "percentage", "share": 99.99},
    }
    assert job.owner == "ann"


def test_the_routers_own_place_in_the_metadata_is_taken(router):
    with pytest.raises(ConfigurationError, match="'route'"):
        router.create_job("import", metadata={"route": 1})


def test_a_key_from_before_celery_knew_the_type(app, router, host):
    """A type whose task is written later is the same type: its keys give the same jobs."""
    first = router.create_job("export", idempotency_key="k")

    @app.task(base=CheckpointableTask, bind=True, name="tasks.export_rows", job_type="export")
    def export_rows(self):
        return None

    app.milepost.migrations.move("export", Mode.CELERY)
    assert router.create_job("export", idempotency_key="k") == first
    assert (len(host.jobs), sent(app)) == (1, [])


def test_a_type_only_the_legacy_system_knows(router, host):
    """There is no task for it yet."""
    assert router.create_job("not yet moved", {"a": 1}) == "1"
    assert router.create_job("not yet moved", {"a": 1}, idempotency_key="k") == "2"


def test_a_type_that_is_moved_too_early(app, router):
    enable(app, job_type="exprt")
    with pytest.raises(UnknownJobTypeError, match="exprt"):
        router.create_job("exprt")


def test_without_a_legacy_system(make):
    """Everything that is not moved is an error, which says what to do."""
    app = make(legacy=None)
    with pytest.raises(ConfigurationError, match="Routing"):
        app.milepost.router.create_job("import")
    enable(app)
    assert app.milepost.router.create_job("import")
    with pytest.raises(JobNotFoundError):
        app.milepost.router.get_job_status("nothing")


def test_fall_back_to_nothing_is_refused_at_once():
    with pytest.raises(ConfigurationError, match="no legacy system"):
        Routing(fall_back=True)


def test_every_decision_is_told(app, router, events):
    legacy = router.create_job("import")
    enable(app)
    celery = router.create_job("import")
    told = [event for event in events if isinstance(event, JobRouted)]
    assert told == [
        JobRouted(legacy, "import", "legacy", "legacy", False),
        JobRouted(celery, "import", "celery", "celery", False),
    ]


def test_a_store_that_is_away_sends_everything_to_the_legacy_system(app, router, host, monkeypatch):
    """Nobody can say that the type has moved; an unkeyed job needs no record there."""
    enable(app)

    def away(name):
        raise StoreUnavailableError("memory://", "nobody home")

    app.milepost.runtime.clock.advance(1.0)
    monkeypatch.setattr(app.milepost.store.documents, "read", away)
    assert router.create_job("import") == "1"


def test_async_code_calls_it_in_a_thread(app, router, host):
    """The event loop goes on while a slow legacy system takes a job up."""
    waiting = threading.Event()
    create = host.create_job

    def slowly(*args, **kwargs):
        assert waiting.wait(30)
        return create(*args, **kwargs)

    host.create_job = slowly

    async def endpoint():
        created = asyncio.create_task(asyncio.to_thread(router.create_job, "import", {"rows": 1}))
        await asyncio.sleep(0)
        assert not created.done()
        waiting.set()
        return await created

    assert asyncio.run(endpoint()) == "1"


# -- looking and steering --------------------------------------------------------------------


def test_one_shape_of_status(app, router, host):
    old = router.create_job("import")
    enable(app)
    new = router.create_job("import", {"rows": 7})
    sent(app)
    run(app, new, rows=7)
    host.end(old, 6)
    reports = [router.get_job_status(job_id) for job_id in (old, new)]
    assert [(r.id, r.job_type, r.status, r.engine) for r in reports] == [
        (old, "import", "succeeded", "legacy"),
        (new, "import", "succeeded", "celery"),
    ]
    assert reports[0].as_dict().keys() == reports[1].as_dict().keys()
    assert (router.result(old), router.result(new)) == (6, 7)


def test_control_goes_to_whoever_has_the_job(app, router, host):
    """Also after the type has moved: what was begun there stays there."""
    old = router.create_job("import")
    enable(app)
    new = router.create_job("import")
    app.milepost.flags.disable("celery_import")
    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert getattr(router, verb)(old, by="ann").status == status
    assert host.jobs[old].asked == [("pause", "ann"), ("resume", "ann"), ("cancel", "ann")]
    assert router.pause(new, by="ann").status == "paused"
    assert router.resume(new, by="ann").status == "pending"
    assert router.cancel(new, by="ann").status == "cancelled"
    assert app.milepost.jobs.get(new).history[-1].by == "ann"
    with pytest.raises(InvalidTransitionError):
        router.cancel(old)


def test_a_retry_never_changes_the_system(app, router, host):
    enable(app)
    job_id = router.create_job("import")
    router.cancel(job_id)
    app.milepost.flags.disable("celery_import")
    assert router.retry(job_id).engine == "celery"
    old = router.create_job("import")
    with pytest.raises(ConfigurationError, match="'retry'"):
        router.retry(old)


def test_an_id_that_nobody_knows(router):
    for verb in (router.get_job_status, router.pause, router.resume, router.cancel):
        with pytest.raises(JobNotFoundError):
            verb("nothing")


def test_a_legacy_system_without_results(make):
    app = make(legacy=HostJobs())
    with pytest.raises(ConfigurationError, match="result"):
        app.milepost.router.result(app.milepost.router.create_job("import"))


# -- once only -------------------------------------------------------------------------------


def test_a_key_gives_one_job_in_the_legacy_system(router, host):
    ids = {router.create_job("import", idempotency_key="k") for _ in range(3)}
    assert (ids, list(host.jobs)) == ({"1"}, ["1"])


def test_an_empty_key_is_none_that_gives_one_job(app, router, host):
    """As the manager has it: whoever gives one relies on it."""
    for share in (0.0, 100.0):
        enable(app, share)
        with pytest.raises(ConfigurationError, match="idempotency_key = ''"):
            router.create_job("import", idempotency_key="")
    assert (host.jobs, sent(app)) == ({}, [])


@pytest.mark.parametrize("first", ["legacy", "celery"])
def test_a_key_keeps_its_system_when_the_type_moves(app, router, host, first):
    if first == "celery":
        enable(app)
    one = router.create_job("import", idempotency_key="k")
    if first == "celery":
        app.milepost.flags.disable("celery_import")
    else:
        enable(app)
    assert router.create_job("import", idempotency_key="k") == one
    assert len(host.jobs) + len(sent(app)) == 1
    assert router.engine_of(one) == first


def test_two_processes_that_decide_differently_for_one_key(make, host):
    """Whoever makes the record first has decided."""
    app = make()
    router, found = app.milepost.router, []
    enable(app, 100)
    barrier = threading.Barrier(8)

    def create(number):
        barrier.wait()
        if number % 2:
            found.append(router.create_job("import", idempotency_key="k"))
        else:
            legacy = router.decide("other", "k")
            order = router_order(router, "k")
            found.append(router._dispatcher.to_legacy(order, legacy))

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(host.jobs) + len(sent(app)) == 1


def router_order(router, key):
    return Order(JobType("import", "tasks.import_rows"), {}, key, True, None, {}, {})


def test_whoever_dies_before_the_legacy_system_has_the_job(app, router, host):
    """The next call with the key finds the place held, and makes the job."""
    host.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        router.create_job("import", idempotency_key="k")
    host.fails = None
    enable(app)
    assert router.create_job("import", idempotency_key="k") == "1"
    assert sent(app) == []


def test_whoever_dies_after_the_legacy_system_has_the_job(router, host, monkeypatch):
    def die(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(pins, "hand_over", die)
    with pytest.raises(KeyboardInterrupt):
        router.create_job("import", idempotency_key="k")
    monkeypatch.undo()
    assert router.create_job("import", idempotency_key="k") == "1"
    assert list(host.jobs) == ["1"]


def test_the_place_of_a_job_does_not_stay_for_ever(app, router, clock):
    """It ends with the job's hand-over, and is dropped after the usual retention."""
    router.create_job("import", idempotency_key="k")
    held = id_of_key("import", "k")
    assert app.milepost.jobs.get(held).status is JobStatus.CANCELLED
    assert app.milepost.store.due(10) == []
    clock.advance(8 * 86400.0)
    app.milepost.store.purge()
    with pytest.raises(JobNotFoundError):
        app.milepost.jobs.get(held)


@pytest.mark.parametrize("native", ["", "x" * 151, "a\nb"])
def test_an_id_that_cannot_be_noted(app, router, host, monkeypatch, native):
    monkeypatch.setattr(host, "create_job", lambda *args, **kwargs: native)
    with pytest.raises(ConfigurationError, match="cannot be noted"):
        router.create_job("import", idempotency_key="k")


class Rows(BaseModel):
    rows: int


@pytest.mark.parametrize("share, taken", [(0.0, 40), (50.0, 0), (100.0, 0)])
def test_a_type_that_is_shared_out_takes_the_same_in_both_systems(share, taken, host):
    """Else a share of wrong calls would go through, by chance. In legacy mode the legacy
    system says alone what it takes."""
    app = make_app(milepost={"routing": Routing(legacy=host)})

    @app.task(base=CheckpointableTask, bind=True, name="rows", job_type="rows", input_model=Rows)
    def count(self, rows):
        return rows

    enable(app, share, "rows")
    for number in range(40):
        with contextlib.suppress(InvalidInputError):
            app.milepost.router.create_job("rows", {"rows": "many"}, route_key=str(number))
    assert len(host.jobs) + len(sent(app)) == taken
    app.milepost.router.create_job("rows", {"rows": 3})


# -- a broker that is down -------------------------------------------------------------------


def test_a_broker_that_is_down_is_one_error(app, router, host, monkeypatch):
    """Without a key there is no job afterwards, whatever may have reached the broker."""
    enable(app)
    refuse_sending(monkeypatch, app)
    with pytest.raises(BrokerUnavailableError, match="broker down") as caught:
        router.create_job("import")
    assert host.jobs == {}
    job_id = caught.value.job_id
    assert app.milepost.jobs.get(job_id).status is JobStatus.CANCELLED
    assert run(app, job_id).state == "IGNORED"


def test_a_store_that_is_away_as_well_does_not_hide_the_brokers_error(make, host, monkeypatch):
    """Neither does it hide the legacy system's, where that was to take the job."""

    def away(*args, **kwargs):
        raise StoreUnavailableError("memory://", "nobody home")

    app = make(fall_back=False)
    enable(app)
    refuse_sending(monkeypatch, app)
    with monkeypatch.context() as patch:
        patch.setattr(app.milepost.store, "signal", away)
        with pytest.raises(BrokerUnavailableError, match="broker down") as caught:
            app.milepost.router.create_job("import")
    assert "nobody home" in caught.value.__notes__[0]

    def fail(*args, **kwargs):
        monkeypatch.setattr(app.milepost.store, "signal", away)
        raise ValueError("legacy is down as well")

    app = make(fall_back=True)
    enable(app)
    refuse_sending(monkeypatch, app)
    monkeypatch.setattr(host, "create_job", fail)
    with pytest.raises(ValueError, match="legacy is down") as failed:
        app.milepost.router.create_job("import")
    assert "nobody home" in failed.value.__notes__[0]


def test_with_a_key_the_job_waits_for_the_broker(app, router, host, monkeypatch):
    enable(app)
    refuse_sending(monkeypatch, app)
    with pytest.raises(BrokerUnavailableError) as caught:
        router.create_job("import", idempotency_key="k")
    monkeypatch.undo()
    assert router.create_job("import", idempotency_key="k") == caught.value.job_id
    assert router.get_job_status(caught.value.job_id).status == "pending"
    assert host.jobs == {}


@pytest.mark.parametrize("key", [None, "k"])
def test_fall_back(make, host, events, monkeypatch, key):
    """The legacy system has the job, and the message, should it arrive after all, is dropped."""
    app = make(fall_back=True)
    enable(app)
    made = []
    refuse_sending(monkeypatch, app)
    create = Sender.create

    def note(self, kind, payload, key, *args):
        made.append(id_of_key("import", key))
        return create(self, kind, payload, key, *args)

    monkeypatch.setattr(Sender, "create", note)
    router = app.milepost.router
    assert router.create_job("import", {"rows": 2}, idempotency_key=key) == "1"
    assert host.jobs["1"].payload == {"rows": 2}
    assert run(app, made[0]).state == "IGNORED"
    assert [event.fell_back for event in events if isinstance(event, JobRouted)] == [True]
    assert router.get_job_status(made[0]).engine == "legacy"
    if key is not None:
        monkeypatch.undo()
        assert router.create_job("import", idempotency_key=key) == "1"
    assert sent(app) == []


def test_no_fall_back_for_a_message_that_arrived(make, host, monkeypatch):
    """The answer was lost, the message was not: a worker has the job already."""
    app = make(fall_back=True)
    enable(app)

    def arrive():
        run(app, id_of_key("import", "k"), rows=5)

    refuse_sending(monkeypatch, app, after=arrive)
    job_id = app.milepost.router.create_job("import", idempotency_key="k")
    assert host.jobs == {}
    assert app.milepost.router.result(job_id) == 5


def test_no_fall_back_while_a_worker_runs_it(make, host, monkeypatch):
    """It is asked to pause for a moment, and that is taken back."""
    app = make(fall_back=True)
    enable(app)
    store, key = app.milepost.store, id_of_key("import", "k")
    leases = []

    def arrive():
        leases.append(store.claim(Delivery(key, "tasks.import_rows"), "w:1", 3.0).lease)

    refuse_sending(monkeypatch, app, after=arrive)
    assert app.milepost.router.create_job("import", idempotency_key="k") == key
    assert store.commit(leases[0], NOTHING) is None
    assert host.jobs == {}


def test_no_fall_back_for_a_job_that_has_begun_and_waits(make, host, monkeypatch):
    """A worker had it, and it is to be tried again: half of it is done in Celery."""
    app = make(fall_back=True)
    enable(app)
    store, key = app.milepost.store, id_of_key("import", "k")

    def arrive():
        lease = store.claim(Delivery(key, "tasks.import_rows"), "w:1", 3.0).lease
        store.settle(lease, Settlement(JobStatus.SCHEDULED, "retry: later", delay=60.0))

    with monkeypatch.context() as patch:
        refuse_sending(patch, app, after=arrive)
        assert app.milepost.router.create_job("import", idempotency_key="k") == key
    assert host.jobs == {}
    assert app.milepost.jobs.get(key).status is not JobStatus.PAUSED


@pytest.mark.parametrize("key, status", [(None, "cancelled"), ("k", "paused")])
def test_when_both_systems_are_down(make, host, monkeypatch, key, status):
    """With a key the job waits for the next call with it; without one it has ended here."""
    app = make(fall_back=True)
    enable(app)
    refuse_sending(monkeypatch, app)
    host.fails = OSError("the table is locked")
    with pytest.raises(OSError, match="locked"):
        app.milepost.router.create_job("import", idempotency_key=key)
    (job,) = app.milepost.jobs.find().jobs
    assert job.status == status
    host.fails = None
    monkeypatch.undo()
    assert app.milepost.router.create_job("import", idempotency_key=key) == (
        "1" if key else sent(app)[0][0]["id"]
    )


def test_an_answer_of_the_legacy_system_that_is_lost(make, host, monkeypatch):
    """It may have the job, so Celery must not send it too, even when the broker is back."""
    app = make(fall_back=True)
    enable(app)
    refuse_sending(monkeypatch, app)
    create = host.create_job

    def create_and_hang(*args, **kwargs):
        create(*args, **kwargs)
        raise TimeoutError("no answer")

    monkeypatch.setattr(host, "create_job", create_and_hang)
    with pytest.raises(TimeoutError):
        app.milepost.router.create_job("import", idempotency_key="k")
    monkeypatch.undo()
    (job,) = app.milepost.jobs.find().jobs
    assert run(app, job.id).state == "IGNORED"
    assert app.milepost.router.create_job("import", idempotency_key="k") == "1"
    assert (list(host.jobs), sent(app)) == (["1"], [])


def test_a_store_that_goes_away_while_the_legacy_system_takes_a_job(make, host, monkeypatch):
    """The job is there and cannot be noted here: it is not Celery's to send for all that."""
    app = make(fall_back=True)
    enable(app)
    refuse_sending(monkeypatch, app)

    def fail(*args):
        raise StoreUnavailableError("memory://", "gone for a moment")

    monkeypatch.setattr(pins, "hand_over", fail)
    with pytest.raises(StoreUnavailableError):
        app.milepost.router.create_job("import", idempotency_key="k")
    monkeypatch.undo()
    (job,) = app.milepost.jobs.find().jobs
    assert run(app, job.id).state == "IGNORED"
    assert app.milepost.router.create_job("import", idempotency_key="k") == "1"
    assert list(host.jobs) == ["1"]


def test_whoever_dies_while_falling_back(make, host, monkeypatch):
    """The record waits, kept from every worker; the next call with the key goes on."""
    app = make(fall_back=True)
    enable(app)
    refuse_sending(monkeypatch, app)
    host.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        app.milepost.router.create_job("import", idempotency_key="k")
    host.fails = None
    (job,) = app.milepost.jobs.find().jobs
    assert job.status is JobStatus.PAUSED
    monkeypatch.undo()
    assert app.milepost.router.create_job("import", idempotency_key="k") == "1"
    assert sent(app) == []


# -- shadows ---------------------------------------------------------------------------------


def shadowed(app, share=100.0):
    app.milepost.migrations.move("import", Mode.SHADOW, share=share)


def shadow_of(app):
    (job,) = app.milepost.jobs.find(owner="shadow:import").jobs
    return job


def test_a_shadow_runs_beside_and_the_legacy_system_is_the_truth(app, router, host):
    shadowed(app)
    job_id = router.create_job("import", {"rows": 4})
    assert job_id == "1"
    shadow = shadow_of(app)
    assert shadow.metadata["route"]["shadow_of"] == "1"
    assert is_shadow(shadow.metadata)
    run(app, shadow.id, rows=4)
    assert router.get_job_status(job_id).status == "running"
    host.end(job_id, 4)
    assert router.result(job_id) == 4


@pytest.mark.parametrize("legacy, difference", [(4, None), (5, "legacy 5, Celery 4")])
def test_results_are_compared(app, router, host, legacy, difference):
    shadowed(app)
    job_id = router.create_job("import", {"rows": 4})
    shadow = shadow_of(app)
    routing = routing_of(app)
    assert routing.comparer.compare("import") == 0
    run(app, shadow.id, rows=4)
    assert routing.comparer.compare("import") == 0, "its original is still under way"
    host.end(job_id, legacy)
    assert routing.comparer.compare("import") == 1
    assert routing.comparer.compare("import") == 0
    (status,) = app.milepost.migrations.get_migration_status().details
    same = difference is None
    assert (status.parity.same, status.parity.different) == (int(same), int(not same))
    assert [one["difference"] for one in status.parity.examples] == [difference] * (not same)


def compared(app):
    """Compare what can be, and return the counts."""
    routing_of(app).comparer.compare("import")
    found = parity_of(app.milepost.store.documents, "import")
    return found.same, found.different, found.unknown


def test_what_has_not_ended_keeps_no_other_from_being_compared(app, router, host):
    """Under load there are always many new ones, and the latest come first."""
    shadowed(app)
    ids = [router.create_job("import", {"rows": 4}) for _ in range(2 * BATCH)]
    for job in app.milepost.jobs.find_all(owner="shadow:import"):
        run(app, job.id, rows=4)
    host.end(ids[0], 4)
    host.end(ids[BATCH], 5)
    assert compared(app) == (1, 1, 0)


def test_what_was_cancelled_is_no_difference(app, router, host):
    """Here by a rollback, or there by a user: the other result has nothing to be held to."""
    shadowed(app)
    here, there = (router.create_job("import", {"rows": 4}) for _ in range(2))
    for job in app.milepost.jobs.find(owner="shadow:import").jobs:
        if job.metadata["route"]["shadow_of"] == there:
            run(app, job.id, rows=4)
    host.cancel(there)
    app.milepost.rollbacks.rollback_job_type("import")
    host.end(here, 4)
    assert compared(app) == (0, 0, 2)


def test_a_failure_on_one_side_is_a_difference(app, router, host):
    """Also where a host's result() has its own way of saying that there is none."""
    shadowed(app)
    router.create_job("import", {"rows": 4})
    run(app, shadow_of(app).id, rows=4)
    host.jobs["1"].status = JobStatus.FAILED
    host.result = lambda job_id: {}["no row"]
    assert compared(app) == (0, 1, 0)


def test_what_cannot_be_asked_for_now_is_compared_later(app, router, host, monkeypatch):
    """It counts as nothing, and keeps no other type from its error limit."""
    shadowed(app)
    router.create_job("import", {"rows": 4})
    run(app, shadow_of(app).id, rows=4)
    host.end("1", 4)

    def fail(job_id):
        raise OSError("the table is locked")

    with monkeypatch.context() as patch:
        patch.setattr(host, "result", fail)
        assert compared(app) == (0, 0, 0)
        assert routing_of(app).overseer().make_round() == ()
    assert compared(app) == (1, 0, 0)


def test_the_overseer_compares(app, router, host, clock):
    """While shadows are cast, and a day longer for those that end late."""
    shadowed(app)
    late = router.create_job("import", {"rows": 4})
    overseer = routing_of(app).overseer()
    overseer.make_round()
    app.milepost.migrations.move("import", Mode.LEGACY)
    run(app, shadow_of(app).id, rows=4)
    host.end(late, 4)
    clock.advance(3600.0)
    overseer.make_round()
    (status,) = app.milepost.migrations.get_migration_status().details
    assert status.parity.same == 1


def test_a_comparer_that_dies_counts_nothing_twice(app, router, host, monkeypatch):
    shadowed(app)
    job_id = router.create_job("import", {"rows": 4})
    run(app, shadow_of(app).id, rows=4)
    host.end(job_id, 4)

    def die(job_id):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(app.milepost.store, "delete", die)
        with pytest.raises(KeyboardInterrupt):
            routing_of(app).comparer.compare("import")
    assert routing_of(app).comparer.compare("import") == 1
    (status,) = app.milepost.migrations.get_migration_status().details
    assert status.parity.same == 1


def test_a_shadow_that_cannot_be_sent_harms_nobody(app, router, host, events, monkeypatch):
    shadowed(app)
    refuse_sending(monkeypatch, app)
    assert router.create_job("import") == "1"
    assert [type(event) for event in events if isinstance(event, ShadowFailed)] == [ShadowFailed]


def test_a_shadow_whose_task_takes_other_arguments_harms_nobody(app, router, host, events):
    """The job is made; whoever is told otherwise would make it again."""
    shadowed(app)
    assert router.create_job("import", {"lines": 3}) == "1"
    (failed,) = [event for event in events if isinstance(event, ShadowFailed)]
    assert "lines" in failed.problem
    assert app.milepost.jobs.find(job_type="import").jobs == ()


def test_nothing_follows_a_shadow(app, router):
    """What the caller links to the job must not run because of a run that only compares."""
    shadowed(app)
    tell = app.signature("tasks.tell")
    router.create_job("import", {"rows": 3}, link=tell, link_error=tell, priority=3)
    ((headers, (_, _, embed)),) = sent(app)
    assert (embed["callbacks"], embed["errbacks"], embed["chain"], embed["chord"]) == (None,) * 4
    stored = message.unpack(app.milepost.store.get(headers["id"]).message, app).options
    assert (stored.get("link"), stored.get("link_error"), stored["priority"]) == (None, None, 3)


def test_no_shadows_beside_a_system_that_has_no_results(make):
    app = make(legacy=HostJobs())
    with pytest.raises(ConfigurationError, match="'result'"):
        shadowed(app)


# -- who may ---------------------------------------------------------------------------------


class Only:
    """A policy: ann may do these things, nobody else anything."""

    def __init__(self, *actions):
        self.actions = actions

    def may(self, principal, action, job_type, job):
        allowed = principal.name == "ann" and action in self.actions
        return PolicyDecision(allowed, "it is so")


@pytest.fixture
def guarded(host):
    """An app whose policy lets ann create, see and pause jobs."""
    options = {"policy": Only("create", "see", "pause"), "routing": Routing(legacy=host)}
    app = make_app(milepost=options)

    @app.task(base=CheckpointableTask, bind=True, name="tasks.import_rows", job_type="import")
    def import_rows(self, rows=1):
        return rows

    return app


@pytest.mark.parametrize("engine", ["legacy", "celery"])
def test_the_policy_holds_for_both_systems(guarded, host, engine):
    if engine == "celery":
        enable(guarded)
    router = guarded.milepost.router
    with pytest.raises(PermissionDeniedError):
        router.create_job("import")
    assert (host.jobs, sent(guarded)) == ({}, [])
    job_id = router.create_job("import", principal="ann")
    assert router.get_job_status(job_id, principal="ann").engine == engine
    assert router.pause(job_id, principal="ann").status == "paused"
    for verb in (router.get_job_status, router.pause, router.cancel, router.result):
        with pytest.raises(PermissionDeniedError):
            verb(job_id)
    for verb in (router.cancel, router.resume, router.retry, router.result):
        with pytest.raises(PermissionDeniedError):
            verb(job_id, principal="ann")


def test_route_job_says_who_asks(guarded, host):
    """The principal is no part of the payload."""
    router = guarded.milepost.router
    with pytest.raises(PermissionDeniedError):
        router.route_job("import", rows=2)
    job_id = router.route_job("import", rows=2, principal="ann")
    assert host.jobs[job_id].payload == {"rows": 2}


def test_the_policy_holds_for_moves(guarded):
    milepost = guarded.milepost
    for act in (
        lambda: milepost.migrations.move("import", Mode.CELERY, principal="ann"),
        lambda: milepost.migrations.mark_job_type_migrated("import", principal="ann"),
        lambda: milepost.migrations.mark_job_type_rollback("import", principal="ann"),
        lambda: milepost.migrations.get_migration_status(principal="ann"),
        lambda: milepost.rollbacks.rollback_job_type("import", principal="ann"),
        lambda: milepost.rollbacks.emergency_rollback_all(principal="ann"),
    ):
        with pytest.raises(PermissionDeniedError):
            act()
    assert milepost.flags.rules() == ()
    assert milepost.migrations.history("import") == ()


def test_the_policy_holds_for_flags(guarded):
    """Whoever switches one routes jobs as well as whoever moves their type."""
    flags = guarded.milepost.flags
    for who in (None, "ann"):
        for act in (
            lambda who: flags.enable("celery_import", principal=who),
            lambda who: flags.disable("celery_import", principal=who),
            lambda who: flags.disable_pattern("celery_*", principal=who),
            lambda who: flags.switch({"mine": 50.0}, principal=who),
        ):
            with pytest.raises(PermissionDeniedError):
                act(who)
    assert flags.rules() == ()


TABLE = RoleTable(
    {
        "mover": Role(["*"], ["import"]),
        "cleared": Role(["*"], ["import"], permissions=["pii"]),
        "admin": Role(["*"], permissions=["pii"]),
    },
    {"mover": ["ann"], "cleared": ["bob"], "admin": ["root"]},
)


@pytest.fixture(params=["import", "tasks.import"])
def wanting(request, host):
    """An app with a job type that wants an entitlement, and whose name may be its task's."""
    app = make_app(milepost={"policy": TABLE, "routing": Routing(legacy=host)})

    @app.task(
        base=CheckpointableTask,
        bind=True,
        name=request.param,
        job_type=None if request.param == "import" else "import",
        permissions=("pii",),
    )
    def import_rows(self):
        return None

    return app


def test_what_a_job_type_wants_is_wanted_by_the_router_too(wanting, host):
    """In whichever system the job is to run, and of whoever moves its type."""
    milepost = wanting.milepost
    for act in (
        lambda who: milepost.router.create_job("import", principal=who),
        lambda who: milepost.migrations.move("import", Mode.CELERY, principal=who),
        lambda who: milepost.migrations.mark_job_type_migrated("import", principal=who),
        lambda who: milepost.migrations.mark_job_type_rollback("import", principal=who),
        lambda who: milepost.rollbacks.rollback_job_type("import", dry_run=True, principal=who),
        lambda who: milepost.flags.enable("celery_import", principal=who),
        lambda who: milepost.flags.disable("shadow_import", principal=who),
    ):
        with pytest.raises(PermissionDeniedError, match="it wants pii"):
            act("ann")
        act("bob")
    assert len(host.jobs) == 1


def test_flags_of_no_job_type_are_for_who_may_route_all(wanting):
    flags = wanting.milepost.flags
    for act in (
        lambda who: flags.enable("mine", principal=who),
        lambda who: flags.disable_pattern("celery_imp*", principal=who),
    ):
        with pytest.raises(PermissionDeniedError):
            act("bob")
        act("root")
    assert {rule.by for rule in flags.rules()} == {"root"}


def test_a_type_may_be_called_by_its_tasks_name(app, router, host):
    """It is the same type: the same flag, the same key, the same history."""
    app.milepost.migrations.move("tasks.import_rows", Mode.CELERY)
    first = router.create_job("import", idempotency_key="k")
    assert router.create_job("tasks.import_rows", idempotency_key="k") == first
    assert app.milepost.migrations.is_migrated("import")
    assert host.jobs == {}
    app.milepost.rollbacks.rollback_job_type("tasks.import_rows")
    assert router.mode("import") == (Mode.LEGACY, 0.0)
    assert app.milepost.migrations.job_types() == ["import"]


def test_a_move_under_a_policy_reaches_all_jobs(host):
    """Whoever may route need not be allowed to touch each job."""
    app = make_app(milepost={"policy": Only("route"), "routing": Routing(legacy=host)})

    @app.task(base=CheckpointableTask, bind=True, name="import")
    def import_rows(self, rows=1):
        return rows

    app.milepost.migrations.move("import", Mode.CELERY, principal="ann")
    job_id = (
        Sender(app).create(app.milepost.registry.get_task("import"), {}, None, None, None, {})[0].id
    )
    done = app.milepost.rollbacks.rollback_job_type("import", principal="ann")
    assert done.handed == {job_id: "1"}
    assert app.milepost.migrations.history("import")[-1].by == "ann"


def test_a_plugin_may_bring_the_legacy_system_and_a_source(host):
    """Under the names that it gives to them."""

    class Plugin:
        @staticmethod
        @hookimpl
        def milepost_legacy_managers():
            return {"table": lambda: host}

        @staticmethod
        @hookimpl
        def milepost_flag_sources():
            return {"vendor": lambda: StaticFlags({"celery_export": True})}

    routing = Routing(legacy="table", flags=["vendor"])
    app = make_app(milepost={"plugins": [Plugin], "routing": routing})
    assert app.milepost.router.create_job("import") == "1"
    assert app.milepost.flags.is_enabled("celery_export")
