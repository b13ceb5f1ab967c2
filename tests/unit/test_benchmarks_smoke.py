"""The benchmarks run, and write their page: what they measure is for `nox -s bench`."""

import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parents[1]


def bench(*options: str) -> str:
    """Run the benchmarks in a process of their own, which they pin to one core."""
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *options],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_a_subject_is_measured_and_replaces_the_old_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Speed\n\nHow it is done.\n\n<!-- results -->\n\nold\n")

    printed = bench("--only", "iterate", "--only", "sqlite", "--write", str(page))

    head, _, results = page.read_text().partition("<!-- results -->\n\n")
    assert head == "# Speed\n\nHow it is done.\n\n"
    assert results.strip() == printed.strip()
    assert {line.split()[1] for line in results.splitlines() if line[:3] == "| P"} == {"P2", "P5"}


def test_a_service_that_is_not_installed_is_said_to_be_missing() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--only", "map"],
        env={"PYTHONPATH": str(TESTS), "PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "not measured: redis-server is not installed" in answer.stdout
