"""Plugins: found, asked once, put to use, and kept from doing harm."""

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from commands import run
from deliveries import OwnCelery, deliver, make_app, record
from hosts import HostJobs
from milepost import CheckpointableTask, EncryptedTask, LLMTask, Milepost, discovery, hookspecs
from milepost.codecs.json import JsonCodec
from milepost.codecs.keyring import Key, Keyring
from milepost.discovery import load_plugins
from milepost.errors import CircuitOpenError, ConfigurationError, MilepostWarning
from milepost.hookspecs import hookimpl
from milepost.jobtype import JobType
from milepost.llms import FunctionClient
from milepost.plugins import PluginState
from milepost.routing import Routing, StaticFlags
from milepost.security.permissions import Decision
from milepost.stores.memory import MemoryStore

KINDS = ("stores", "codecs", "key_providers", "observers", "guards", "llm_clients")
KINDS += ("permission_policies", "flag_sources", "legacy_managers")


def plugin(name="sample", **answers):
    """Return a plugin, as a module would be, with a hook for each answer."""
    made = ModuleType(name)
    for hook, answer in answers.items():

        def implementation(answer=answer):
            if isinstance(answer, Exception):
                raise answer
            return answer

        # pluggy takes defaults for what they are, and asks for no argument.
        implementation.__name__ = f"milepost_{hook}"
        setattr(made, implementation.__name__, hookimpl(implementation))
    return made


def load(*plugins, blocked=(), strict=False):
    return load_plugins(plugins, blocked=blocked, strict=strict)


def install(monkeypatch, name, load):
    """Let an entry point be found, as of a distribution that is installed."""
    entry = SimpleNamespace(
        name=name, value=name, dist=SimpleNamespace(name=f"dist-{name}", version="1.2"), load=load
    )
    before = discovery._entry_points()
    monkeypatch.setattr(discovery, "_entry_points", lambda: (*before, entry))


class CountWords(CheckpointableTask):
    """Count the words of a text."""

    name = "sample.count_words"
    job_type = "text.words"

    def run(self, text):
        """Count."""
        return len(text.split())


# -- what they bring, in use -------------------------------------------------------------------


def test_job_types(monkeypatch):
    """A class becomes a task of the app; a value names one that is there; both say whose."""
    brought = plugin(job_types=[CountWords, JobType("text.lines", "sample.count_lines")])
    install(monkeypatch, "texts", lambda: brought)
    app = make_app()
    registry = app.milepost.registry

    @app.task(base=CheckpointableTask, bind=True, name="sample.count_lines")
    def count_lines(self, text):
        """Count the lines of a text."""

    registry.check()
    words, lines = registry.get_task("text.words"), registry.get_task("text.lines")
    assert (words.owner, words.task) == ("dist-texts", "sample.count_words")
    assert (lines.owner, lines.description) == ("dist-texts", "Count the lines of a text.")
    job = app.milepost.jobs.create("text.words", {"text": "a b c"})
    assert (
        deliver(app.tasks["sample.count_words"], job_id=job.id, kwargs={"text": "a b c"}).value == 3
    )
    assert "sample.count_words" in make_app().tasks


def test_a_task_is_there_for_whoever_asks_the_app():
    """Also where nobody has asked the registry."""
    app = make_app(milepost={"plugins": [plugin(job_types=[CountWords])]})
    assert type(app.tasks["sample.count_words"]) is CountWords


def test_stores():
    """A scheme opens the plugin's store, with URL and settings."""
    made = []

    def connect(url, settings):
        made.append((url, settings.namespace))
        return MemoryStore()

    brought = [plugin(stores={"shelf": connect})]
    app = make_app(milepost={"store": "shelf://here", "namespace": "n", "plugins": brought})
    assert app.milepost.store is app.milepost.runtime.store
    assert set(made) == {("shelf://here", "n")}
    with pytest.raises(ConfigurationError, match=r"'nowhere'; known are .*memory://.*shelf://"):
        make_app(milepost={"store": "nowhere://", "plugins": brought})


def test_codecs():
    """A codec by its name."""

    class Marked(JsonCodec):
        pass

    brought = [plugin(codecs={"marked": Marked})]
    app = make_app(milepost={"codec": "marked", "plugins": brought})
    assert type(app.milepost.runtime.codec) is Marked
    with pytest.raises(
        ConfigurationError, match="no plugin brings the codec 'markd'; there are: marked"
    ):
        make_app(milepost={"codec": "markd", "plugins": [plugin(codecs={"marked": Marked})]})


