"""``python -m benchmarks``: measure, print the table, write the page."""

import argparse
import platform
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import (
    commands,
    encryption,
    imports,
    limits,
    llm,
    loops,
    maps,
    resume,
    routing,
    steps,
    workers,
)
from benchmarks.figures import Figure, not_measured, table
from benchmarks.ground import Ground, NotHereError, stay_on_one_core

MARKER = "<!-- results -->"
PACKAGES = ("celery", "kombu", "redis", "hiredis", "orjson", "psycopg")

Subject = Callable[[Ground], Iterator[Figure]]
SUBJECTS: dict[str, Subject] = {
    "redis": steps.on_redis,
    "sqlite": steps.on_sqlite,
    "postgres": steps.on_postgres,
    "encryption": encryption.measure,
    "commands": commands.measure,
    "iterate": loops.by_time,
    "every": loops.by_count,
    "state": loops.state_of_many,
    "keys": resume.with_keys,
    "resume": resume.with_steps,
    "map": maps.measure,
    "llm": llm.measure,
    "limits": limits.measure,
    "routing": routing.measure,
    "solo": workers.solo,
    "prefork": workers.prefork,
    "import": imports.measure,
}


def main() -> None:
    options = read_options()
    core = stay_on_one_core()
    ground = Ground(options.rounds or (1 if options.quick else 7), options.quick)
    figures: list[Figure] = []
    try:
        for name in options.only or SUBJECTS:
            print(f"measuring: {name}", file=sys.stderr, flush=True)
            figures += measured(name, ground)
    finally:
        ground.close()
    report = f"{conditions(ground, core)}\n\n{table(figures)}\n"
    print(report)
    if options.write:
        write(options.write, report)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument("--only", action="append", choices=SUBJECTS, help="one subject; repeat it")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run at all?")
    parser.add_argument("--rounds", type=int, help="how often each case is run (default: 7)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help=f"replace what follows {MARKER}")
    return parser.parse_args()


def measured(name: str, ground: Ground) -> list[Figure]:
    """Return the figures of a subject, or the line that says why there are none."""
    try:
        return list(SUBJECTS[name](ground))
    except NotHereError as exc:
        return [not_measured(name, str(exc))]


def conditions(ground: Ground, core: int | None) -> str:
    """Say under what conditions the figures were measured."""
    where = "not pinned" if core is None else "client and servers on one core"
    installed = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, {where}; "
        f"median of {ground.rounds} rounds, cases in turn{' (quick)' if ground.quick else ''}.\n"
        f"{installed}."
    )


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def write(page: Path, report: str) -> None:
    """Replace what follows the marker line in *page*."""
    head, marker, _ = page.read_text("utf-8").partition(MARKER)
    if not marker:
        raise SystemExit(f"{page} has no line {MARKER}")
    page.write_text(f"{head}{MARKER}\n\n{report}", "utf-8")


if __name__ == "__main__":
    main()
