"""Keys rotated while jobs run: nothing is lost, nothing overwritten, whoever dies when."""

import itertools
import pickle
from dataclasses import replace

import pytest
from celery import Celery

from harness import Killed, MortalStore
from keyrings import Ring
from milepost import EncryptedTask, Milepost
from milepost.ciphertext import MARK
from milepost.codecs.encrypted import Cipher
from milepost.codecs.keyring import Key, Keyring
from milepost.engine.migration import as_people_see_it
from milepost.errors import KeyUnknownError
from milepost.jobs import rotation
from milepost.model import Delivery, Delta, JobStatus, NewJob, Progress, Settlement
from milepost.stores.memory import MemoryStore
from milepost.stores.sealed import sealed
from milepost.testing import FakeClock

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)
ACME = Key("acme-1", b"a" * 32, tenant="acme", is_current=True)
CANARY = "canary-4711"


class Switch(Ring):
    """A keyring whose current key can be changed, and whose old one can be destroyed."""

    def rotate(self):
        self.hold(OLD, replace(NEW, is_current=True), ACME)

    def destroy_old(self):
        self.hold(replace(NEW, is_current=True))


def make_app(serializer="json"):
    app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
    app.conf.task_serializer = serializer
    app.conf.accept_content = ["json", "pickle", "yaml"]
    keys = Switch(replace(OLD, is_current=True), NEW, ACME)
    milepost = Milepost(app, store=MemoryStore(FakeClock()), keys=keys, allow_pickle=True)

    @app.task(base=EncryptedTask, bind=True, shared=False)
    def work(self, word, tenant=""):
        return word

    @app.task(base=TenantTask, bind=True, shared=False)
    def tenants(self, word, tenant=""):
        return word

    app.finalize()
    return app, milepost, keys


class TenantTask(EncryptedTask):
    abstract = True

    def tenant_of(self, word, tenant=""):
        return tenant


def fill(app, milepost, fields=3):
    """Make a job that has left something everywhere, and one that still waits."""
    work = app.tasks[next(name for name in app.tasks if name.endswith(".work"))]
    waiting = work.apply_async((CANARY,), link=work.s(CANARY), link_error=[work.s(CANARY)]).id
    ended = work.apply_async((CANARY,)).id
    store = sealed(milepost.store, milepost.runtime.cipher, work.name)
    lease = store.claim(Delivery(ended, work.name), "w:1", 60.0).lease
    encode = milepost.runtime.codec.encode
    store.commit(lease, Delta({f"sstep-{n}": encode(CANARY) for n in range(fields)}))
    end = Settlement(JobStatus.SUCCEEDED, f"why: {CANARY}", encode([CANARY]), f"E: {CANARY}")
    store.settle(lease, replace(end, delta=Delta({}, (), Progress(3, 5, CANARY))))
    return waiting, ended, work


def check_readable(milepost, job_ids, work):
    """Everything of both jobs opens, and says what it said."""
    waiting, ended = job_ids
    job = milepost.jobs.get(ended)
    assert (job.error, job.reason) == (f"E: {CANARY}", f"why: {CANARY}")
    assert job.progress == Progress(3, 5, CANARY)
    assert milepost.jobs.result(ended) == [CANARY]
    assert set(milepost.jobs.checkpoint(ended)["steps"].values()) == {CANARY}
    from milepost.tasks import message

    stored = message.unpack(milepost.jobs.get(waiting).message, work.app)
    link = stored.options["link"]
    assert work._in_the_clear(link["args"], dict(link["kwargs"]), None) == ((CANARY,), {})
    opened = milepost.runtime.cipher
    from milepost.codecs import tokens

    assert CANARY.encode() in tokens.open_call(opened, waiting, work.name, stored.args[0])


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_everything_of_a_job_goes_under_the_new_key(serializer):
    """After it the old key can go: arguments, links, fields, result and texts still open."""
    app, milepost, keys = make_app(serializer)
    *job_ids, work = fill(app, milepost)
    keys.rotate()
    cipher = milepost.runtime.cipher
    before = [found.by_key for _, found in rotation.surveys(milepost.runtime, cipher)]
    assert {key for counts in before for key in counts} == {"old"}
    for job, _ in list(rotation.surveys(milepost.runtime, cipher)):
        exchanged, unreadable = rotation.renew(milepost.runtime, cipher, job)
        assert exchanged > 0
        assert unreadable == 0
    keys.destroy_old()
    check_readable(milepost, job_ids, work)
    for job, found in rotation.surveys(milepost.runtime, cipher):
        assert (found.swaps, dict(found.unreadable)) == ((), {})
        assert set(found.by_key) == {"new"}
        assert rotation.renew(milepost.runtime, cipher, job) == (0, 0)


def test_tenants_keep_their_own_keys():
    app, milepost, keys = make_app()
    task = next(task for name, task in app.tasks.items() if name.endswith(".tenants"))
    task.delay(CANARY, tenant="acme")
    keys.rotate()
    ((_, found),) = rotation.surveys(milepost.runtime, milepost.runtime.cipher)
    assert (dict(found.by_key), found.swaps) == ({"acme-1": 1}, ())