def test_observers():
    """Each is told, beside those that were given."""
    told, given = [], []
    app = make_app(
        milepost={
            "observers": [given.append],
            "plugins": [plugin(observers={"one": lambda: told.append})],
        }
    )

    @app.task(base=CheckpointableTask, bind=True, name="work")
    def work(self): ...

    deliver(work)
    assert told == given
    assert len(told) >= 2


def test_policies():
    """A policy counts where the application names it, and nowhere else."""

    class Nobody:
        def may(self, principal, action, job_type, job):
            return Decision(False, "closed")

    brought = plugin(permission_policies={"nobody": Nobody})
    app = make_app(milepost={"policy": "nobody", "plugins": [brought]})
    with pytest.raises(Exception, match="closed"):
        app.milepost.jobs.find()
    assert make_app(milepost={"plugins": [brought]}).milepost.jobs.find().jobs == ()
    with pytest.raises(ConfigurationError, match="permission policy 'none'"):
        make_app(milepost={"policy": "none", "plugins": [brought]})


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_collected(kind):
    """Under its name, as one frozen value that the runtime hands down."""
    found = load(plugin(**{kind: {"mine": dict}}))
    assert getattr(found, kind) == {"mine": dict}
    assert found.make(kind, "mine", a=1) == {"a": 1}
    assert found.found[0].brings == (f"{kind} mine",)
    with pytest.raises(TypeError):
        getattr(found, kind)["other"] = dict


def test_the_runtime_has_them():
    """What stands below the app finds them there."""
    app = make_app(milepost={"plugins": [plugin(llm_clients={"mine": dict})]})
    assert app.milepost.runtime.plugins is app.milepost.plugins
    assert list(app.milepost.plugins.llm_clients) == ["mine"]


# -- what goes wrong ---------------------------------------------------------------------------


def broken():
    raise ImportError("no module named 'gone'")


def test_a_plugin_that_cannot_be_imported(monkeypatch):
    """Is reported with its distribution, and takes nobody down."""
    install(monkeypatch, "broken", broken)
    with pytest.warns(MilepostWarning, match=r"plugin 'broken' of dist-broken 1\.2 is not in use"):
        found = load(plugin(codecs={"json2": JsonCodec}))
    states = {one.name: (one.state, one.problem) for one in found.found}
    assert states["broken"] == (PluginState.FAILED, "ImportError: no module named 'gone'")
    assert states["sample"] == (PluginState.LOADED, "")
    assert list(found.codecs) == ["json2"]


def test_strict_plugins(monkeypatch):
    """Let it be an error, from a keyword or the environment."""
    install(monkeypatch, "broken", broken)
    with pytest.raises(ConfigurationError, match=r"dist-broken 1\.2 failed: ImportError"):
        make_app(milepost={"strict_plugins": True})
    monkeypatch.setenv("MILEPOST_STRICT_PLUGINS", "yes")
    with pytest.raises(ConfigurationError, match="dist-broken"):
        make_app()


def test_a_hook_that_raises():
    """Leaves nothing of its plugin in use."""
    with pytest.warns(MilepostWarning, match=r"plugin 'sample' is not in use: OSError: no disk"):
        found = load(plugin(codecs={"mine": JsonCodec}, stores=OSError("no disk")))
    assert found.codecs == {}
    assert found.found[0].state is PluginState.FAILED


def test_blocked_plugins(monkeypatch):
    """By name, by distribution, by pattern; they are not even imported."""
    install(monkeypatch, "broken", broken)
    for blocked in (("broken",), ("dist-broken",), ("*",), ("other", "dist-*")):
        found = load(blocked=blocked)
        assert {one.state for one in found.found if one.name == "broken"} == {PluginState.BLOCKED}
    monkeypatch.setenv("MILEPOST_BLOCKED_PLUGINS", "other, broken")
    assert make_app().milepost.plugins.found[-1].state is PluginState.BLOCKED
    monkeypatch.delenv("MILEPOST_BLOCKED_PLUGINS")
    assert make_app(milepost={"blocked_plugins": ["broken"]}).milepost.plugins.found


def test_too_late_for_celerys_configuration():
    """It is read after the plugins are loaded: said, not passed over."""
    app = make_app(milepost_blocked_plugins=["some"])
    with pytest.raises(ConfigurationError, match="blocked_plugins in Celery's configuration comes"):
        _ = app.milepost.runtime


