"""The registry: three ways in, one name out, and contradictions refused."""

import pytest
from pydantic import BaseModel

from deliveries import make_app, sent
from milepost import BaseTask, CheckpointableTask, EncryptedTask, Sensitive
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import ConfigurationError, InvalidInputError, UnknownJobTypeError
from milepost.registry import JobType, registry_of


class Rows(BaseModel):
    count: int


def nothing():
    """A task that is not durable."""


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def registry(app):
    return app.milepost.registry


def declare(app, name, **facts):
    """Make a durable task."""

    @app.task(base=CheckpointableTask, bind=True, name=name, **facts)
    def work(self):
        """Do the work.

        And more that nobody lists.
        """

    return work


# -- ways in -----------------------------------------------------------------------------------


def test_a_task_names_its_job_type(app, registry):
    """What the task declares is what the registry knows."""
    declare(
        *(app, "tasks.load"),
        job_type="shop.load",
        input_model=Rows,
        permissions=("pii",),
        checkpoint_version=3,
    )
    assert registry.get_task("shop.load") == JobType(
        *("shop.load", "tasks.load", None, Rows, ("pii",), 3),
        description="Do the work.",
        owner="test_registry",
    )


def test_a_task_is_its_own_job_type(app, registry):
    """Unless something else names it; tasks that are not durable are none."""
    declare(app, "load")
    app.task(name="plain")(nothing)
    assert [one.name for one in registry.get_all_job_types()] == ["load"]
    assert registry.get_task("load").task == "load"


def test_register_by_task_or_name_before_it_is_there(app, registry):
    """Order does not matter; what is left out is what the task says."""
    registry.register("shop.load", "tasks.load", queue="bulk", owner="shop")
    load = declare(app, "tasks.load", checkpoint_version=2)
    registry.register("shop.save", declare(app, "tasks.save"), description="Save it.")
    found = registry.get_task("shop.load")
    assert (found.queue, found.checkpoint_version, found.owner) == ("bulk", 2, "shop")
    assert registry.get_task(load.name) is found
    assert registry.get_task("shop.save").description == "Save it."
    assert registry.of_task("tasks.save").name == "shop.save"
    assert registry.of_task("tasks.none") is None


def test_the_decorator(app, registry):
    """It registers the task and leaves it as it is, without making it too early."""

    @registry.job_type("shop.load", input_model=Rows)
    @app.task(base=CheckpointableTask, bind=True, name="tasks.load")
    def load(self): ...

    assert "tasks.load" not in app._tasks
    assert registry.get_task("shop.load").input_model is Rows
    assert load.name == "tasks.load"


def test_the_decorator_on_a_class(app, registry):
    """A class that is registered with Celery afterwards."""

    @registry.job_type("shop.load")
    class Load(CheckpointableTask):
        name = "tasks.load"

        def run(self):
            """Load it."""

    app.register_task(Load())
    assert registry.get_task("shop.load").description == "Load it."


def test_what_comes_later_is_found(app, registry):
    """Also after the names were looked at."""
    declare(app, "one")
    assert len(registry.get_all_job_types()) == 1
    declare(app, "two", job_type="shop.two")
    assert registry.get_task("shop.two").task == "two"
    assert [one.name for one in registry.get_all_job_types()] == ["one", "shop.two"]


def test_each_app_has_its_own(app):
    """And an app without milepost has none."""
    declare(app, "load")
    other = make_app()
    with pytest.raises(UnknownJobTypeError):
        other.milepost.registry.get_task("load")
    assert registry_of(app) is app.milepost.registry
    with pytest.raises(ConfigurationError, match="no milepost"):
        registry_of(make_app(milepost=False))


# -- what is refused ---------------------------------------------------------------------------


def test_unknown_names_get_near_ones(app, registry):
    """By job type and by task."""
    declare(app, "tasks.import_rows", job_type="shop.import")
    with pytest.raises(UnknownJobTypeError, match=r"did you mean 'shop\.import'") as refused:
        registry.get_task("shop.imprt")
    assert refused.value.near == ("shop.import",)
    with pytest.raises(UnknownJobTypeError, match=r"'tasks\.import_rows'"):
        registry.get_task("tasks.import_row")
    with pytest.raises(UnknownJobTypeError, match="jobs types"):
        registry.get_task("zzz")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("tasks.other", {"job_type": "shop.load"}),  # one name for two tasks
        ("shop.load", {}),  # a task called as another's job type
        ("shop.load", {"job_type": "shop.other"}),
    ],
)
def test_one_name_for_two(app, registry, name, facts):
    """Nobody has to guess which is meant: both are named, with where they come from."""
    declare(app, "tasks.load", job_type="shop.load")
    declare(app, name, **facts)
    with pytest.raises(ConfigurationError, match=r"two job types: .*by test_registry.*test_regi"):
        registry.check()


def test_two_job_types_for_one_task(app, registry):
    """Registered twice, or registered beside what the task says."""
    load = declare(app, "tasks.load")
    registry.register("shop.load", load)
    with pytest.raises(ConfigurationError, match="registered already"):
        registry.register("shop.load", load)
    registry.register("shop.other", load)
    with pytest.raises(ConfigurationError, match=r"'tasks\.load' means two job types"):
        registry.get_all_job_types()


