"""Permissions: nobody may do what the policy does not allow, and everybody can see why."""

import logging

import pytest

from commands import run
from deliveries import deliver, make_app, record
from milepost import CheckpointableTask
from milepost.errors import ConfigurationError, JobNotFoundError, PermissionDeniedError
from milepost.events import PermissionDecided
from milepost.integrations.cli.codes import Exit
from milepost.integrations.cli.options import whoami
from milepost.jobtype import JobType
from milepost.security.permissions import Action, Decision, Principal
from milepost.security.roles import Role, RoleTable

TABLE = RoleTable(
    {
        "viewer": Role(["list", "see"]),
        "operator": Role(["see", "pause", "resume", "cancel"], ["shop.*"]),
        "loader": Role([Action.CREATE, "read"], ["shop.load"], permissions=["pii"]),
        "admin": Role(["*"], permissions=["pii"]),
    },
    members={"operator": ["ann", "*@ops"], "admin": ["root"], "viewer": ["eve"]},
)
LOAD, MAIL = JobType("shop.load", "load", permissions=("pii",)), JobType("mail.send", "send")


class Scripted:
    """A policy that says what it is told to say, and keeps what it was asked."""

    def __init__(self, answer=None):
        self.answer = answer or Decision(True, "as told")
        self.asked = []

    def may(self, principal, action, job_type, job):
        self.asked.append((principal.name, str(action), job_type and job_type.name, job and job.id))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def app_with(policy, **options):
    app = make_app(milepost={"policy": policy, **options})

    @app.task(base=CheckpointableTask, bind=True, name="load", job_type="shop.load")
    def load(self):
        return "done"

    return app


def put(app, job_id="job"):
    """Put a job on record past every policy."""
    app.tasks["load"].apply_async(task_id=job_id)


# -- the table ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "action", "job_type", "allowed", "reason"),
    [
        ("ann", "pause", LOAD, False, "it wants pii"),
        ("ann", "pause", JobType("shop.tidy", "tidy"), True, "role operator"),
        ("bob@ops", "pause", JobType("shop.tidy", "tidy"), True, "role operator"),
        ("ann", "pause", MAIL, False, "not within operator"),
        ("ann", "create", JobType("shop.tidy", "tidy"), False, "not within operator"),
        ("ann", "list", None, False, "not within operator"),
        ("eve", "list", None, True, "role viewer"),
        ("root", "restart", LOAD, True, "role admin"),
        ("root", "list", None, True, "role admin"),
        ("mallory", "see", MAIL, False, "no role"),
        ("", "see", MAIL, False, "nobody has said who asks"),
    ],
)
def test_the_table(name, action, job_type, allowed, reason):
    """Deny by default: an act needs a role that covers it, with what the job type wants."""
    assert TABLE.may(Principal(name), Action(action), job_type, None) == Decision(allowed, reason)


def test_roles_that_a_principal_brings():
    """Whoever authenticated them says so; roles that the table does not know give nothing."""
    who = Principal("mallory", frozenset({"loader", "emperor"}))
    assert TABLE.may(who, Action.CREATE, LOAD, None).allowed
    assert not TABLE.may(who, Action.CREATE, MAIL, None).allowed
    assert not TABLE.may(Principal("x", frozenset({"emperor"})), Action.SEE, LOAD, None).allowed


@pytest.mark.parametrize(
    "make",
    [
        lambda: Role(["paus"]),
        lambda: Role("pause"),
        lambda: Role(["pause"], "shop.*"),
        lambda: RoleTable({"viewer": Role(["see"])}, {"viewr": ["ann"]}),
        lambda: RoleTable({"viewer": Role(["see"])}, {"viewer": "ann"}),
    ],
)
def test_a_table_that_is_none(make):
    """A typing error does not become a policy."""
    with pytest.raises(ConfigurationError):
        make()


# -- the manager -------------------------------------------------------------------------------


def test_without_a_policy_everything_is_allowed():
    """And nothing asked, whoever it is."""
    app = app_with(None)
    put(app)
    assert app.milepost.jobs.pause("job", principal="ann").status == "paused"
    assert record(app).history[-1].by == "ann"
    app.milepost.jobs.resume("job", principal="ann", by="bob")
    assert record(app).history[-1].by == "bob"


