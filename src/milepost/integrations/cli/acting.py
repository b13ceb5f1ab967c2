"""The commands that change jobs: by id, one or several, or by filter.

One job that an act does not fit stops nobody else: what became of each is said, and the exit
code tells whether all went well.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import click

from milepost.budget import Budget
from milepost.errors import (
    ConfigurationError,
    InvalidTransitionError,
    JobNotFoundError,
    PermissionDeniedError,
)
from milepost.history import Act
from milepost.integrations.cli.codes import Exit
from milepost.integrations.cli.frame import Desk, code_of, command
from milepost.integrations.cli.options import filters
from milepost.model import Job, JobStatus, Signal

FITS: dict[Act, tuple[JobStatus, ...]] = {
    Act.PAUSE: (
        *(JobStatus.PENDING, JobStatus.SCHEDULED, JobStatus.RUNNING),
        JobStatus.INTERRUPTED,
    ),
    Act.RESUME: (JobStatus.PAUSED,),
    Act.CANCEL: tuple(status for status in JobStatus if not status.is_terminal),
    Act.WAKE: (JobStatus.SCHEDULED,),
    Act.RETRY: (JobStatus.FAILED,),
    Act.RESTART: (JobStatus.FAILED, JobStatus.CANCELLED),
}
"""The statuses a filter means where ``--status`` says nothing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an act on one job.

    Attributes:
        id: which job.
        done: whether it was done, or was so already.
        status: the job's status afterwards; None where it is not known.
        code: what the command would end with, were this the only job.
        said: the outcome in words.
    """

    id: str
    done: bool
    status: str | None
    said: str
    code: Exit = Exit.DONE


def act_command(act: Act, doc: str, *more: Callable[[Any], Any]) -> click.Command:
    """Return the command of an act.

    Args:
        act: what it does.
        doc: its help.
        more: options that only this act has.
    """

    def body(
        desk: Desk,
        ids: tuple[str, ...],
        status: tuple[str, ...],
        job_type: str | None,
        owner: str | None,
        since: datetime | None,
        everything: bool,
        yes: bool,
        by: str | None,
        **how: Any,
    ) -> Exit:
        wanted: dict[str, Any] = {"job_type": job_type, "owner": owner, "since": since}
        filtered = bool(status) or everything or any(v is not None for v in wanted.values())
        if filtered == bool(ids):
            raise click.UsageError(f"{act} which jobs? Give ids, or a filter such as --type TYPE")
        if filtered:
            wanted["status"] = status or FITS[act]
            ids = tuple(job.id for job in desk.jobs.find_all(limit=500, **wanted))
            if not yes:
                return ask_for_yes(desk, act, len(ids))
            if not ids:
                desk.screen.complain(f"There is no job to {act} that fits.")
        return report(desk, outcomes(desk, act, ids, by or "", _as_taken(how)))

    body.__doc__ = doc
    options = (
        click.argument("ids", nargs=-1, metavar="[ID]..."),
        filters,
        click.option("--all", "everything", is_flag=True, help="All that the act fits."),
        click.option("--yes", is_flag=True, help="Do it to all that the filter finds."),
        click.option(
            "--by", metavar="NAME", help="Who asks, for the history.  [default: the principal]"
        ),
        *more,
    )
    for option in reversed(options):
        body = option(body)
    return command(str(act))(body)


def _as_taken(how: dict[str, Any]) -> dict[str, Any]:
    """Return an act's own options as the manager takes them."""
    if "keep_steps" in how:
        return {"from_start": not how["keep_steps"]}
    if "budget_tokens" in how:
        tokens, money = how["budget_tokens"], how["budget_money"]
        return {} if (tokens, money) == (None, None) else {"budget": _budget(tokens, money)}
    return how


def _budget(tokens: int | None, money: str | None) -> Budget:
    try:
        return Budget(tokens, money)
    except ConfigurationError as exc:
        raise click.UsageError(str(exc)) from None