def test_a_destroyed_key_is_reported_and_breaks_no_list():
    """The records say so; lists, reports and explanations go on."""
    app, milepost, keys = make_app()
    _, ended, _ = fill(app, milepost)
    keys.destroy_old()
    assert {job.id for job in milepost.jobs.find_all()} >= {ended}
    job = milepost.jobs.get(ended)
    assert (job.error, job.reason, job.progress.message) == ("E: ***", "why: ***", "***")
    assert milepost.jobs.get_job_status(ended).error == "E: ***"
    assert milepost.jobs.explain(ended).summary
    with pytest.raises(KeyUnknownError, match="'old'"):
        milepost.jobs.result(ended)
    with pytest.raises(KeyUnknownError, match="'old'"):
        milepost.jobs.checkpoint(ended)
    cipher = milepost.runtime.cipher
    found = [survey.unreadable for _, survey in rotation.surveys(milepost.runtime, cipher)]
    assert all(set(reasons) == {"KeyUnknownError old"} for reasons in found)


def test_a_running_attempt_is_never_overwritten():
    """What it wrote after the rotation has read stays, and it goes on unaware."""
    app, milepost, keys = make_app()
    work = fill(app, milepost)[2]
    job_id = work.delay(CANARY).id
    cipher, runtime = milepost.runtime.cipher, milepost.runtime
    store = sealed(milepost.store, cipher, work.name)
    lease = store.claim(Delivery(job_id, work.name), "w:1", 60.0).lease
    store.commit(lease, Delta({"crows": b"J11", "sa": b'J1"a"'}))
    keys.rotate()
    job = milepost.store.get(job_id)
    found = rotation.survey(cipher, milepost.store, job)
    store.commit(lease, Delta({"crows": b"J12"}))
    assert milepost.store.exchange(job_id, found.swaps) == len(found.swaps) - 1
    store.commit(lease, Delta({"sb": b'J1"b"'}))
    keys.destroy_old()
    fresh = sealed(milepost.store, cipher, work.name)
    assert dict(fresh.load(job_id)) == {"crows": b"J12", "sa": b'J1"a"', "sb": b'J1"b"'}
    assert as_people_see_it(runtime.codec, fresh.load(job_id))["steps"] == {"a": "a", "b": "b"}


class MortalExchanges(MortalStore):
    """A store whose process can die at an exchange too, in the middle of its swaps."""

    def exchange(self, job_id, swaps):
        return sum(
            self._write("exchange", swap, lambda s=swap: self.inner.exchange(job_id, [s]))
            for swap in swaps
        )


@pytest.mark.parametrize("after", [True, False])
def test_killed_at_every_write_nothing_is_lost(after):
    """Every value is readable at once, and a second run does what is left."""
    for write in itertools.count(1):
        app, milepost, keys = make_app()
        *job_ids, work = fill(app, milepost)
        keys.rotate()
        cipher = milepost.runtime.cipher
        mortal = MortalExchanges(milepost.store)
        runtime = replace(milepost.runtime, store=mortal)
        mortal.revive(write, after)
        jobs = [job for job, _ in rotation.surveys(milepost.runtime, cipher)]
        try:
            for job in jobs:
                rotation.renew(runtime, cipher, job)
            died = False
        except Killed:
            died = True
        check_readable(milepost, job_ids, work)
        for job in jobs:
            rotation.renew(milepost.runtime, cipher, milepost.store.get(job.id))
        keys.destroy_old()
        check_readable(milepost, job_ids, work)
        if not died:
            break
    assert write > 10


def test_the_rotation_is_a_job_of_its_own():
    """Registered where there are keys, and not where there are none."""
    app, milepost, _ = make_app()
    fill(app, milepost)
    assert rotation.NAME in app.tasks
    assert milepost.jobs.create(rotation.NAME).task == rotation.NAME
    other = Celery("other", broker="memory://", set_as_current=False)
    Milepost(other, store="memory://")
    assert rotation.NAME not in other.tasks


def test_the_sealer_follows_the_current_key():
    """A process that runs for days encrypts with the key that is current now."""
    keys = Switch(replace(OLD, is_current=True), NEW)
    cipher = Cipher(keys)
    assert cipher.sealer().key.id == "old"
    keys.rotate()
    assert cipher.sealer().key.id == "new"


class Bomb:
    """Stands for what somebody who can write to the store would like to run."""

    def __reduce__(self):
        return (print, (MARK, "went off"))


def test_a_pickled_message_is_not_read_where_pickle_is_not_allowed(capsys):
    """Whoever can write to the store could else run code in the worker that rotates."""
    app = Celery("shop", broker="memory://", set_as_current=False)
    keys = Keyring([replace(NEW, is_current=True)])
    milepost = Milepost(app, store=MemoryStore(FakeClock()), keys=keys)
    bomb = b"application/x-python-serialize binary\n" + pickle.dumps(Bomb())
    milepost.store.create(NewJob("job", "work", bomb))
    ((_, found),) = rotation.surveys(milepost.runtime, milepost.runtime.cipher)
    assert capsys.readouterr().out == ""
    assert found.swaps == ()
    assert found.unreadable == {"ConfigurationError message": 1}
