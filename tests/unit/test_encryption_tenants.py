"""What a tenant's job leaves is encrypted with that tenant's key, or not kept at all."""

import re

import pytest

from deliveries import deliver, make_app
from keyrings import Ring
from milepost import EncryptedTask, LLMTask
from milepost.budget import Budget
from milepost.codecs import tokens
from milepost.codecs.encrypted import key_id_of
from milepost.codecs.keyring import Key
from milepost.errors import JobNotFoundError, NoKeysError
from milepost.model import JobStatus, NewJob
from milepost.tasks import message

CANARY = "canary-4711"
TENANT = "canary-acme"
DEFAULT = Key("default", b"k" * 32, is_current=True)
ACME = Key("a1", b"a" * 32, tenant=TENANT, is_current=True)


class TenantTask(EncryptedTask):
    abstract = True

    def tenant_of(self, tenant, *_args, **_kwargs):
        return tenant


class MigratingTask(TenantTask):
    abstract = True
    accept_plaintext = True


@pytest.fixture
def ring():
    return Ring(DEFAULT, ACME)


@pytest.fixture
def app(ring):
    app = make_app(milepost={"keys": ring})
    app.AsyncResult("job").forget()  # all backends in memory are one
    return app


def declare(app, function, base=TenantTask, **options):
    return app.task(base=base, bind=True, name="work", **options)(function)


def echo(self, tenant, word=None):
    return word


def delivered(task, *args, job_id="job"):
    args, kwargs = task.milepost_outgoing(args, {}, job_id)
    return deliver(task, *args, kwargs=kwargs, job_id=job_id)


def record_plain(app, *args):
    """Put a job on record as it was before its task was encrypted."""
    signature = {"task": "work", "args": args, "kwargs": {}, "options": {"task_id": "job"}}
    app.milepost.store.create(NewJob("job", "work", message.pack(signature, "json")))


def keys_in(app, job_id="job"):
    """The ids of all keys that anything in the store or the backend is encrypted with."""
    store = app.milepost.store
    job = store.get(job_id)
    kept = [*store.load(job_id).values(), *filter(None, [job.result])]
    texts = repr((app.backend.get_task_meta(job_id), job.error, job.reason, job.progress.message))
    found = re.findall(r"mp1\.[A-Za-z0-9_-]{40,}", texts)
    return {key_id_of(one, "") for one in kept} | {tokens.key_id_in(one) for one in found}


def told(app, job_id="job"):
    """All words that somebody without the tenant's key is told of a job."""
    return repr((app.backend.get_task_meta(job_id), app.milepost.jobs.get(job_id)))


def test_the_words_of_an_error_are_lost_with_the_key(app, ring):
    def work(self, tenant, word):
        self.report(word)
        ring.hold(DEFAULT)
        raise ValueError(f"{tenant} {word}")

    task = declare(app, work)
    outcome = delivered(task, TENANT, CANARY)
    assert str(outcome.value) == "job 'job' failed with ValueError: ***"
    assert keys_in(app) == set()
    job = app.milepost.jobs.get("job")
    assert (job.status, job.error) == (JobStatus.FAILED, "ValueError: ***")
    assert CANARY not in str(task.AsyncResult("job").result)


def test_what_was_not_saved_yet_of_a_failure_is_left_out(app, ring):
    def work(self, tenant, word):
        self.state["seen"] = word
        ring.hold(DEFAULT)
        raise ValueError(word)

    outcome = delivered(declare(app, work), TENANT, CANARY)
    assert outcome.state == "FAILURE"
    assert app.milepost.jobs.get("job").status is JobStatus.FAILED
    assert keys_in(app) == set()


def test_an_automatic_retry_goes_on_without_its_words(app, ring):
    """Celery cannot send it; the record can, and then it is parked like any other."""

    def work(self, tenant, word):
        ring.hold(DEFAULT)
        raise ValueError(word)

    task = declare(app, work, autoretry_for=(ValueError,))
    args, _ = task.milepost_outgoing((TENANT, CANARY), {}, "job")
    assert deliver(task, *args).state == "REJECTED"
    job = app.milepost.jobs.get("job")
    assert (job.status, job.reason) == (JobStatus.SCHEDULED, "retry: ***")
    deliver(task, *args, retries=1)
    assert app.milepost.jobs.get("job").status is JobStatus.PAUSED
    assert keys_in(app) == set()


def tell(task, word):
    task.update_state(state="AT", meta={"word": word})


WAYS = {
    "a state": tell,
    "a step": lambda task, word: task.step(str, word),
    "a checkpoint of its own": lambda task, word: task.save_checkpoint("job", word),
    "a result": lambda task, word: word,
    "a retry": lambda task, word: task.job.attempts > 1 or task.retry(exc=ValueError(word)),
}