def test_a_hook_that_does_not_exist():
    """A misspelt hook would else be silently useless."""
    with pytest.raises(ConfigurationError, match=r"plugin 'sample': unknown hook 'milepost_stors'"):
        load(plugin(stors={}))


def test_an_argument_that_does_not_exist():
    """Hooks take none."""
    made = ModuleType("sample")

    @hookimpl
    def milepost_stores(config):
        return {}

    made.milepost_stores = milepost_stores
    with pytest.raises(ConfigurationError, match=r"plugin 'sample': .*'config'"):
        load(made)


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ({"stores": ["shelf"]}, "milepost_stores gave list"),
        ({"codecs": {"json2": 3}}, "milepost_codecs gave 'json2': 3"),
        ({"codecs": {1: dict}}, "milepost_codecs gave 1"),
        ({"job_types": ["text.words"]}, "milepost_job_types gave 'text.words'"),
        ({"job_types": [dict]}, "milepost_job_types gave <class 'dict'>"),
        ({"stores": {"redis": dict}}, "redis:// is a store of milepost's own"),
    ],
)
def test_answers_of_another_form(answers, problem):
    """The hook, and what it gave, are named."""
    with pytest.raises(ConfigurationError, match=f"plugin 'sample': {problem}"):
        load(plugin(**answers))


def test_two_of_one_name():
    """Neither wins."""
    with pytest.raises(ConfigurationError, match=r"'one' and plugin 'two' both bring 'mine'"):
        load(plugin("one", codecs={"mine": dict}), plugin("two", codecs={"mine": dict}))


def test_two_job_types_of_one_name(monkeypatch):
    """Of two plugins, or of a plugin and the application."""
    other = plugin("other", job_types=[JobType("text.words", "sample.count_lines")])
    with pytest.raises(ConfigurationError, match=r"'text\.words' is registered already"):
        make_app(milepost={"plugins": [plugin(job_types=[CountWords]), other]})
    app = make_app(milepost={"plugins": [plugin(job_types=[CountWords])]})

    @app.task(base=CheckpointableTask, bind=True, name="own", job_type="text.words")
    def own(self): ...

    with pytest.raises(ConfigurationError, match=r"'text\.words' means two job types: .*by sample"):
        app.milepost.registry.check()


def test_two_tasks_of_one_name():
    """The plugin's code would else run in place of the application's, or never."""
    app = OwnCelery("two", broker="memory://", set_as_current=False)

    @app.task(base=CheckpointableTask, bind=True, name="sample.count_words")
    def own(self): ...

    milepost = Milepost(app, store="memory://", plugins=[plugin(job_types=[CountWords])])
    with pytest.raises(ConfigurationError, match=r"two tasks 'sample\.count_words': .*CountWords"):
        milepost.registry.check()


# -- the command -------------------------------------------------------------------------------


def test_jobs_plugins(monkeypatch):
    """Lists what is loaded, from which distribution and version, and what failed why."""
    install(monkeypatch, "broken", broken)
    install(monkeypatch, "texts", lambda: plugin(job_types=[CountWords]))
    install(monkeypatch, "unwanted", broken)
    with pytest.warns(MilepostWarning):
        app = make_app(milepost={"blocked_plugins": ["unwanted"]})
    done = run(app, "plugins")
    rows = {line.split()[0]: line for line in done.out.splitlines()}
    assert rows["texts"].split() == [
        *("texts", "dist-texts", "1.2", "loaded", "job_types", "text.words")
    ]
    assert "failed   ImportError: no module named 'gone'" in rows["broken"]
    assert rows["unwanted"].split()[3] == "blocked"
    document = run(app, "plugins", "--json").json["plugins"]
    assert {one["name"]: one["state"] for one in document} == {
        "broken": "failed",
        "texts": "loaded",
        "unwanted": "blocked",
    }
    assert document[1]["brings"] == ["job_types text.words"]


def test_jobs_plugins_without_any(monkeypatch):
    """That there are none is said beside the output."""
    monkeypatch.setattr(discovery, "_entry_points", lambda: ())
    done = run(make_app(), "plugins")
    assert (done.code, done.out) == (0, "")
    assert "No plugins found." in done.err


