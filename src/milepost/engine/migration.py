"""Checkpoints across code changes: read what is stored, migrate it, or park the job."""

import re
from collections.abc import Mapping
from typing import Any

from milepost.codec import Codec
from milepost.engine.journal import Journal
from milepost.engine.plan import Checkpoint, Plan
from milepost.engine.scope import (
    ANSWER,
    BOOKS,
    BUDGET,
    CURSOR,
    END,
    EXPLICIT,
    KEYS,
    META,
    RESULT,
    SENT,
    SPEND,
    STATE,
    STEP,
)
from milepost.engine.stored import misfit


def open_checkpoint(journal: Journal, plan: Plan) -> None:
    """Make what is stored fit the code that is about to run.

    Raises:
        Suspend: it is of a version this code does not know and cannot migrate.
    """
    written_by = journal.stored.take(META)
    mark = f"{plan.version}:{plan.fingerprint}".encode()
    if written_by != mark:
        journal.set_mark(mark)
    if written_by is None:
        return
    version, _, fingerprint = written_by.decode().partition(":")
    journal.stored.code_changed = fingerprint != plan.fingerprint or int(version) != plan.version
    if int(version) != plan.version:
        _migrate(journal, plan, int(version))


def _migrate(journal: Journal, plan: Plan, version: int) -> None:
    if plan.migrate is None or version > plan.version:
        raise misfit(
            f"the checkpoint is of version {version}, the code knows {plan.version} and has no "
            "migrate_checkpoint() for it"
        )
    stored = journal.stored.fields
    try:
        migrated = plan.migrate(as_people_see_it(journal.codec, stored), version)
        fields = {**books_in(stored), **as_fields(journal.codec, migrated)}
    except Exception as exc:  # the user's own code: whatever it is, nothing may be lost by it
        raise misfit(f"migrate_checkpoint() from version {version} failed: {exc!r}") from exc
    journal.adopt(fields)


def as_people_see_it(codec: Codec, stored: Mapping[str, bytes]) -> Checkpoint:
    """Return stored fields as the dictionary that ``migrate_checkpoint`` gets.

    ``steps`` holds results by name; ``loops`` the position, ``[done, cursor]``,
    ``{"keys": […]}`` or ``{"finished": n}`` by name; ``maps`` results by name and key;
    ``state`` the dumped state; ``data`` what ``save_checkpoint`` was given. A job
    that asks models has ``calls`` too, their answers by name, ``sent`` for those without one,
    ``spend`` for what all have cost, and ``budget`` where somebody has granted one.
    """
    seen: Checkpoint = {"steps": {}, "loops": {}, "maps": {}, "state": None, "data": None}
    for field, data in sorted(stored.items(), key=_in_order):
        kind, (path, _, part) = field[0], field[1:].partition(":")
        if kind == META:
            continue
        value = codec.decode(data)
        if kind == STEP:
            seen["steps"][path] = value
        elif kind == CURSOR:
            seen["loops"][path] = value
        elif kind == END:
            seen["loops"][path] = {"finished": value}
        elif kind == KEYS:
            seen["loops"].setdefault(path, {"keys": []})["keys"] += value
        elif kind == RESULT:
            seen["maps"].setdefault(path, {})[part] = value
        elif kind in (ANSWER, SENT):
            seen.setdefault("calls" if kind == ANSWER else "sent", {})[field[1:]] = value
        else:
            seen[WHOLE[kind]] = value
    return seen


def _in_order(item: tuple[str, bytes]) -> list[tuple[int, str]]:
    """Return a sort key by which ``load#2`` comes before ``load#10``: a store has no order."""
    parts = re.split("([0-9]+)", item[0])  # every second one is a number: first by its length
    return [(len(part) if place % 2 else 0, part) for place, part in enumerate(parts)]


WHOLE = {STATE: "state", EXPLICIT: "data", SPEND: "spend", BUDGET: "budget"}
"""The kinds of which a job has one."""


def books_in(stored: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what was spent, which no migration can take back."""
    return {field: data for field, data in stored.items() if field[0] in BOOKS}


def as_fields(codec: Codec, checkpoint: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the fields of a checkpoint in the form of :func:`as_people_see_it`."""
    values: dict[str, Any] = {
        STEP + path: value for path, value in checkpoint.get("steps", {}).items()
    }
    for path, value in checkpoint.get("loops", {}).items():
        if isinstance(value, dict) and "finished" in value:
            values[END + path] = value["finished"]
        elif isinstance(value, dict):
            values[f"{KEYS}{path}:1"] = value["keys"]
        else:
            values[CURSOR + path] = value
    for path, results in checkpoint.get("maps", {}).items():
        values.update({f"{RESULT}{path}:{key}": value for key, value in results.items()})
    values |= {ANSWER + path: answer for path, answer in checkpoint.get("calls", {}).items()}
    for kind, name in ((STATE, "state"), (EXPLICIT, "data")):
        if checkpoint.get(name) is not None:
            values[kind] = checkpoint[name]
    return {field: codec.encode(value) for field, value in values.items()}
