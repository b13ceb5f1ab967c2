"""A job in the words of a table: one cell for each thing people look for."""

from milepost.jobs.explain import moment, span
from milepost.jobs.report import JobReport
from milepost.model import Job

HEADERS = (
    *("id", "type", "status", "progress", "rate", "left", "attempts", "crashes"),
    *("age", "owner"),
)
NUMBERS = (4, 5, 6, 7, 8)
"""The columns of HEADERS that are aligned to the right."""


def row(job: Job, report: JobReport) -> list[str]:
    """Return a job's line in a list."""
    return [
        job.id,
        report.job_type,
        status(report),
        progress(report),
        rate(report),
        "" if report.seconds_left is None else span(report.seconds_left),
        str(report.attempts),
        str(report.crashes),
        span(max(job.read_at - job.created_at, 0.0)),
        report.owner or "",
    ]


def status(report: JobReport) -> str:
    """Return where a job stands, and what is odd about it."""
    marks = ["stalled"] if report.stalled else []
    if report.signal is not None:
        marks.append(f"{report.signal} asked")
    return f"{report.status} ({', '.join(marks)})" if marks else str(report.status)


def progress(report: JobReport) -> str:
    """Return how far a job is: in percent where the total is known, else how many items."""
    if report.fraction is not None:
        # Rounded down: what is not done must not look done.
        return f"{int(report.fraction * 100)} %"
    return f"{report.done:,}" if report.done else ""


def amount(report: JobReport) -> str:
    """Return how many items are done, of how many."""
    if report.total is None:
        return f"{report.done:,} items" if report.done else ""
    return f"{report.done:,} of {report.total:,}"


def rate(report: JobReport) -> str:
    """Return how fast a job is."""
    if report.rate is None:
        return ""
    return f"{report.rate:,.0f}/s" if report.rate >= 10 else f"{report.rate:.2g}/s"


def facts(job: Job, report: JobReport) -> list[tuple[str, str]]:
    """Return all there is to say of a job, as names with values."""
    return [
        ("id", job.id),
        ("type", report.job_type),
        ("task", "" if job.task == report.job_type else job.task),
        ("status", status(report)),
        ("reason", report.reason or ""),
        ("error", report.error or ""),
        ("progress", _joined(amount(report), progress(report), report.message)),
        ("rate", _joined(rate(report), _left(report))),
        ("attempts", _attempts(report)),
        ("worker", _worker(report)),
        ("created", moment(report.created_at)),
        ("due", "" if report.due_at is None else moment(report.due_at)),
        ("started", _started(report)),
        ("ended", _ended(report)),
        ("owner", report.owner or ""),
        ("key", report.idempotency_key or ""),
        ("metadata", str(dict(report.metadata)) if report.metadata else ""),
    ]


def timings(job: Job) -> dict[str, float | None]:
    """Return how long a job has waited for its first start, has been under way, and both."""
    until = job.ended_at or job.read_at
    started = job.started_at
    return {
        "waited": (started or until) - job.created_at,
        "under_way": None if started is None else until - started,
        "in_all": until - job.created_at,
    }


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _left(report: JobReport) -> str:
    return "" if report.seconds_left is None else f"about {span(report.seconds_left)} left"


def _attempts(report: JobReport) -> str:
    if not report.attempts:
        return ""
    return (
        f"{report.attempts} ({report.crashes} crashes, {report.interruptions} interruptions, "
        f"{report.retries} retries)"
    )


def _worker(report: JobReport) -> str:
    if report.worker is None:
        return ""
    beat = report.heartbeat_age
    heard = "" if beat is None else f"last heard of {span(beat)} ago"
    still = report.still_for
    return _joined(report.worker, heard, "" if still is None else f"still for {span(still)}")


def _started(report: JobReport) -> str:
    if report.started_at is None:
        return ""
    waited = max(report.started_at - (report.created_at or report.started_at), 0.0)
    return f"{moment(report.started_at)}, after waiting {span(waited)}"


def _ended(report: JobReport) -> str:
    if report.ended_at is None:
        return ""
    since = report.started_at or report.created_at or report.ended_at
    return f"{moment(report.ended_at)}, after {span(max(report.ended_at - since, 0.0))}"
