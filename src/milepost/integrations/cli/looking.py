"""The commands that look and change nothing: list, show, explain, checkpoint, stats."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from milepost.engine.plan import Checkpoint
from milepost.integrations.cli import words
from milepost.integrations.cli.bounded import together
from milepost.integrations.cli.frame import Desk, command
from milepost.integrations.cli.options import filters, worker_timeout
from milepost.jobs.explain import Explanation, moment
from milepost.model import JobStatus
from milepost.query import LARGEST

SHORT = 100
"""Characters of a value in what people read; JSON has all of it."""
PATIENCE = 5.0
"""Seconds beyond the workers' timeout after which the broker counts as silent."""
ROWS = 50
"""Lines of one part of a checkpoint in what people read."""


@command("list")
@filters
@click.option(
    "--limit", type=click.IntRange(1, LARGEST), default=50, show_default=True, help="At most."
)
@click.option("--cursor", help="Where the page before has ended.")
def list_jobs(
    desk: Desk,
    status: tuple[str, ...],
    job_type: str | None,
    owner: str | None,
    since: datetime | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List jobs, newest first."""
    page = desk.jobs.find(
        status=status, job_type=job_type, owner=owner, since=since, limit=limit, cursor=cursor
    )
    found = [(job, desk.jobs.report(job)) for job in page.jobs]

    def people() -> None:
        if not found:
            desk.screen.complain("No jobs found.")
            return
        desk.screen.table(words.HEADERS, [words.row(*one) for one in found], words.NUMBERS)
        if page.cursor is not None:
            # Beside the table, so that a script that reads the lines meets jobs only.
            desk.screen.complain(f"There are more: --cursor {page.cursor}")

    document = {"jobs": [report.as_dict() for _, report in found], "cursor": page.cursor}
    desk.screen.say(document, people)


@command("show")
@click.argument("job_id", metavar="ID")
def show(desk: Desk, job_id: str) -> None:
    """Show all that is on record of a job, its history included."""
    job = desk.jobs.get(job_id)
    report = desk.jobs.report(job)

    def people() -> None:
        desk.screen.facts(words.facts(job, report))
        if job.history:
            desk.screen.line()
            rows = [[moment(e.at), str(e.act), e.by, e.note] for e in job.history]
            desk.screen.table(("at", "act", "by", "note"), rows)

    document = {
        **report.as_dict(),
        "timings": words.timings(job),
        "history": [asdict(entry) for entry in job.history],
    }
    desk.screen.say(document, people)


@command("explain")
@click.argument("job_id", metavar="ID")
@worker_timeout
@click.option("--no-workers", is_flag=True, help="Do not ask the workers.")
def explain(desk: Desk, job_id: str, timeout: float, no_workers: bool) -> None:
    """Say why a job is where it is: what it waits for, and who could run it."""
    desk.jobs.get(job_id)  # that there is no such job is said at once
    answer = None if no_workers else _with_workers(desk, job_id, timeout)
    if answer is None:
        answer = desk.jobs.explain(job_id, ask_workers=False)
    explanation = answer

    def people() -> None:
        desk.screen.line(f"{explanation.job_id} is {explanation.status}.")
        desk.screen.line(explanation.summary)
        for fact in explanation.facts:
            desk.screen.line(f"- {fact}")

    desk.screen.say(asdict(explanation), people)


def _with_workers(desk: Desk, job_id: str, timeout: float) -> Explanation | None:
    """Explain with what the workers say, or return None where the broker does not answer."""
    got, gaps = together(
        {"answer": lambda: desk.jobs.explain(job_id, timeout=timeout)}, 2 * timeout + PATIENCE
    )
    if gaps:
        desk.screen.complain(f"Warning: the workers could not be asked: {gaps['answer']}")
    return got.get("answer")


@command("checkpoint")
@click.argument("job_id", metavar="ID")
def checkpoint(desk: Desk, job_id: str) -> None:
    """Show what a job has recorded: steps, loops, maps, calls, spend, state, data."""
    saved = desk.jobs.checkpoint(job_id)

    def people() -> None:
        lines = [
            *(("step", name, shortened(value)) for name, value in saved["steps"].items()),
            *(("loop", name, position(value)) for name, value in saved["loops"].items()),
            *(
                ("map", name, f"{len(results):,} results")
                for name, results in saved["maps"].items()
            ),
            *_books(saved),
            *(("state", name, shortened(value)) for name, value in _parts_of(saved["state"])),
            *(("data", name, shortened(value)) for name, value in _parts_of(saved["data"])),
        ]
        if not lines:
            desk.screen.line("It has recorded nothing yet.")
            return
        desk.screen.table(("kind", "name", "value"), lines[:ROWS])
        if len(lines) > ROWS:
            desk.screen.complain(f"{len(lines) - ROWS:,} more: --json has all")

    desk.screen.say(saved, people)


def _books(saved: Checkpoint) -> Iterator[tuple[str, str, str]]:
    """Yield what a job has asked of models, and what that has cost."""
    for part in ("spend", "budget"):
        if part in saved:
            yield from ((part, name, str(value)) for name, value in saved[part].items())
    for name, left in saved.get("sent", {}).items():
        yield "sent", name, "no answer yet" if left["sent"] else "put off"
    if "calls" in saved:
        yield "calls", "", f"{len(saved['calls']):,} answers"


@command("stats")
def stats(desk: Desk) -> None:
    """Count jobs by type and status."""
    counts: dict[str, Counter[str]] = {}
    total: Counter[str] = Counter()
    for (job_type, status), number in desk.jobs.stats().items():
        counts.setdefault(job_type, Counter())[str(status)] += number
        total[str(status)] += number

    def people() -> None:
        statuses = [str(status) for status in JobStatus]
        rows = [_counted(name, counts[name], statuses) for name in sorted(counts)]
        if len(rows) > 1:
            rows.append(_counted("all", total, statuses))
        desk.screen.table(("type", *statuses), rows, range(1, len(statuses) + 1))

    desk.screen.say({"types": counts, "all": total}, people)


def shortened(value: Any) -> str:
    """Return a value as people read it, not longer than one line."""
    text = repr(value)
    return text if len(text) <= SHORT else f"{text[: SHORT - 1]}…"


def position(value: Any) -> str:
    """Return how far a loop is in words."""
    if isinstance(value, dict) and "finished" in value:
        return f"finished: {value['finished']!r}"
    if isinstance(value, dict) and "keys" in value:
        return f"{len(value['keys']):,} keys done"
    if isinstance(value, list | tuple) and len(value) == 2:
        return f"{value[0]:,} done, cursor {shortened(value[1])}"
    return f"{value:,} done" if isinstance(value, int) else shortened(value)


def _parts_of(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [(str(name), part) for name, part in value.items()]
    return [] if value is None else [("", value)]


def _counted(name: str, counts: Counter[str], statuses: list[str]) -> list[str]:
    return [name, *(f"{counts[status]:,}" if counts[status] else "" for status in statuses)]
