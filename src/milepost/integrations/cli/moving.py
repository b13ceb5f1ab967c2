"""The commands of a move from another system: route, migrate, rollback, migration-status."""

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, TypeVar

import click

from milepost.errors import UnknownJobTypeError
from milepost.integrations.cli.codes import Exit
from milepost.integrations.cli.frame import Desk, command
from milepost.integrations.cli.options import Seconds, whoami
from milepost.jobs import Counts
from milepost.jobs.explain import moment
from milepost.routing.bundle import RoutingRuntime, routing_of
from milepost.routing.modes import Mode
from milepost.routing.rollback import TIMEOUT, Rollback
from milepost.routing.standing import MigrationStatus, TypeStatus

F = TypeVar("F", bound=Callable[..., Any])

HEADERS = ("type", "state", "jobs go to", "since", "by", "celery", "legacy", "shadows")


def who_and_why(body: F) -> F:
    """Add the options that a job type's history is written from."""
    for option in (
        click.option("--note", default="", help="Why, for the history."),
        click.option("--code-version", default="", help="Of the code in use, for the history."),
        click.option("--by", metavar="NAME", help="Who asks.  [default: user@host]"),
    ):
        body = option(body)
    return body


@command("route")
@click.argument("job_type", required=False)
@click.option("--mode", type=click.Choice([str(mode) for mode in Mode]), help="Share out so.")
@click.option("--share", type=float, help="Of a hundred jobs, with percentage or shadow.")
@click.option("--key", help="Where would a job with this key go?")
@who_and_why
def route(
    desk: Desk,
    job_type: str | None,
    mode: str | None,
    share: float | None,
    key: str | None,
    by: str | None,
    code_version: str,
    note: str,
) -> None:
    """Say where jobs go, or let those of a type go elsewhere from now on."""
    routing = routing_of(desk.app)
    if job_type is None:
        if mode is not None or key is not None:
            raise click.UsageError("of which job type?")
        say_routes(desk, routing, routing.migrations.job_types())
        return
    known(routing, job_type)
    if mode is not None:
        move(desk, routing, job_type, Mode(mode), share, by, code_version, note)
    elif share is not None:
        raise click.UsageError("--share goes with --mode percentage or --mode shadow")
    if key is not None:
        say_decision(desk, routing, job_type, key)
    else:
        say_routes(desk, routing, [job_type])


@command("migrate")
@click.argument("job_type")
@click.option("--share", type=float, help="Only so many of a hundred jobs.")
@click.option("--shadow", is_flag=True, help="Only for comparison, beside the legacy system.")
@who_and_why
def migrate(
    desk: Desk,
    job_type: str,
    share: float | None,
    shadow: bool,
    by: str | None,
    code_version: str,
    note: str,
) -> None:
    """Move a job type to Celery, at once or by a share of its jobs."""
    routing = routing_of(desk.app)
    known(routing, job_type)
    partly = Mode.PERCENTAGE if share is not None and share < 100 else Mode.CELERY
    mode = Mode.SHADOW if shadow else partly
    move(desk, routing, job_type, mode, share, by, code_version, note)
    say_routes(desk, routing, [job_type])


@command("rollback")
@click.argument("job_type", required=False)
@click.option("--all", "everything", is_flag=True, help="All types, and shut down the workers.")
@click.option("--yes", is_flag=True, help="Do it, with --all.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@click.option(
    "--timeout", type=Seconds(), default=TIMEOUT, show_default=True, help="Seconds to wait."
)
@click.option("--reason", default="", help="Why, for the history.")
@click.option("--by", metavar="NAME", help="Who asks.  [default: user@host]")
def rollback(
    desk: Desk,
    job_type: str | None,
    everything: bool,
    yes: bool,
    dry_run: bool,
    timeout: float,
    reason: str,
    by: str | None,
) -> Exit:
    """Return a job type to the legacy system, with its open jobs; go on with one begun."""
    routing = routing_of(desk.app)
    if everything == (job_type is not None):
        raise click.UsageError("roll back what? Name a job type, or say --all")
    how: dict[str, Any] = {"reason": reason, "by": by or whoami(), "timeout": timeout}
    how["principal"] = desk.principal
    if job_type is not None:
        known(routing, job_type)
        done = routing.rollbacks.rollback_job_type(job_type, dry_run=dry_run, **how)
    elif yes or dry_run:
        done = routing.rollbacks.emergency_rollback_all(dry_run=dry_run, **how)
    else:
        desk.screen.complain(
            "This would roll back every job type and shut down all workers. Add --yes to do it."
        )
        return Exit.USAGE
    say_rollback(desk, done)
    return Exit.REFUSED if done.left else Exit.DONE


