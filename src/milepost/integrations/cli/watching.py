"""Watching one job until it ends: a live bar on a terminal, lines elsewhere."""

import time
from collections.abc import Iterator
from typing import Any

import click

from milepost import extras
from milepost.history import Entry
from milepost.integrations.cli import words
from milepost.integrations.cli.codes import OF_END, Exit
from milepost.integrations.cli.frame import Desk, command
from milepost.integrations.cli.options import Seconds
from milepost.integrations.cli.screen import clean
from milepost.jobs.explain import span
from milepost.model import Job


@command("watch")
@click.argument("job_id", metavar="ID")
@click.option("--timeout", type=Seconds(), help="Seconds to watch at most.")
@click.option(
    "--interval",
    type=Seconds(0.05),
    default=0.2,
    show_default=True,
    help="Seconds between two looks.",
)
def watch(desk: Desk, job_id: str, timeout: float | None, interval: float) -> Exit:
    """Watch a job until it ends; the exit code says how. With --json, a line for each change."""
    show = _live if desk.screen.is_rich else _lines
    job = show(desk, looks(desk, job_id, interval, timeout))
    if not job.status.is_terminal:
        desk.screen.complain(f"job {job.id!r} is still {job.status} after {timeout} s")
        return Exit.TIME_IS_UP
    return OF_END[job.status]


def looks(desk: Desk, job_id: str, interval: float, timeout: float | None) -> Iterator[Job]:
    """Yield a job's record again and again, until it has ended or the time is up."""
    give_up_at = None if timeout is None else time.monotonic() + timeout
    while True:
        job = desk.jobs.get(job_id)
        yield job
        left = interval if give_up_at is None else give_up_at - time.monotonic()
        if job.status.is_terminal or left <= 0:
            return
        time.sleep(min(interval, left))


def _lines(desk: Desk, looked: Iterator[Job]) -> Job:
    """Write a line whenever something has changed."""
    seen: Any = None
    for job in looked:
        news = (job.status, job.reason, job.progress, job.signal, job.fence, job.history)
        if news != seen:
            seen = news
            if desk.screen.as_json:
                desk.screen.json(desk.jobs.report(job).as_dict(), indent=None)
            else:
                desk.screen.line(sentence(desk, job))
    return job


def _live(desk: Desk, looked: Iterator[Job]) -> Job:
    """Keep a bar up to date; what becomes history is written above it."""
    rich = extras.load("rich.progress", "rich")
    columns = [
        *(_column(rich, "type"), _column(rich, "status"), rich.BarColumn(bar_width=None)),
        *(_column(rich, name) for name in ("progress", "amount", "rate", "left")),
    ]
    with rich.Progress(*columns, console=desk.screen.console(), refresh_per_second=8) as bar:
        task, told = None, set[Entry]()
        for job in looked:
            cells = _cells(desk, job)
            total, done = job.progress.total, job.progress.done
            if task is None:
                task = bar.add_task("", total=total, completed=done, **cells)
                told.update(job.history)
            bar.update(task, total=total, completed=done, **cells)
            for entry in job.history:
                if entry not in told:
                    words_of = (f"{entry.act}:", entry.by, entry.note)
                    bar.console.print(clean(" ".join(filter(None, words_of))))
            told.update(job.history)
    desk.screen.line(sentence(desk, job))
    return job


def _column(rich: Any, name: str) -> Any:
    return rich.TextColumn(f"{{task.fields[{name}]}}", markup=False)


def _cells(desk: Desk, job: Job) -> dict[str, str]:
    report = desk.jobs.report(job)
    left = report.seconds_left
    cells = {
        "type": report.job_type,
        "status": words.status(report),
        "progress": words.progress(report) if report.fraction is not None else "",
        "amount": words.amount(report),
        "rate": words.rate(report),
        "left": "" if left is None else f"{span(left)} left",
    }
    return {name: clean(text) for name, text in cells.items()}


def sentence(desk: Desk, job: Job) -> str:
    """Return one line that says where a job stands."""
    report = desk.jobs.report(job)
    percent = words.progress(report) if report.fraction is not None else ""
    parts = [words.status(report), words.amount(report), percent]
    if job.status.is_terminal:
        parts.append(f"after {span(max((job.ended_at or 0.0) - job.created_at, 0.0))}")
    else:
        left = report.seconds_left
        parts += [words.rate(report), "" if left is None else f"{span(left)} left"]
    parts += [report.message, report.error or report.reason or ""]
    return ", ".join(part for part in parts if part)
