"""The documentation says what is so: its code runs, its links resolve, it leaves nothing out."""

import ast
import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from celery import Task

from milepost import CheckpointableTask, JobStatus, errors, events, hookspecs
from milepost.jobtype import JobType
from milepost.model import Job, Refusal, Signal
from milepost.plugins import Plugin, Plugins, PluginState
from milepost.registry import TaskRegistry
from milepost.security.permissions import Action
from milepost.settings import Settings
from milepost.stores import SCHEMES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    *sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts),
]
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
WORKER_COMMAND = "celery -A shop worker -c 1"
PATIENCE = 60.0


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        language: the first word of its info string.
        attributes: the others: ``notest``, ``file=shop.py``.
        line: where its code begins, from 0.
        code: its text.
    """

    language: str
    attributes: tuple[str, ...]
    line: int
    code: str

    @property
    def file(self) -> str | None:
        """The file the reader is to save it in."""
        names = [a.removeprefix("file=") for a in self.attributes if a.startswith("file=")]
        return names[0] if names else None


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in FENCE.finditer(text):
        language, *attributes = match["info"].split() or [""]
        line = text.count("\n", 0, match.start()) + 1
        yield Block(language, tuple(attributes), line, match["code"])


def prose_of(page: Path) -> str:
    """Return the text of a page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MILEPOST_", "CELERY_"))}
    return {**clean, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "."}


# -- the code ---------------------------------------------------------------------------------


def runnable(page: Path) -> list[Block]:
    return [b for b in blocks_of(page) if b.language == "python" and "notest" not in b.attributes]


WITH_CODE = [page for page in PAGES if any(b.file is None for b in runnable(page))]


