"""The house of milepost, kept by reading its source: floors, imports, sizes, the face."""

import ast
import importlib
import inspect
import json
import pickle
import pkgutil
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from celery.backends.cache import CacheBackend

import milepost
from milepost.errors import MissingExtraError
from milepost.interrupts import Interrupt

SOURCE = Path(milepost.__file__).parent

FLOORS = (
    (
        *("_version", "ciphertext", "clock", "errors", "face", "history", "jobtype", "model"),
        *("query", "retry_after"),
    ),
    (
        *("budget", "codec", "documents", "events", "extras", "guard", "interrupts", "limits"),
        *("llm", "observer", "plugins", "settings", "store", "transactional"),
    ),
    ("codecs", "llms", "stores"),
    ("guards", "runtime", "security"),
    ("engine",),
    ("tasks",),
    ("declared", "registry", "versions"),
    ("discovery", "hookspecs", "jobs", "routing"),
    ("app",),
    ("integrations",),
    ("testing",),
)
"""From the ground up. A module may import its own floor and those below, nothing above."""

TOO_LONG: dict[str, int] = {}
"""Files over LONGEST, with the length they may not exceed. This list only shrinks."""
LONGEST = 350

LOADS_BY_NAME = {
    "milepost.face": "what packages offer, which loads on first use",
    "milepost.extras": "what may not be installed",
    "milepost.codecs.classes": "the classes that stored values name",
}
"""The modules that import what a string names, and why."""

NEVER_WITH_THE_FACE = {
    *("aiolimiter", "anthropic", "asyncio", "celery", "click", "cryptography", "fakeredis"),
    *("fastapi", "hiredis", "httpx", "kombu", "openai", "openfeature", "opentelemetry", "orjson"),
    *("pluggy", "psycopg"),
    *("pybreaker", "pydantic", "redis", "rich", "sqlalchemy", "structlog", "tenacity"),
}
NEVER_WITH_THE_NAMES = {
    *("aiolimiter", "cryptography", "httpx", "pluggy", "pybreaker", "tenacity"),
    *("anthropic", "celery.worker", "fakeredis", "fastapi", "hiredis", "openai", "opentelemetry"),
    *("openfeature", "orjson", "psycopg", "pydantic", "redis", "rich", "sqlalchemy"),
    "milepost.integrations",
    *("milepost.stores.redis", "milepost.stores.sql", "milepost.testing"),
}
STAND_EMPTY = ("codecs", "engine", "events", "jobs", "llms", "routing", "security")
"""Packages of which an application has no more than the face until it uses them."""
LOADED_ALL_THE_SAME = {
    *("milepost.codecs.json", "milepost.codecs.forms", "milepost.codecs.classes"),
    "milepost.security.serializers",
}
"""What is in them and needed at once: the codec of every value, and what is refused at the door."""
NEVER_WITH_THE_WORKER = {
    *("milepost.budget", "milepost.llm", "milepost.tasks.llm", "milepost.engine.calls"),
    *("milepost.codecs.encrypted", "milepost.tasks.encrypted", "milepost.stores.sealed"),
    *("milepost.routing.bundle", "milepost.jobs.manager", "milepost.integrations.cli"),
    *("milepost.security.validation", "milepost.tasks.sealing", "pybreaker"),
}
"""What a worker goes without unless one of its tasks, or its application, uses it."""


@cache
def modules() -> dict[str, Path]:
    """Return every module of milepost by its dotted name."""
    found = {}
    for path in sorted(SOURCE.rglob("*.py")):
        parts = ("milepost", *path.relative_to(SOURCE).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text())


def floor_of(module: str) -> int | None:
    """Return how high a module stands, or None for one that no floor names."""
    room = module.split(".")[1]
    return next((height for height, rooms in enumerate(FLOORS) if room in rooms), None)


def imports_of(module: str) -> set[str]:
    """Return the modules of milepost that a module's source imports, at any depth of code."""
    found = set()
    stub = modules()[module].with_suffix(".pyi")  # of a face: what it may come to load
    nodes = [
        *ast.walk(tree_of(module)),
        *(ast.walk(ast.parse(stub.read_text())) if stub.exists() else ()),
    ]
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}: a relative import"
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else str(node.module) for name in inner]
        else:
            continue
        found |= {name for name in names if name.split(".")[0] == "milepost"}
    return found - {module}