ACTS = {
    "create": lambda jobs, who: jobs.create("shop.load", principal=who),
    "create_job": lambda jobs, who: jobs.create_job("load", principal=who),
    "get": lambda jobs, who: jobs.get("job", principal=who),
    "get_job_status": lambda jobs, who: jobs.get_job_status("job", principal=who),
    "explain": lambda jobs, who: jobs.explain("job", ask_workers=False, principal=who),
    "watch": lambda jobs, who: next(jobs.watch("job", principal=who)),
    "wait": lambda jobs, who: jobs.wait("job", timeout=0, principal=who),
    "checkpoint": lambda jobs, who: jobs.checkpoint("job", principal=who),
    "result": lambda jobs, who: jobs.result("job", principal=who),
    "find": lambda jobs, who: jobs.find(job_type="shop.load", principal=who),
    "find_all": lambda jobs, who: list(jobs.find_all(job_type="load", principal=who)),
    "stats": lambda jobs, who: jobs.stats(principal=who),
    "pause": lambda jobs, who: jobs.pause("job", principal=who),
    "resume": lambda jobs, who: jobs.resume("job", principal=who),
    "cancel": lambda jobs, who: jobs.cancel("job", force=True, principal=who),
    "wake": lambda jobs, who: jobs.wake("job", principal=who),
    "retry": lambda jobs, who: jobs.retry("job", principal=who),
    "restart": lambda jobs, who: jobs.restart("job", from_start=False, principal=who),
    "bulk": lambda jobs, who: jobs.bulk("pause", owner="ann", principal=who),
}
ASKED = {
    **{act: (act, "shop.load", "job") for act in ("pause", "resume", "cancel", "wake")},
    **{act: (act, "shop.load", "job") for act in ("retry", "restart")},
    **dict.fromkeys(("create", "create_job"), ("create", "shop.load", None)),
    **dict.fromkeys(("get", "get_job_status", "explain"), ("see", "shop.load", "job")),
    **dict.fromkeys(("watch", "wait"), ("see", "shop.load", "job")),
    **dict.fromkeys(("checkpoint", "result"), ("read", "shop.load", "job")),
    **dict.fromkeys(("find", "find_all"), ("list", "shop.load", None)),
    **dict.fromkeys(("stats", "bulk"), ("list", None, None)),
}


@pytest.mark.parametrize("act", ACTS)
def test_every_call_is_checked(act):
    """With who asks, for what, of which type and job; and nothing is done without a yes."""
    policy = Scripted(Decision(False, "closed"))
    app = app_with(policy)
    put(app)
    before = app.milepost.store.get("job")
    with pytest.raises(PermissionDeniedError, match=r"'ann' may not .*: closed"):
        ACTS[act](app.milepost.jobs, "ann")
    assert policy.asked == [("ann", *ASKED[act])]
    assert app.milepost.store.get("job") == before
    assert len(app.milepost.store.tally()) == 1


def test_no_public_call_is_left_out():
    """Whoever adds a method to the manager has to say which act it is."""
    jobs = app_with(None).milepost.jobs
    public = {name for name in dir(jobs) if not name.startswith("_")}
    assert public - set(ACTS) == {"acting_for", "open", "report", "shown"}


class CreateTheirs:
    """A policy: everybody may create, and see what is theirs."""

    def may(self, principal, action, job_type, job):
        allowed = action == "create" if job is None else job.owner == principal.name
        return Decision(allowed, "it is so")


@pytest.mark.parametrize("how", ["idempotency_key", "task_id"])
def test_a_key_shows_nobody_the_job_of_somebody_else(how):
    """Whoever guesses it gets no more than they may see; one's own they get again."""
    jobs = app_with(CreateTheirs()).milepost.jobs
    mine = jobs.create("shop.load", owner="ann", principal="ann", metadata={"a": 1}, **{how: "k"})
    assert jobs.create("shop.load", principal="ann", **{how: "k"}).id == mine.id
    with pytest.raises(PermissionDeniedError, match="'eve' may not see"):
        jobs.create("shop.load", principal="eve", **{how: "k"})
    assert jobs.create_job("shop.load", principal="eve", **{how: "k"}) == mine.id


def test_nobody_is_a_principal_too():
    """Where the caller says nothing, the policy is asked about somebody without a name."""
    policy = Scripted()
    app = app_with(policy)
    put(app)
    app.milepost.jobs.get("job")
    assert policy.asked == [("", "see", "shop.load", "job")]
    app = app_with(TABLE)
    put(app)
    app = app_with(TABLE)
    put(app)
    with pytest.raises(PermissionDeniedError, match="somebody without a name may not pause"):
        app.milepost.jobs.pause("job")


def test_a_manager_for_somebody():
    """All its calls are theirs, unless one says otherwise."""
    policy = Scripted()
    app = app_with(policy)
    put(app)
    jobs = app.milepost.jobs.acting_for(Principal("ann", frozenset({"admin"})))
    jobs.pause("job")
    jobs.get("job", principal="bob")
    assert [asked[0] for asked in policy.asked] == ["ann", "bob"]
    assert record(app).history[-1].by == "ann"
    with pytest.raises(ConfigurationError, match="principal = 3"):
        app.milepost.jobs.acting_for(3)