def outcomes(
    desk: Desk, act: Act, ids: Iterable[str], by: str, how: dict[str, Any]
) -> Iterator[Outcome]:
    """Do an act to one job after the other."""
    for job_id in ids:
        try:
            job = getattr(desk.jobs, act)(job_id, by=by, **how)
        except InvalidTransitionError as exc:
            yield Outcome(job_id, False, str(exc.status), str(exc), Exit.REFUSED)
        except (JobNotFoundError, PermissionDeniedError) as exc:
            yield Outcome(job_id, False, None, str(exc), code_of(exc))
        else:
            yield Outcome(job_id, True, str(job.status), SAYS[act](job))


def report(desk: Desk, done: Iterator[Outcome]) -> Exit:
    """Say what became of each job, while it happens; return the code for all of them."""
    seen = []
    try:
        for one in done:
            seen.append(one)
            if desk.screen.as_json:
                continue
            if one.done:
                desk.screen.line(f"{one.id}: {one.said}")
            else:
                desk.screen.complain(f"Error: {one.said}")
    finally:
        # Also where the store goes away in the middle: what was done is done.
        if desk.screen.as_json:
            desk.screen.json({"jobs": [as_json(one) for one in seen]})
    codes = {one.code for one in seen if not one.done}
    if not codes:
        return Exit.DONE
    return codes.pop() if len(codes) == 1 else Exit.REFUSED


def as_json(one: Outcome) -> dict[str, Any]:
    """Return what became of a job as JSON has it; the code is the whole command's."""
    return {name: value for name, value in asdict(one).items() if name != "code"}


def ask_for_yes(desk: Desk, act: Act, number: int) -> Exit:
    """Say how many jobs an act would hit, and do nothing."""
    if desk.screen.as_json:
        desk.screen.json({"jobs": [], "would_hit": number})
    desk.screen.complain(f"This would {act} {number} jobs. Add --yes to do it.")
    return Exit.USAGE


def _paused(job: Job) -> str:
    if job.status is JobStatus.PAUSED:
        return "paused"
    if job.signal is Signal.PAUSE:
        return "pauses at its next checkpoint"
    return f"left as it is: {job.status}, asked to {job.signal}"


def _resumed(job: Job) -> str:
    return "goes on" if job.status is JobStatus.PENDING else f"left as it is: {job.status}"


def _cancelled(job: Job) -> str:
    return "cancelled" if job.status.is_terminal else "ends at its next checkpoint"


def _woken(job: Job) -> str:
    return "starts now" if job.status is JobStatus.PENDING else f"left as it is: {job.status}"


SAYS: dict[Act, Callable[[Job], str]] = {
    Act.PAUSE: _paused,
    Act.RESUME: _resumed,
    Act.CANCEL: _cancelled,
    Act.WAKE: _woken,
    Act.RETRY: lambda _: "goes on from its checkpoint",
    Act.RESTART: lambda _: "begins again",
}
"""An act that was done, in words, by what the job has become."""

COMMANDS = (
    act_command(
        Act.PAUSE, "Let jobs stop at their next checkpoint and wait; waiting ones at once."
    ),
    act_command(
        Act.RESUME,
        "Let paused jobs go on.",
        click.option("--budget-tokens", type=int, help="The most tokens it may use in all."),
        click.option("--budget-money", metavar="AMOUNT", help="The most it may cost in all."),
    ),
    act_command(
        Act.CANCEL,
        "End jobs: running ones at their next checkpoint, waiting ones at once.",
        click.option("--force", is_flag=True, help="End running ones at once: kill the process."),
    ),
    act_command(
        Act.RESTART,
        "Let jobs that have ended, or are paused, begin again under their ids.",
        click.option("--keep-steps", is_flag=True, help="Keep the results of the body's steps."),
    ),
    act_command(Act.RETRY, "Let failed or cancelled jobs go on from their checkpoints."),
    act_command(Act.WAKE, "Start jobs now that wait for their moment: an ETA, a snooze, a retry."),
)