@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    """The blocks of a page, one after another, are a module that can be imported."""
    code = ""
    for block in runnable(page):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.code)
        else:  # at the lines where it stands, so that a traceback points into the page
            code += "\n" * (block.line - code.count("\n")) + block.code
    (tmp_path / "shop.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error::milepost.errors.MilepostWarning", "-c", "import shop"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{name_of(page)}:\n{done.stderr[-4000:]}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_that_do_not_run_are_python_at_least(page: Path) -> None:
    """Also what needs a server of the reader's own is checked as far as it can be."""
    for block in blocks_of(page):
        assert block.language, f"{name_of(page)}:{block.line}: a block without a language"
        if block.language == "python":
            ast.parse(block.code)


UNDER_WAY = """
import time
from shop import milepost
while not any(job.progress.done for job in milepost.jobs.find(status="running").jobs):
    time.sleep(0.05)
"""


class Reader:
    """Somebody who follows the tutorial: saves its files and types its commands."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.ran: list[str] = []
        self._worker: subprocess.Popen[bytes] | None = None

    def follow(self, block: Block) -> None:
        if block.file is not None:
            (self.folder / block.file).write_text(block.code)
        elif block.language == "console":
            for line in block.code.splitlines():
                if line.startswith("$ "):
                    self._type(line.removeprefix("$ "))

    def _type(self, command: str) -> None:
        self.ran.append(command)
        if command == WORKER_COMMAND:
            self.stop()
            log = (self.folder / "worker.log").open("ab")
            self._worker = subprocess.Popen(
                [sys.executable, "-m", *command.split()],
                cwd=self.folder,
                env=environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        elif command.startswith("pkill -9"):
            self._kill()
        elif command.startswith("python "):
            self._run(command.split()[1:])
        else:
            assert command.startswith(("pip install", "mkdir", "rm")), command
            if not command.startswith("pip"):
                subprocess.run(command, shell=True, cwd=self.folder, check=True)

    def _run(self, arguments: list[str]) -> None:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        log = self.folder / "worker.log"
        assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{log.read_text()[-4000:]}"
        self.said.append(done.stdout)

    def _kill(self) -> None:
        assert self._worker is not None
        self._wait_for_a_row()
        os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait()
        self._worker = None

    def _wait_for_a_row(self) -> None:
        """Wait until a job is under way: where much else runs, a few seconds may be too few."""
        subprocess.run(
            [sys.executable, "-c", UNDER_WAY],
            cwd=self.folder,
            env=environment(),
            timeout=PATIENCE,
            check=True,
        )

    def stop(self) -> None:
        if self._worker is not None:
            self._worker.terminate()
            try:
                self._worker.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(self._worker.pid, signal.SIGKILL)
                self._worker.wait()
            self._worker = None


@pytest.mark.worker
def test_the_tutorial_survives_kill(tmp_path: Path) -> None:
    """Whoever does what the tutorial says sees what it shows."""
    reader = Reader(tmp_path)
    try:
        for block in blocks_of(DOCS / "tutorial.md"):
            reader.follow(block)
    finally:
        reader.stop()
    assert reader.ran.count(WORKER_COMMAND) >= 3
    survived = [said for said in reader.said if "succeeded, 2 attempts, 1 crashes" in said]
    assert len(survived) == 1, reader.said
    assert "columns loaded 1 times" in reader.said[-1]


def test_the_fixtures_of_celery_work(tmp_path: Path) -> None:
    """The tests that the page on testing shows pass, in the files that it names."""
    for block in blocks_of(DOCS / "how-to/test-durable-tasks.md"):
        if block.file is not None:
            (tmp_path / block.file).write_text(block.code)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "."],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert "2 passed" in done.stdout


# -- the links --------------------------------------------------------------------------------


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    titles = re.findall(r"^#{1,4} +(.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    """A link within the repository leads to a file that is there, and to a heading of it."""
    for link in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{name_of(page)}: {link}"
        if anchor:
            assert anchor in anchors_of(target), f"{name_of(page)}: {link}"


def test_every_page_is_on_a_path() -> None:
    """No page can be found by its address only."""
    linked = set()
    for page in PAGES:
        text = page.read_text()
        for entry in re.findall(r"```\{toctree\}(.*?)```", text, re.DOTALL):
            names = [line.strip() for line in entry.splitlines() if line.strip()]
            linked |= {(page.parent / f"{n}.md").resolve() for n in names if n[0] not in ":`"}
    missing = [name_of(p) for p in PAGES if DOCS in p.parents and p.resolve() not in linked]
    assert missing == ["docs/index.md"]


# -- what must be there -----------------------------------------------------------------------


def reference(page: str) -> str:
    return (DOCS / "reference" / f"{page}.md").read_text()


def test_every_setting_is_documented() -> None:
    """Each with its default, as the code has it."""
    text = reference("settings")
    for field in fields(Settings):
        assert re.search(rf"^\| `{field.name}` \|", text, re.MULTILINE), field.name
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", text, re.MULTILINE))
    documented = {name: ast.literal_eval(default) for name, default in rows.items()}
    assert documented == {field.name: field.default for field in fields(Settings)}


def test_every_error_is_documented() -> None:
    """And drawn at the place in the tree that it has."""
    text = reference("errors")
    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, Exception):
            assert f"`{name}`" in text, name
    tree = (errors.__doc__ or "").split("::")[1].split("Each takes")[0]
    drawn = [line.split("  ")[0].strip() for line in inspect.cleandoc(tree).splitlines()]
    for line in filter(None, (line.rsplit(" ", 1)[-1] for line in drawn)):
        assert line in text, line


def test_every_event_is_documented() -> None:
    """With every one of its fields."""
    text = reference("events")
    for event in events.Event.__args__:
        row = re.search(rf"^\| `{event.__name__}` \|.*$", text, re.MULTILINE)
        assert row, event.__name__
        for field in fields(event):
            assert f"`{field.name}`" in row[0], f"{event.__name__}.{field.name}"


def test_every_hook_is_documented() -> None:
    """With its arguments as the code has them; and there is no hook that nobody collects."""
    text = reference("hooks")
    hooks = {name: hook for name, hook in vars(hookspecs).items() if name.startswith("milepost_")}
    for name, hook in hooks.items():
        arguments = ", ".join(inspect.signature(hook).parameters)
        assert re.search(rf"^\| `{name}\({arguments}\)` \|", text, re.MULTILINE), name
        assert inspect.getdoc(hook), name
    kinds = {field.name for field in fields(Plugins)} - {"found"}
    assert set(hooks) == {f"milepost_{kind}" for kind in kinds}
    for word in (*PluginState, *(field.name for field in fields(Plugin))):
        assert f"`{word}`" in text, word


def test_the_registry_is_documented() -> None:
    """Every method, and every field of a job type."""
    text = reference("registry")
    for name, part in vars(TaskRegistry).items():
        if inspect.isfunction(part) and not name.startswith("_"):
            assert f"`{name}(" in text, name
    for field in fields(JobType):
        assert f"| `{field.name}` |" in text, field.name


def test_every_action_is_documented() -> None:
    """With what asks for it."""
    rows = re.findall(r"^\| (`.*`) \|", (DOCS / "how-to/permissions.md").read_text(), re.MULTILINE)
    assert {word for row in rows for word in re.findall(r"`(\w+)`", row)} >= set(Action)


@pytest.mark.parametrize("words", [JobStatus, Refusal, Signal], ids=lambda e: e.__name__)
def test_every_status_is_documented(words) -> None:
    """Also why a delivery is dropped, and what can be asked of a job."""
    text = reference("jobs")
    for word in words:
        assert f"`{word}`" in text, word


def test_every_field_of_a_job_is_documented() -> None:
    """Except the two that are for the machinery."""
    text = reference("jobs")
    for field in fields(Job):
        assert f"`{field.name}`" in text, field.name


def test_every_store_is_documented() -> None:
    """By each scheme its URL may have."""
    text = reference("stores")
    for scheme in SCHEMES:
        assert f"`{scheme}://" in text, scheme


def test_every_part_of_a_task_is_documented() -> None:
    """Each name that is not Celery's own, and each parameter of its methods."""
    text = reference("tasks")
    own = {**vars(CheckpointableTask.__mro__[1]), **vars(CheckpointableTask)}
    for name, part in own.items():
        if name.startswith(("_", "milepost")) or (hasattr(Task, name) and name != "map"):
            continue
        assert f"`{name}" in text or f"`self.{name}" in text, name
        if inspect.isfunction(part):
            for parameter in list(inspect.signature(part).parameters)[1:]:
                assert re.search(rf"\b{parameter}\b", text), f"{name}({parameter})"


def test_changelog_has_a_place_for_what_comes() -> None:
    """Whoever changes something for users says so in the same commit."""
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)