@pytest.mark.parametrize("keep_result", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_what_cannot_be_encrypted_parks_the_job(app, ring, way, keep_result):
    """It is like any other job whose key is missing: nothing is lost, should the key come back."""

    def work(self, tenant, word):
        if self.job.attempts == 1:
            ring.hold(DEFAULT)
        return WAYS[way](self, word)

    task = declare(app, work, keep_result=keep_result)
    outcome = delivered(task, TENANT, CANARY)
    job = app.milepost.jobs.get("job")
    assert (outcome.state, job.status) == ("IGNORED", JobStatus.PAUSED)
    assert job.reason.startswith("needs-key: the tenant of this job has no key")
    assert keys_in(app) == set()
    assert CANARY not in told(app)
    assert TENANT not in told(app)
    ring.hold(DEFAULT, ACME)
    app.milepost.jobs.resume("job")
    assert delivered(task, TENANT, CANARY).succeeded
    assert keys_in(app) <= {"a1"}


def test_a_body_cannot_go_on_after_that(app, ring):
    """No ``except Exception`` takes the missing key for an error of its own."""
    later = []

    def work(self, tenant, word):
        ring.hold(DEFAULT)
        try:
            tell(self, word)
        except Exception:
            later.append(word)
        later.append(word)

    delivered(declare(app, work), TENANT, CANARY)
    assert later == []


def test_a_key_that_is_gone_before_the_claim_leaves_nothing_either(app, ring):
    task = declare(app, echo)
    args, _ = task.milepost_outgoing((TENANT, CANARY), {}, "job")
    ring.hold(DEFAULT)
    deliver(task, *args)
    job = app.milepost.jobs.get("job")
    assert (job.status, keys_in(app)) == (JobStatus.PAUSED, set())
    assert "'a1'" in job.reason


def test_a_job_from_before_encryption_is_its_tenants(app):
    """Its arguments come in the clear, and the task says whose they are."""

    def work(self, tenant, word):
        self.step(str, word)
        self.report(word)
        tell(self, word)
        assert keys_in(app) == {"a1"}
        return word

    outcome = deliver(declare(app, work, MigratingTask), TENANT, CANARY)
    assert tokens.key_id_in(outcome.value) == "a1"
    assert keys_in(app) == {"a1"}


def test_a_job_from_before_encryption_waits_for_its_tenants_key(app, ring):
    ring.hold(DEFAULT)
    task = declare(app, echo, MigratingTask)
    record_plain(app, TENANT, CANARY)
    deliver(task, TENANT, CANARY)
    job = app.milepost.jobs.get("job")
    assert job.status is JobStatus.PAUSED
    assert TENANT not in job.reason
    ring.hold(DEFAULT, ACME)
    app.milepost.jobs.resume("job")
    assert deliver(task, TENANT, CANARY).succeeded


def test_arguments_in_the_clear_that_belong_to_nobody_fail_the_job(app):
    """What ``tenant_of`` raises is an error of the job, and its words are not kept."""

    class Choosy(MigratingTask):
        abstract = True

        def tenant_of(self, tenant, *_):
            raise LookupError(f"no tenant {tenant}")

    record_plain(app, CANARY)
    outcome = deliver(declare(app, echo, Choosy), CANARY)
    assert outcome.value.kind == "LookupError"
    assert app.milepost.jobs.get("job").error == "LookupError: ***"
    assert CANARY not in repr(outcome)


class TenantModelTask(LLMTask, TenantTask):
    abstract = True


class PlainModelTask(LLMTask, MigratingTask):
    abstract = True


@pytest.mark.parametrize("keys", [(DEFAULT, ACME), (ACME,)])
@pytest.mark.parametrize("how", ["sealed", "plain", "plain and on record"])
def test_a_budget_is_granted_under_the_tenants_key(app, ring, keys, how):
    """Who grants it runs no such job: the record's own message says whose it is."""
    ring.hold(*keys)
    budgets = []

    def work(self, tenant):
        if self.job.attempts == 1:
            app.milepost.jobs.pause("job")
            self.checkpoint()
        budgets.append(self.step(str, "done"))

    task = declare(app, work, TenantModelTask if how == "sealed" else PlainModelTask)
    args = task.milepost_outgoing((TENANT,), {}, "job")[0] if how == "sealed" else (TENANT,)
    if how == "plain and on record":
        record_plain(app, *args)
    deliver(task, *args)
    app.milepost.jobs.resume("job", budget=Budget(tokens=1000))
    assert keys_in(app) == {"a1"}
    assert deliver(task, *args).succeeded
    assert budgets == ["done"]


def test_a_budget_for_a_tenant_whose_key_is_gone_is_refused(app, ring):
    def work(self, tenant):
        app.milepost.jobs.pause("job")
        self.checkpoint()

    delivered(declare(app, work, TenantModelTask), TENANT)
    ring.hold(DEFAULT)
    with pytest.raises(NoKeysError):
        app.milepost.jobs.resume("job", budget=Budget(tokens=1000))
    assert app.milepost.jobs.get("job").status is JobStatus.PAUSED
    assert keys_in(app) == set()


def test_the_state_of_another_job_is_that_jobs_tenants(app):
    """Its record says whose it is, wherever that is asked."""
    task = declare(app, echo)
    task.apply_async((TENANT,), task_id="theirs")
    task.update_state("theirs", "AT", {"word": CANARY})
    assert keys_in(app, "theirs") == {"a1"}
    assert task.AsyncResult("theirs").result == {"word": CANARY}
    with pytest.raises(JobNotFoundError):
        task.update_state("nobodys", "AT", {"word": CANARY})
    with pytest.raises(NoKeysError):
        task.update_state(state="AT", meta={"word": CANARY})
