"""Runs ``celery … jobs …`` on an app of the test's own, in this process."""

import json
from dataclasses import dataclass
from typing import Any

from celery.bin.base import CLIContext
from click.testing import CliRunner

from milepost.integrations.cli import jobs


@dataclass
class Ran:
    """How a command has ended, and what it has written."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def run(app: Any, *words: str, no_color: bool = False) -> Ran:
    """Run a command of the group, as Celery does for an app that ``-A`` has found."""
    context = CLIContext(app=app, no_color=no_color, workdir=None)
    done = CliRunner().invoke(jobs, words, obj=context)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)