INNER = sorted(set(modules()) - {"milepost"})
EVERY = sorted(modules())


def test_every_module_has_a_floor() -> None:
    """No module stands outside the house."""
    assert [module for module in INNER if floor_of(module) is None] == []


def test_every_floor_is_furnished() -> None:
    """The floors name no room that does not exist, and none twice."""
    named = [room for rooms in FLOORS for room in rooms]
    assert sorted(named) == sorted({module.split(".")[1] for module in INNER})


@pytest.mark.parametrize("module", INNER)
def test_imports_run_down(module: str) -> None:
    """A module imports its own floor and those below, and never the face."""
    floor = floor_of(module)
    assert floor is not None
    for other in imports_of(module):
        assert other != "milepost", f"{module} imports the face"
        height = floor_of(other)
        assert height is not None
        assert height <= floor, f"{module} imports {other}, which stands above it"


def test_no_module_imports_in_a_circle() -> None:
    """No two modules need each other, not even for their types."""
    graph = {module: imports_of(module) for module in modules()}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as exc:
        pytest.fail(" → ".join(exc.args[1]))


@pytest.mark.parametrize("module", EVERY)
def test_imports_stand_at_the_top(module: str) -> None:
    """What a module needs is seen in its head; few load by name later, each with a reason."""
    top = {id(node) for node in tree_of(module).body}
    for node in ast.walk(tree_of(module)):
        late = isinstance(node, ast.Import | ast.ImportFrom) and id(node) not in top
        assert not late, f"{module}:{node.lineno} imports late"  # type: ignore[attr-defined]
        name = getattr(node, "id", None) or getattr(node, "attr", None)
        assert name != "TYPE_CHECKING", f"{module} hides an import from its readers"
        if name in {"import_module", "__import__"}:
            assert module in LOADS_BY_NAME, f"{module} imports by name"


@pytest.mark.parametrize("module", EVERY)
def test_every_module_says_what_it_is(module: str) -> None:
    """Each module opens with a docstring."""
    assert ast.get_docstring(tree_of(module)), f"{module} has no docstring"


def test_files_are_short() -> None:
    """A file fits one reading; the few that do not may only get shorter."""
    lengths = {
        path.relative_to(SOURCE).as_posix(): len(path.read_text().splitlines())
        for path in modules().values()
    }
    too_long = {f: n for f, n in lengths.items() if n > TOO_LONG.get(f, LONGEST)}
    assert too_long == {}
    settled = [file for file in TOO_LONG if lengths.get(file, 0) <= LONGEST]
    assert settled == [], "these fit by now: take them off the list"


def test_no_room_for_leftovers() -> None:
    """Nothing is called utils, helpers, common, misc or the like: names say what is inside."""
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "service", "services"}
    parts = {part for module in modules() for part in module.split(".")}
    names = {
        node.name
        for module in modules()
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    assert not vague & (parts | {name.lower() for name in names})


# -- what the architecture page says -------------------------------------------------------


def rows_of(heading: str) -> list[list[set[str]]]:
    """Return the table under a heading of the architecture page: the code words of its cells."""
    page = Path(__file__).parents[1] / "docs/explanation/architecture.md"
    part = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.split("|")[1:-1] for line in part.splitlines() if line.startswith("|")][2:]
    return [[set(re.findall("`([^`]+)`", cell)) for cell in row] for row in rows]


def test_the_floors_are_documented() -> None:
    """From the top down, each with the rooms it has."""
    built = [set(rooms) - {"_version"} for rooms in FLOORS if rooms != ("testing",)]
    assert [row[1] for row in rows_of("The floors")] == built[::-1]


def test_the_engine_is_documented() -> None:
    """Each of its modules."""
    documented = [module for row in rows_of("The rooms of the engine") for module in row[0]]
    built = [m.removeprefix("milepost.engine.") for m in INNER if m.startswith("milepost.engine.")]
    assert sorted(documented) == built


def test_who_knows_celery_is_documented() -> None:
    """Each module that imports Celery, or what it is made of."""
    documented = {
        room if module == room else f"{room}.{module}"
        for (room,), modules_of_it, _ in rows_of("Where milepost meets Celery")
        for module in modules_of_it
    }
    celery = {"celery", "kombu", "billiard"}
    built = {m.removeprefix("milepost.") for m in INNER if packages_in(m) & celery}
    assert documented == built


