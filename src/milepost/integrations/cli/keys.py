"""The commands for keys: ``celery -A proj jobs keys generate | list | rotate | verify``."""

import json
from collections import Counter
from datetime import UTC, datetime

import click

from milepost.codecs.encrypted import check_of
from milepost.codecs.keyring import add_to_file, new_entry
from milepost.errors import ConfigurationError
from milepost.integrations.cli.codes import Exit
from milepost.integrations.cli.frame import Desk, command
from milepost.integrations.cli.options import whoami
from milepost.jobs import rotation
from milepost.runtime import cipher_of, runtime_of


@click.group("keys", help="Make keys, see them, put stored data under current ones, check it.")
def keys() -> None:
    """Hold the commands together; each does its own work."""


@command("generate", needs_milepost=False)
@click.option("--id", "key_id", help="Its name. Default: today's date and time.")
@click.option("--tenant", default="", help="Whose data it is for.")
@click.option("--to", "path", type=click.Path(), help="Add it to this key file, made if needed.")
@click.option("--current", is_flag=True, help="Encrypt with it from now on.")
def generate(desk: Desk, key_id: str | None, tenant: str, path: str | None, current: bool) -> None:
    """Make a new key, and print it or add it to a key file."""
    entry = new_entry(key_id or f"{datetime.now(UTC):%Y%m%d-%H%M%S}", tenant, current=current)
    if path is None:
        desk.screen.say(entry, lambda: desk.screen.line(json.dumps(entry)))
        return
    add_to_file(path, entry)
    shown = {name: value for name, value in entry.items() if name != "secret"}
    desk.screen.say(
        {**shown, "file": path}, lambda: desk.screen.line(f"key {entry['id']} is in {path}")
    )


@command("list")
def list_keys(desk: Desk) -> None:
    """List the keys that this process has, without their secrets."""
    found = [
        {
            "id": key.id,
            "tenant": key.tenant,
            "use": "current" if key.is_current else "read",
            "check": check_of(key).hex(),
        }
        for key in cipher_of(desk.app).keys.all()
    ]
    rows = [list(key.values()) for key in found]
    headers = ("id", "tenant", "use", "check")
    desk.screen.say({"keys": found}, lambda: desk.screen.table(headers, rows))


@command("rotate")
@click.option("--here", is_flag=True, help="Do it in this process, not as a job.")
def rotate(desk: Desk, here: bool) -> Exit | None:
    """Encrypt anew what is stored under keys that are not current, while tasks run."""
    if here:
        return _rotate_here(desk)
    if rotation.NAME not in desk.app.tasks:
        raise ConfigurationError("the app has no keys, so there is nothing to rotate")
    job = desk.jobs.create(rotation.NAME, metadata={"by": whoami()})
    desk.screen.say(
        {"job": job.id}, lambda: desk.screen.line(f"job {job.id} rotates: jobs watch {job.id}")
    )
    return None


def _rotate_here(desk: Desk) -> Exit | None:
    runtime, cipher = runtime_of(desk.app), cipher_of(desk.app)
    exchanged = unreadable = 0
    for job, _ in rotation.surveys(runtime, cipher):
        one, other = rotation.renew(runtime, cipher, job)
        exchanged, unreadable = exchanged + one, unreadable + other
    desk.screen.say(
        {"exchanged": exchanged, "unreadable": unreadable},
        lambda: desk.screen.line(f"{exchanged:,} values encrypted anew, {unreadable:,} unreadable"),
    )
    return Exit.ERRORS if unreadable else None


@command("verify")
def verify(desk: Desk) -> Exit | None:
    """Read everything that is encrypted, and say under which keys it is; exit 9 if any is lost.

    Once it shows nothing under an old key, no job's record needs that key. It does not see
    what waits in the broker, and results in Celery's backend.
    """
    runtime, cipher = runtime_of(desk.app), cipher_of(desk.app)
    by_key: Counter[str] = Counter({key.id: 0 for key in cipher.keys.all()})
    problems: list[list[str]] = []
    stale = 0
    for job, found in rotation.surveys(runtime, cipher):
        by_key.update(found.by_key)
        stale += len(found.swaps)
        problems += [[job.id, why, f"{n:,}"] for why, n in found.unreadable.items()]

    def people() -> None:
        desk.screen.table(("key", "values"), [[k, f"{n:,}"] for k, n in by_key.items()], (1,))
        desk.screen.line(f"{stale:,} values are for `keys rotate`")
        if problems:
            desk.screen.line()
            desk.screen.table(("job", "unreadable", "values"), problems, (2,))

    unreadable = [{"job": job, "why": why, "values": int(n)} for job, why, n in problems]
    desk.screen.say({"keys": by_key, "stale": stale, "unreadable": unreadable}, people)
    return Exit.ERRORS if problems else None


for _command in (generate, list_keys, rotate, verify):
    keys.add_command(_command)
