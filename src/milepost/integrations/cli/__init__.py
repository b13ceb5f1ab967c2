"""The command line: ``celery -A proj jobs …``, found by Celery as a plug-in."""

import click

from milepost.integrations.cli import acting, looking, moving, parts, watching
from milepost.integrations.cli.codes import EXPLAINED
from milepost.integrations.cli.doctor.command import doctor as examine
from milepost.integrations.cli.keys import keys

CODES = "\n".join(f"  {int(code):>3}  {meaning}" for code, meaning in EXPLAINED.items())


@click.group(
    "jobs",
    help="Look after durable jobs: find, watch, steer and explain them.",
    epilog=f"\b\nExit codes:\n{CODES}",
)
def jobs() -> None:
    """Hold the commands together; each does its own work."""


for _command in (
    *(looking.list_jobs, looking.show, watching.watch),
    *acting.COMMANDS,
    *moving.COMMANDS,
    *(looking.explain, looking.checkpoint, looking.stats, parts.types, parts.plugins),
    *(examine, keys),
):
    jobs.add_command(_command)