def packages_in(module: str) -> set[str]:
    """Return the packages that a module's head imports."""
    names = set()
    for node in tree_of(module).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(str(node.module))
    return {name.partition(".")[0] for name in names}


# -- the face ------------------------------------------------------------------------------


FACES = sorted(name for name, path in modules().items() if path.with_suffix(".pyi").exists())


def stubbed(package: str) -> tuple[dict[str, str], list[str]]:
    """Return what the stub of a package says: where each name is from, and ``__all__``."""
    homes, offered = {}, []
    for node in ast.parse(modules()[package].with_suffix(".pyi").read_text()).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                homes[alias.name] = inner if inner in modules() else str(node.module)
        else:
            assert isinstance(node, ast.Assign), f"{package}: a stub of imports and __all__ only"
            offered = ast.literal_eval(node.value)
    return homes, offered


def test_stubs_stand_beside_faces() -> None:
    """Each package that makes itself a face has a stub, and no other module has one."""
    calls = {m for m in modules() if "face(__name__" in modules()[m].read_text()}
    assert set(FACES) == calls
    assert {path.with_suffix(".py") for path in SOURCE.rglob("*.pyi")} <= set(modules().values())


@pytest.mark.parametrize("package", FACES)
def test_a_face_is_what_loads(package: str) -> None:
    """What a package offers is what its stub types, each name loads, and no other does."""
    found = importlib.import_module(package)
    table = {name: f"{package}.{home}" for home, names in found._HOMES.items() for name in names}
    homes, offered = stubbed(package)
    assert table == homes
    assert found.__all__ == dir(found) == sorted(offered)
    for name, home in homes.items():
        module = importlib.import_module(home)
        assert getattr(found, name) is (
            module if home == f"{package}.{name}" else vars(module)[name]
        )
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = found.nothing


@pytest.mark.parametrize("package", FACES)
def test_a_face_gives_all_that_a_star_asks_for(package: str) -> None:
    """``from milepost.routing import *`` brings every name, also the first time."""
    loaded_by(
        f"from {package} import *\nimport {package} as found\n"
        "assert set(found.__all__) <= {*globals()}"
    )


def loaded_by(statement: str) -> set[str]:
    """Return what modules a fresh interpreter has after *statement*."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_the_face_loads_nothing() -> None:
    """``import milepost`` brings no dependency at all, not even Celery."""
    loaded = loaded_by("import milepost")
    assert not NEVER_WITH_THE_FACE & loaded
    assert {name for name in loaded if name.startswith("milepost")} == {"milepost", "milepost.face"}


APP = """
from celery import Celery
from milepost import CheckpointableTask, Milepost
app = Celery("shop", broker="redis://127.0.0.1/0")
milepost = Milepost(app)

@app.task(base=CheckpointableTask, bind=True, name="backfill")
def backfill(self, table):
    ...
"""


def test_the_names_load_nothing_optional() -> None:
    """The two names everybody imports bring no driver, no pydantic and no worker."""
    loaded = loaded_by("from milepost import CheckpointableTask, Milepost")
    assert not NEVER_WITH_THE_NAMES & loaded


def test_an_application_loads_no_room_that_it_does_not_use() -> None:
    """With a durable task and nothing more it has the faces of most packages, and no inside."""
    empty = tuple(f"milepost.{package}." for package in STAND_EMPTY)
    inside = {name for name in loaded_by(APP) if name.startswith(empty)}
    assert inside - LOADED_ALL_THE_SAME == set()


def test_a_worker_loads_what_it_carries_jobs_with() -> None:
    """All of the engine is there before the pool is forked, and nothing that no task uses."""
    loaded = loaded_by(f"""{APP}
