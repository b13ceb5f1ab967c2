"""Options that several commands share: which jobs are meant, and who asks."""

import getpass
import math
import os
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from milepost.model import JobStatus

F = TypeVar("F", bound=Callable[..., Any])

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Since(click.ParamType):  # type: ignore[type-arg]
    """A length of time back from now (``30m``, ``2h``, ``3d``), or a moment as ISO 8601 has it."""

    name = "since"

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        """Read one."""
        if isinstance(value, datetime):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", value)
        try:
            if found:
                return datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: float(found[1])})
            moment = datetime.fromisoformat(value)
            moment.timestamp()  # the first and last years have moments that no clock shows
            return moment
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r}: say 30m, 2h, 3d, or a moment such as 2026-11-03T08:00", param, ctx
            )


class Seconds(click.FloatRange):
    """A length of time in seconds, which a clock can wait for: at most a year."""

    name = "seconds"

    def __init__(self, least: float = 0.0) -> None:
        super().__init__(least, 366 * 86400.0)

    def convert(self, value: Any, param: Any, ctx: Any) -> float:
        """Read one; no bound keeps out what is no number."""
        seconds: float = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


def worker_timeout(body: F) -> F:
    """Add the option that says how long to wait for what the workers answer."""
    option = click.option(
        "--timeout",
        type=Seconds(),
        default=1.0,
        show_default=True,
        help="Seconds to wait for workers.",
    )
    return option(body)


def filters(body: F) -> F:
    """Add the options that say which jobs are meant."""
    for option in reversed(
        (
            click.option(
                "--status",
                multiple=True,
                type=click.Choice([str(status) for status in JobStatus]),
                help="In this status; may be repeated.",
            ),
            click.option("--type", "job_type", metavar="TYPE", help="Of this job type or task."),
            click.option("--owner", help="Of this owner."),
            click.option(
                "--since",
                type=Since(),
                metavar="WHEN",
                help="Created since then: 30m, 2h, 3d back, or a moment as ISO 8601 has it.",
            ),
        )
    ):
        body = option(body)
    return body


def whoami() -> str:
    """Return who sits at this command line: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):  # a user without an entry, as in containers
        user = f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"