def test_history_under_a_policy():
    """Nobody acts under another's name: by= adds to the principal's."""
    app = app_with(Scripted())
    put(app)
    jobs = app.milepost.jobs
    for given, kept in (({}, "ann"), ({"by": "bob"}, "ann for bob"), ({"by": "ann"}, "ann")):
        jobs.pause("job", principal="ann", **given)
        jobs.resume("job", principal="ann", **given)
        assert record(app).history[-1].by == kept


def test_bulk_leaves_out_what_is_not_allowed():
    """And says so of each; the others are done."""

    class NotThatOne(Scripted):
        def may(self, principal, action, job_type, job):
            return Decision(job is None or job.id != "two", "not that one")

    app = app_with(NotThatOne())
    for job_id in ("one", "two"):
        put(app, job_id)
    done = app.milepost.jobs.bulk("pause", job_type="shop.load", principal="ann")
    assert done.done == ("one",)
    assert "not that one" in done.refused["two"]


def test_an_unknown_job():
    """Is unknown, whoever asks."""
    with pytest.raises(JobNotFoundError):
        app_with(Scripted()).milepost.jobs.pause("none", principal="ann")


def test_a_job_whose_task_is_gone():
    """Its type is the name of its task."""
    policy = Scripted()
    app = app_with(policy)
    put(app)
    del app.tasks["load"]
    app.milepost.registry._collect()
    app.milepost.jobs.pause("job", principal="ann")
    assert policy.asked == [("ann", "pause", "load", "job")]


def test_a_policy_that_fails_allows_nothing(caplog):
    """It is closed, not open; what went wrong is in the log, not in the answer."""
    app = app_with(Scripted(ValueError("secret")))
    with pytest.raises(PermissionDeniedError, match="the policy failed") as denied:
        app.milepost.jobs.find(principal="ann")
    assert "secret" not in str(denied.value)
    assert "secret" in caplog.text
    with pytest.raises(PermissionDeniedError, match="gave no decision"):
        app_with(Scripted("yes")).milepost.jobs.find(principal="ann")


def test_every_decision_is_told(caplog):
    """In the log and to observers, with who, what and why."""
    told = []
    app = app_with(TABLE, observers=[told.append])
    caplog.set_level(logging.INFO, "milepost.permissions")
    put(app)
    app.milepost.jobs.pause("job", principal="root")
    with pytest.raises(PermissionDeniedError):
        app.milepost.jobs.cancel("job", principal="eve")
    assert told == [
        PermissionDecided("root", "pause", "shop.load", "job", True, "role admin"),
        PermissionDecided("eve", "cancel", "shop.load", "job", False, "not within viewer"),
    ]
    (yes, no) = [r for r in caplog.records if r.name == "milepost.permissions"]
    assert (yes.levelname, yes.getMessage()) == (
        *("INFO", "'root' may pause 'shop.load' (job job): role admin"),
    )
    assert (no.levelname, no.getMessage()) == (
        *("WARNING", "'eve' may not cancel 'shop.load' (job job): not within viewer"),
    )


def test_the_work_itself_asks_nobody():
    """The policy guards the manager; a worker that carries a job needs no permission."""
    policy = Scripted(Decision(False, "closed"))
    app = app_with(policy)
    put(app)
    assert deliver(app.tasks["load"]).value == "done"
    assert policy.asked == []


# -- the command line --------------------------------------------------------------------------


def test_commands_ask_for_whoever_sits_there(monkeypatch):
    """The option, else the environment, else the user of this machine."""
    policy = Scripted()
    app = app_with(policy)
    put(app)
    run(app, "show", "job")
    monkeypatch.setenv("MILEPOST_PRINCIPAL", "env")
    run(app, "show", "job")
    run(app, "pause", "job", "--principal", "ann", "--by", "bob")
    assert [asked[0] for asked in policy.asked] == [whoami(), "env", "ann"]
    assert record(app).history[-1].by == "ann for bob"


def test_commands_that_are_denied():
    """End with a code of their own, and one line that says why."""
    app = app_with(TABLE)
    for job_id in ("job", "other"):
        put(app, job_id)
    for words in (
        ("list",),
        ("stats",),
        ("show", "job"),
        ("checkpoint", "job"),
        ("explain", "job"),
    ):
        done = run(app, *words, "--principal", "mallory")
        assert done.code == Exit.DENIED
        assert done.err.splitlines() == [
            line for line in done.err.splitlines() if "'mallory' may not" in line
        ]
        assert len(done.err.splitlines()) == 1
    done = run(app, "pause", "job", "other", "none", "--principal", "eve", "--json")
    assert done.code == Exit.REFUSED
    assert [one["done"] for one in done.json["jobs"]] == [False, False, False]
    assert run(app, "cancel", "job", "--principal", "eve").code == Exit.DENIED
    assert run(app, "cancel", "job", "--principal", "root").code == Exit.DONE