def test_the_task_names_another_job_type(app, registry):
    """That is two job types as well."""
    registry.register("shop.load", declare(app, "tasks.load", job_type="shop.other"))
    with pytest.raises(ConfigurationError, match=r"'shop\.load'.*'shop\.other'"):
        registry.check()


def test_a_missing_task(app, registry):
    """Is no matter until the job type is wanted, or a worker starts."""
    registry.register("shop.load", "tasks.load")
    declare(app, "other")
    assert [one.name for one in registry.get_all_job_types()] == ["other"]
    for ask in (registry.check, lambda: registry.get_task("shop.load")):
        with pytest.raises(ConfigurationError, match=r"'tasks\.load', which is not registered"):
            ask()


def test_a_task_that_is_not_durable(app, registry):
    """Cannot do the work of a job."""
    app.task(name="plain", base=BaseTask, job_type="shop.plain")(nothing)
    with pytest.raises(ConfigurationError, match="not durable"):
        registry.check()


def test_a_version_that_is_not_the_tasks(app, registry):
    """Whoever declares one means it."""
    registry.register("shop.load", declare(app, "load"), checkpoint_version=2)
    with pytest.raises(ConfigurationError, match="checkpoint_version=2, but its task 'load' has 1"):
        registry.check()


@pytest.mark.parametrize(
    "facts", [{"name": ""}, {"name": 3}, {"permissions": "pii"}, {"input_model": dict}]
)
def test_a_declaration_that_is_none(registry, facts):
    """Is refused where it stands."""
    with pytest.raises(ConfigurationError):
        registry.register(**{"name": "shop.load", "task": "load", **facts})


def test_permissions_that_are_one_text(app, registry):
    """Its letters are not taken for names."""
    declare(app, "load", permissions="pii")
    with pytest.raises(ConfigurationError, match="permissions = 'pii': a tuple of names"):
        registry.check()


def test_a_task_that_is_none(registry):
    """Is found out when the tasks are looked at."""
    registry.register("shop.load", 3)
    with pytest.raises(ConfigurationError, match=r"'shop\.load': task = 3: a durable task"):
        registry.check()


# -- jobs --------------------------------------------------------------------------------------


def test_jobs_of_a_job_type(app):
    """Created and found by it, sent to its queue unless told otherwise."""
    jobs = app.milepost.jobs
    load = declare(app, "tasks.load", job_type="shop.load")
    app.milepost.registry.register("shop.save", declare(app, "tasks.save"), queue="bulk")
    job = jobs.create("shop.load")
    ((headers, _),) = sent(app)
    assert (headers["id"], headers["task"]) == (job.id, "tasks.load")
    assert jobs.create(load).task == jobs.create("tasks.load").task == "tasks.load"
    app.conf.task_default_queue = "bulk"
    jobs.create("shop.save", queue="quick")
    assert sent(app) == []
    kept = jobs.create("shop.save")
    ((headers, _),) = sent(app)
    assert headers["id"] == kept.id
    assert len(jobs.find(job_type="shop.load").jobs) == 3
    assert len(jobs.find(job_type="tasks.save").jobs) == 2
    assert jobs.find(job_type="never.heard.of").jobs == ()


def test_one_key_whichever_name(app):
    """A job type and its task are one thing to an idempotency key."""
    declare(app, "tasks.load", job_type="shop.load")
    jobs = app.milepost.jobs
    first = jobs.create("shop.load", idempotency_key="k")
    assert jobs.create("tasks.load", idempotency_key="k") == first


class Card(BaseModel):
    number: Sensitive[str]


class Order(BaseModel):
    cards: list[Card] | None = None


def test_an_input_model_with_a_sensitive_field():
    """It only checks: what it names as sensitive would be sent in the clear."""
    app = make_app(milepost={"keys": Keyring([Key("k", b"s" * 32, is_current=True)])})

    @app.task(base=CheckpointableTask, bind=True, name="charge", input_model=Order)
    def charge(self, cards=None): ...

    problem = r"Order\.cards\.number is Sensitive.*EncryptedTask"
    with pytest.raises(ConfigurationError, match=problem):
        charge.delay(cards=[])

    @app.task(base=CheckpointableTask, bind=True, name="other")
    def other(self, cards=None): ...

    app.milepost.registry.register("shop.other", other, input_model=Order)
    for use in (
        app.milepost.registry.check,
        lambda: app.milepost.jobs.create("shop.other", {"cards": [{"number": "4111"}]}),
    ):
        with pytest.raises(ConfigurationError, match=problem):
            use()
    assert sent(app) == []


def test_an_encrypted_task_may_have_sensitive_input():
    app = make_app(milepost={"keys": Keyring([Key("k", b"s" * 32, is_current=True)])})

    @app.task(base=EncryptedTask, bind=True, name="charge", input_model=Order)
    def charge(self, cards=None):
        return cards[0]["number"]

    app.milepost.registry.check()
    job = app.milepost.jobs.create("charge", {"cards": [{"number": "4111"}]})
    assert b"4111" not in job.message
    with pytest.raises(InvalidInputError):
        app.milepost.jobs.create("charge", {"cards": [{"number": 4111}]})
    with pytest.raises(InvalidInputError):
        charge.delay(cards=[{"number": 4111}])
    assert len(app.milepost.store.tally()) == 1