app.conf.worker_pool = "solo"
app.WorkController().blueprint.apply
""")
    assert {"milepost.engine.attempt", "milepost.engine.loops", "milepost.stores.redis"} <= loaded
    assert NEVER_WITH_THE_WORKER & loaded == set()


# -- errors --------------------------------------------------------------------------------


@cache
def exceptions() -> tuple[type[BaseException], ...]:
    """Return every exception class that milepost defines, private ones included."""
    found = set()
    for info in pkgutil.walk_packages(milepost.__path__, "milepost."):
        module = importlib.import_module(info.name)
        found |= {
            thing
            for thing in vars(module).values()
            if isinstance(thing, type)
            and issubclass(thing, BaseException)
            and thing.__module__ == info.name
        }
    return tuple(sorted(found, key=lambda cls: cls.__name__))


def sample_of(cls: type[BaseException]) -> BaseException:
    """Return an exception of *cls* with a value of the right kind for each argument."""
    values = {str: "täxt", int: 3, float: 0.5}
    if not any("__init__" in base.__dict__ for base in cls.__mro__ if base in exceptions()):
        return cls("täxt")
    wanted = list(inspect.signature(cls).parameters.values())
    return cls(*[values.get(parameter.annotation, "paused") for parameter in wanted])


@pytest.mark.parametrize(
    "cls",
    [cls for cls in exceptions() if issubclass(cls, milepost.MilepostError)],
    ids=lambda cls: cls.__name__,
)
def test_errors_say_what_is_wrong(cls: type[BaseException]) -> None:
    """In one line of words with the facts in it, and never as a tuple of arguments."""
    error = sample_of(cls)
    assert "täxt" in str(error)
    assert str(error) != str(error.args)
    assert not set(str(error)) & set("\n\t")
    if len(error.args) > 1:  # those of one are often given their words by whoever raises them
        assert len(str(error)) > len("täxt/täxt: täxt") - 1


def test_what_milepost_brings_is_no_extra() -> None:
    """The pip line of a part that has none names no empty one."""
    assert str(MissingExtraError("pydantic", "")).endswith("Run: pip install milepost")


@pytest.mark.parametrize("cls", exceptions(), ids=lambda cls: cls.__name__)
def test_errors_survive_pickle(cls: type[BaseException]) -> None:
    """An exception comes back from another process as what it was, text and facts included."""
    before = sample_of(cls)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        after = pickle.loads(pickle.dumps(before, protocol))
        assert type(after) is cls
        assert after.args == before.args
        assert str(after) == str(before)
        assert vars(after) == vars(before)


@pytest.mark.parametrize(
    "cls", [cls for cls in exceptions() if issubclass(cls, Exception)], ids=lambda c: c.__name__
)
def test_errors_survive_a_json_result_backend(cls: type[Exception]) -> None:
    """``AsyncResult.get()`` raises what the task raised, text and facts included."""
    from celery import Celery

    backend = CacheBackend(Celery(set_as_current=False), url="memory://", backend="memory")
    before = sample_of(cls)
    stored = json.loads(json.dumps(backend.prepare_exception(before, serializer="json")))
    after = backend.exception_to_python(stored)
    assert type(after) is cls
    assert str(after) == str(before)
    assert vars(after) == vars(before)


def test_errors_have_one_root() -> None:
    """``except MilepostError`` catches every error of milepost."""
    errors = [cls for cls in exceptions() if cls.__name__.endswith("Error")]
    assert len(errors) > 10
    assert [cls for cls in errors if not issubclass(cls, milepost.MilepostError)] == []


def test_the_tree_of_errors_is_drawn() -> None:
    """The docstring of errors/ shows every error there is, each under its parent."""
    from milepost import errors

    drawn = {}
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        name = next((word for word in line.split() if word.endswith("Error")), None)
        if name is None or not (set(line) & set("├└") or line.strip() == name):
            continue
        depth = (line.index(name) - 4) // 4
        above[depth:] = [name]
        drawn[name] = above[depth - 1] if depth else "Exception"
    real = {
        cls.__name__: cls.__bases__[0].__name__
        for cls in exceptions()
        if issubclass(cls, milepost.MilepostError)
    }
    assert drawn == real


def test_interrupts_are_no_errors() -> None:
    """A user's ``except Exception`` cannot eat the interrupt that stops a job."""
    interrupts = [cls for cls in exceptions() if issubclass(cls, Interrupt)]
    assert {cls.__name__ for cls in interrupts} == {"Cancel", "Interrupt", "Superseded", "Suspend"}
    assert not any(issubclass(cls, Exception) for cls in interrupts)


def test_no_exception_is_defined_elsewhere() -> None:
    """Errors live in errors/ and interrupts in interrupts.py, where people look for them."""
    homes = {cls.__module__ for cls in exceptions() if not cls.__name__.startswith("_")}
    assert {".".join(home.split(".")[:2]) for home in homes} <= {
        "milepost.errors",
        "milepost.interrupts",
    }
