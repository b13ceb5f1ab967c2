"""The frame that every command stands in: its app, its output, its errors as exit codes."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any

import click
from celery.bin.base import CeleryCommand, handle_preload_options
from kombu.exceptions import OperationalError

from milepost.errors import (
    BrokerUnavailableError,
    InvalidTransitionError,
    JobNotFoundError,
    MilepostError,
    PermissionDeniedError,
    StoreUnavailableError,
)
from milepost.integrations.cli.codes import Exit
from milepost.integrations.cli.options import whoami
from milepost.integrations.cli.screen import Screen
from milepost.jobs import CeleryJobManager
from milepost.runtime import ATTRIBUTE, runtime_of
from milepost.security.permissions import DECISIONS

NO_APP = (
    "no Celery app: say where it is, and from the project's folder, "
    "as in `celery -A proj jobs list`"
)
NO_MILEPOST = (
    "the Celery app {name!r} has no milepost: "
    "write `milepost = Milepost(app)` next to where the app is made"
)

logger = logging.getLogger("milepost")


@dataclass(frozen=True, slots=True)
class Desk:
    """What a command works with.

    Attributes:
        app: the Celery app.
        jobs: its jobs, for whoever sits here.
        screen: where to write.
        principal: who sits here.
    """

    app: Any
    jobs: CeleryJobManager
    screen: Screen
    principal: str


def command(name: str, *, needs_milepost: bool = True) -> Callable[[Any], click.Command]:
    """Make a function ``body(desk, …)`` a command of Celery's; it may return an exit code.

    Args:
        name: of the command.
        needs_milepost: whether it can do nothing for an app without one.
    """

    def make(body: Callable[..., Exit | None]) -> click.Command:
        @click.option("--json", "as_json", is_flag=True, help="Write JSON.")
        @click.option("--no-color", is_flag=True, help="Write without colours.")
        @click.option(
            "--principal",
            envvar="MILEPOST_PRINCIPAL",
            metavar="NAME",
            help="Who asks, for the policy.  [default: user@host]",
        )
        @click.pass_context
        @handle_preload_options
        @wraps(body)
        def run(
            ctx: click.Context,
            *,
            as_json: bool,
            no_color: bool,
            principal: str | None,
            **given: Any,
        ) -> None:
            app = ctx.obj.app
            screen = Screen(as_json, no_color or bool(ctx.obj.no_color))
            with errors_as_codes(ctx, screen), warnings_on_one_line(screen):
                check_app(ctx, app, needs_milepost)
                import_tasks(app)
                who = principal or whoami()
                code = body(Desk(app, CeleryJobManager(app, who), screen, who), **given)
                ctx.exit(code or Exit.DONE)

        return click.command(name, cls=CeleryCommand)(run)

    return make


def check_app(ctx: click.Context, app: Any, needs_milepost: bool) -> None:
    """Refuse to work without an app, or for one that has no milepost.

    Raises:
        UsageError: and what to do.
    """
    if getattr(app, ATTRIBUTE, None) is not None:
        if needs_milepost:
            runtime_of(app)
        return
    if ctx.find_root().params.get("app") is None and app.main in (None, "default"):
        raise click.UsageError(NO_APP)
    if needs_milepost:
        raise click.UsageError(NO_MILEPOST.format(name=app.main))


def import_tasks(app: Any) -> None:
    """Import the project's modules: a task may bring a codec, a queue or an option of its own.

    Raises:
        UsageError: one of them cannot be imported.
    """
    try:
        app.loader.import_default_modules()
    except Exception as exc:  # the project's own code: whatever it is, say it in one line
        raise click.UsageError(f"the app's modules cannot be imported: {exc!r}") from exc


@contextmanager
def errors_as_codes(ctx: click.Context, screen: Screen) -> Iterator[None]:
    """End the command with one line and a code where an error is an answer, not a bug."""
    try:
        yield
    except click.UsageError as exc:
        if exc.ctx is not None:  # click's own, which shows the usage with it
            raise
        said, code = f"{exc.message}", Exit.USAGE
    except BrokenPipeError:  # whoever read the output has seen enough; click knows what to do
        raise
    except (MilepostError, OperationalError, OSError) as exc:
        said, code = f"{exc}" or repr(exc), code_of(exc)
    except KeyboardInterrupt:
        said, code = "", Exit.INTERRUPTED
    else:
        return
    if said:
        screen.complain(f"Error: {said}")
    ctx.exit(code)


def code_of(exc: Exception) -> Exit:
    """Return the exit code of an error."""
    if isinstance(exc, InvalidTransitionError):
        return Exit.REFUSED
    if isinstance(exc, JobNotFoundError):
        return Exit.NOT_FOUND
    if isinstance(exc, PermissionDeniedError):
        return Exit.DENIED
    if isinstance(exc, StoreUnavailableError | BrokerUnavailableError | OperationalError | OSError):
        return Exit.UNAVAILABLE
    return Exit.USAGE


@contextmanager
def warnings_on_one_line(screen: Screen) -> Iterator[None]:
    """Show what milepost logs as lines on standard error, without tracebacks."""
    handler = _OneLine(screen)
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _OneLine(logging.Handler):
    def __init__(self, screen: Screen) -> None:
        super().__init__(logging.WARNING)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == DECISIONS:  # a refusal ends the command with the same words
            return
        problem = record.exc_info[1] if record.exc_info else None
        tail = f": {problem}" if problem is not None else ""
        self._screen.complain(f"Warning: {record.getMessage()}{tail}")