def test_jobs_types():
    """Lists each job type with its task, and what is known of it."""
    app = make_app(milepost={"plugins": [plugin(job_types=[CountWords])]})

    @app.task(base=CheckpointableTask, bind=True, name="own", permissions=("pii",))
    def own(self): ...

    lines = run(app, "types").out.splitlines()
    assert lines[1].split() == ["own", "pii", "1", "test_plugins"]
    assert lines[2].startswith("text.words  sample.count_words")
    assert lines[2].endswith("Count.")
    (own_type, words) = run(app, "types", "--json").json["types"]
    assert own_type["permissions"] == ["pii"]
    assert words == {
        "name": "text.words",
        "task": "sample.count_words",
        "queue": None,
        "input_model": None,
        "permissions": [],
        "checkpoint_version": 1,
        "description": "Count.",
        "owner": "sample",
    }


def test_records_name_the_task():
    """A job type is a name for people; the record has the task."""
    app = make_app(milepost={"plugins": [plugin(job_types=[CountWords])]})
    job = app.milepost.jobs.create("text.words", {"text": ""}, task_id="job")
    assert record(app, job.id).task == "sample.count_words"
    report = app.milepost.jobs.get_job_status("job")
    assert (report.job_type, report.task) == ("text.words", "sample.count_words")


def test_nothing_is_connected():
    """To make a milepost, to load plugins and to check the registry need no server."""
    app = make_app(milepost={"store": "redis://127.0.0.1:1/0", "plugins": [plugin(codecs={})]})
    app.milepost.registry.check()
    assert run(app, "types").code == run(app, "plugins").code == 0


def test_a_client_of_models():
    """An LLM task that names it asks it; it is made once."""
    made = []

    def factory():
        made.append(FunctionClient(lambda request: "yes"))
        return made[-1]

    app = make_app(milepost={"plugins": [plugin(llm_clients={"acme": factory})]})

    @app.task(base=LLMTask, bind=True, name="ask", llm_client="acme", llm_model="m")
    def ask(self):
        return [self.llm("?", key="a").text, self.llm("?", key="b").text]

    assert deliver(ask).value == ["yes", "yes"]
    assert len(made) == 1


def test_a_client_of_models_that_no_plugin_brings():
    app = make_app()

    @app.task(base=LLMTask, bind=True, name="ask", llm_client="acme", llm_model="m")
    def ask(self):
        return self.llm("?").text

    assert "no plugin brings the llm client 'acme'" in str(deliver(ask).value)


def test_a_guard():
    """A task that names it is held back by it."""

    class Closed:
        def __init__(self, store, emit):
            self.store = store

        def calling(self):
            raise CircuitOpenError("vpn", 30.0)

    app = make_app(milepost={"plugins": [plugin(guards={"vpn": Closed})]})

    @app.task(base=CheckpointableTask, bind=True, name="fetch", guards=("vpn",))
    def fetch(self):
        raise AssertionError("it must not run")

    deliver(fetch)
    assert (record(app).status, record(app).reason[:9]) == ("scheduled", "held back")


def test_a_provider_of_keys():
    """An encrypted task encrypts with its keys."""
    keys = Keyring([Key("acme", b"s" * 32, is_current=True)])
    app = make_app(
        milepost={"keys": "plugin:acme", "plugins": [plugin(key_providers={"acme": lambda: keys})]}
    )

    @app.task(base=EncryptedTask, bind=True, name="whisper")
    def whisper(self, word):
        return word

    job = app.milepost.jobs.create("whisper", {"word": "hush"})
    assert b"hush" not in job.message
    with pytest.raises(ConfigurationError, match="no plugin brings the key provider 'other'"):
        make_app(milepost={"keys": "plugin:other"})


@pytest.mark.parametrize("kind", KINDS)
def test_the_reference_promises_what_the_hook_does(kind):
    """The arguments of its factories, in both; no application can give any others."""
    said = getattr(hookspecs, f"milepost_{kind}").__doc__
    pages = Path(__file__).parents[2] / "docs" / "reference" / "hooks.md"
    row = next(line for line in pages.read_text().splitlines() if f"`milepost_{kind}()`" in line)
    (promised,) = re.findall(r"factory\(.*?\)", said.split(".")[0])
    assert re.findall(r"factory\(.*?\)", row) == [promised]
    assert "**" not in promised


def test_a_flag_source_and_a_legacy_manager():
    """Both are made when the app names them, of no arguments."""
    made = SimpleNamespace(
        flag_sources={"house": lambda: StaticFlags({"celery_mail": 100})},
        legacy_managers={"house": HostJobs},
    )
    routing = Routing(legacy="house", flags=["house"])
    app = make_app(milepost={"plugins": [plugin(**vars(made))], "routing": routing})
    assert app.milepost.router.mode("mail") == ("celery", 100.0)
    assert app.milepost.router.create_job("post") == "1"