@command("migration-status")
@click.argument("job_type", required=False)
def migration_status(desk: Desk, job_type: str | None) -> None:
    """Say how far the move is, and how jobs end on either side."""
    routing = routing_of(desk.app)
    if job_type is not None:
        known(routing, job_type)
    status = routing.migrations.get_migration_status(principal=desk.principal)
    plans = routing.rollbacks.unfinished().items()
    unfinished = {name: plan.begun or "not begun" for name, plan in plans}
    if job_type is not None:
        (one,) = [one for one in status.details if one.job_type == job_type]
        desk.screen.say(one.as_dict(), lambda: say_type(desk, one))
        return

    def people() -> None:
        say_all(desk, status)
        for name, step in unfinished.items():
            desk.screen.complain(f"A rollback of {name} was begun and is at: {step}.")

    desk.screen.say({**status.as_dict(), "unfinished_rollbacks": unfinished}, people)


def known(routing: RoutingRuntime, job_type: str) -> None:
    """Refuse a job type that nobody has heard of.

    Raises:
        UnknownJobTypeError: and the names that are near.
    """
    names = routing.migrations.job_types()
    if job_type not in names:
        raise UnknownJobTypeError(job_type, *get_close_matches(job_type, names))


def move(
    desk: Desk,
    routing: RoutingRuntime,
    job_type: str,
    mode: Mode,
    share: float | None,
    by: str | None,
    version: str,
    note: str,
) -> None:
    """Share a job type out in another way."""
    if mode is Mode.PERCENTAGE and share is None:
        raise click.UsageError("--mode percentage needs a --share, such as --share 10")
    routing.migrations.move(
        job_type,
        mode,
        share=100.0 if share is None else share,
        by=by or whoami(),
        version=version,
        note=note,
        principal=desk.principal,
    )


def say_routes(desk: Desk, routing: RoutingRuntime, job_types: Any) -> None:
    """Say where jobs of these types go."""
    found = [(name, *routing.router.mode(name)) for name in job_types]

    def people() -> None:
        if not found:
            desk.screen.complain("There are no job types.")
        for name, mode, share in found:
            desk.screen.line(f"{name}: {words(mode, share)}")

    document = [{"job_type": name, "mode": str(mode), "share": s} for name, mode, s in found]
    desk.screen.say({"routes": document}, people)


def say_decision(desk: Desk, routing: RoutingRuntime, job_type: str, key: str) -> None:
    """Say where a job with a key would go."""
    decision = routing.router.decide(job_type, key)
    document = {**decision.as_metadata(), "key": key, "engine": str(decision.engine)}
    desk.screen.say(
        document, lambda: desk.screen.line(f"{job_type}, key {key!r}: {decision.engine}")
    )


def say_rollback(desk: Desk, done: Rollback) -> None:
    """Say what a rollback has done, or would do."""

    def people() -> None:
        if done.dry_run:
            desk.screen.line("Nothing is changed. This would be done:")
        for step in done.steps:
            desk.screen.line(f"{step.name}: {step.outcome}")
        if done.left:
            desk.screen.complain(
                f"{len(done.left)} jobs are still Celery's; roll back again to take them up too."
            )

    desk.screen.say(done.as_dict(), people)


def say_all(desk: Desk, status: MigrationStatus) -> None:
    """Say how far the whole move is."""
    desk.screen.table(HEADERS, [row(one) for one in status.details])
    desk.screen.line(f"{status.migrated} of {status.total} job types have moved.")


def say_type(desk: Desk, one: TypeStatus) -> None:
    """Say all there is to say of one job type."""
    cells = dict(zip(HEADERS, row(one), strict=True))
    desk.screen.facts([*cells.items(), ("version", one.version), ("note", one.note)])
    for example in one.parity.examples:
        desk.screen.line(f"differs: job {example['job']}: {example['difference']}")
    for move in one.history:
        desk.screen.line(
            f"{moment(move.at)}  {move.state} {move.share:g} %  {move.by}  {move.note}"
        )


def row(one: TypeStatus) -> list[str]:
    """Return a job type's line in a table."""
    parity, rate = one.parity, one.parity.rate
    return [
        one.job_type,
        str(one.state),
        words(one.mode, one.share),
        "" if one.since is None else moment(one.since),
        one.by,
        counted(one.sides.get("celery")),
        counted(one.sides.get("legacy")),
        "" if rate is None else f"{rate:.1%} of {parity.same + parity.different} the same",
    ]


def words(mode: Mode, share: float) -> str:
    """Return how jobs are shared out in words."""
    if mode is Mode.PERCENTAGE:
        return f"celery, {share:g} % of them"
    return f"legacy, {share:g} % in celery too" if mode is Mode.SHADOW else str(mode)


def counted(counts: Counts | None) -> str:
    """Return how jobs stand on one side."""
    if counts is None:
        return "not counted"
    rate = "" if counts.error_rate is None else f", {counts.error_rate:.1%} failed"
    return f"{counts.ended:,} ended{rate}, {counts.open:,} open"


COMMANDS = (route, migrate, rollback, migration_status)
