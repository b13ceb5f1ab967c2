"""The commands that show what an app is made of: its job types and its plugins."""

from dataclasses import asdict
from typing import Any

from milepost.integrations.cli.frame import Desk, command
from milepost.jobtype import JobType
from milepost.plugins import Plugin
from milepost.registry import registry_of
from milepost.runtime import runtime_of


@command("types")
def types(desk: Desk) -> None:
    """List the job types, with the task behind each."""
    found = registry_of(desk.app).get_all_job_types()

    def people() -> None:
        if not found:
            desk.screen.complain("No job types found: are the modules of the tasks imported?")
            return
        headers = ("type", "task", "queue", "input", "permissions", "version", "owner", "")
        desk.screen.table(headers, [_row(one) for one in found], (5,))

    desk.screen.say({"types": [_document(one) for one in found]}, people)


@command("plugins")
def plugins(desk: Desk) -> None:
    """List the plugins that were found, and what became of each."""
    found = runtime_of(desk.app).plugins.found

    def people() -> None:
        if not found:
            desk.screen.complain("No plugins found.")
            return
        rows = [
            [one.name, one.distribution, one.version, str(one.state), _outcome(one)]
            for one in found
        ]
        desk.screen.table(("plugin", "distribution", "version", "state", "brings"), rows)

    desk.screen.say({"plugins": [asdict(one) for one in found]}, people)


def _row(one: JobType) -> list[str]:
    task = "" if one.task == one.name else one.task
    return [
        *(one.name, task, one.queue or "", _model(one) or "", ", ".join(one.permissions)),
        *(str(one.checkpoint_version), one.owner, one.description),
    ]


def _document(one: JobType) -> dict[str, Any]:
    return {**asdict(one), "input_model": _model(one)}


def _model(one: JobType) -> str | None:
    return None if one.input_model is None else str(one.input_model.__name__)


def _outcome(one: Plugin) -> str:
    return one.problem or ", ".join(one.brings)
