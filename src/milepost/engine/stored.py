"""What the store holds of a job: what earlier attempts left, and whether the code still fits."""

from collections.abc import Iterable, Mapping
from typing import Any

from milepost.ciphertext import NEEDS_KEY
from milepost.codec import Codec
from milepost.engine.scope import (
    ANSWER,
    CURSOR,
    END,
    KEYS,
    KINDS,
    RESULT,
    Scope,
    home_of,
    is_within,
    place_of,
)
from milepost.errors import DecodeError, NoKeysError
from milepost.interrupts import Suspend
from milepost.model import Delta, JobStatus

NEEDS_MIGRATION = "needs-migration"

BY_POSITION, BY_CURSOR, BY_KEY = "by position", "by cursor", "by key"
AS_MAP, AS_CALLS = "as a map", "as a map of calls"
_TO_ITS_END = "to its end"
"""A loop that is over is over, whatever its kind was."""
_PARTS = {KEYS: BY_KEY, RESULT: AS_MAP, ANSWER: AS_CALLS}
"""Kinds of fields of which a loop or map has many."""


class Stored:
    """The checkpoint as an attempt found it, less what the body has asked for.

    Args:
        codec: reads what is stored.
        fields: the checkpoint.

    Attributes:
        fields: what was not asked for yet.
        code_changed: whether other code than this wrote it.
    """

    def __init__(self, codec: Codec, fields: Mapping[str, bytes]) -> None:
        self.fields = dict(fields)
        self.code_changed = False
        self._codec = codec
        self._live: dict[str, set[str]] = {}
        """Every field in the store that belongs to an item of a loop, by its place."""
        self._note_live(fields)
        self._inherited = set(self._live)

    def take(self, field: str) -> bytes | None:
        """Return a stored field, once: what is left at the end was not asked for."""
        return self.fields.pop(field, None)

    def recall(self, field: str, missing: Any) -> Any:
        """Return the value of a stored field, once, or *missing*.

        Raises:
            Suspend: as for :meth:`decode`.
        """
        data = self.fields.pop(field, None)
        return missing if data is None else self.decode(field, data)

    def take_all(self, prefix: str) -> dict[str, bytes]:
        """Return every stored field that begins with *prefix*, once."""
        if not self.fields:
            return {}
        found = [field for field in self.fields if field.startswith(prefix)]
        return {field: self.fields.pop(field) for field in found}

    def decode(self, field: str, data: bytes) -> Any:
        """Return the value of a stored field.

        Raises:
            Suspend: it cannot be read by this code (a class it names is gone, say); the job
                is parked with everything it has.
        """
        try:
            return self._codec.decode(data)
        except DecodeError as exc:
            raise misfit(f"{field!r} cannot be read: {exc}") from exc

    def replace(self, fields: Mapping[str, bytes]) -> None:
        """Put a migrated checkpoint in place of this one."""
        self.fields = dict(fields)
        self.code_changed = False
        self._note_live(fields)
        self._inherited = set(self._live)

    # -- whether it fits the code ------------------------------------------------------------

    @property
    def is_foreign(self) -> bool:
        """Whether something is left that was recorded by other code than this."""
        return self.code_changed and any(field[0] in KINDS for field in self.fields)

    def check_fit(self, scope: Scope, newcomer: str) -> None:
        """Refuse to run something new where changed code has left something old behind.

        A step that was renamed would run a second time under its new name. Where the
        task's code is what it was when the checkpoint was written, nothing can be misfit.

        Raises:
            Suspend: the job is parked until a migration says what belongs to what.
        """
        if not self.fields or not self.code_changed:
            return
        left = next((f for f in self.fields if is_within(f, scope.prefix)), None)
        if left is not None:
            raise misfit(f"{place_of(left)} is recorded, but the code now reaches {newcomer} first")

    def check_kind(self, path: str, now: str) -> None:
        """Refuse to read a loop or map in another way than it was recorded in.

        That is a misfit whatever the code's mark says, which does not cover all code: what is
        recorded could not be read, or all of it would be done again.

        Args:
            path: of the loop or map.
            now: how the code reads it: ``BY_POSITION`` and the like.

        Raises:
            Suspend: as for :meth:`check_fit`.
        """
        recorded = self._kind_of(path) if self.fields else None
        if recorded in (None, now) or (recorded == _TO_ITS_END and now not in (AS_MAP, AS_CALLS)):
            return
        what = "map" if recorded in (AS_MAP, AS_CALLS) else "loop"
        raise misfit(
            f"{what} {path!r} was recorded {recorded}, the code now reads it {now}: bring it over "
            "in migrate_checkpoint(), or restart the job"
        )

    def _kind_of(self, path: str) -> str | None:
        """Return how a loop or map was recorded, by the fields it has left; None: not at all."""
        if (position := self.fields.get(CURSOR + path)) is not None:
            is_number = isinstance(self.decode(CURSOR + path, position), int)
            return BY_POSITION if is_number else BY_CURSOR
        if END + path in self.fields:
            return _TO_ITS_END
        part = f"{path}:"
        kinds = (_PARTS.get(f[0]) for f in self.fields if f.startswith(part, 1))
        return next(filter(None, kinds), None)

    def check_loop_fit(self, scope: Scope, path: str, now: str) -> None:
        """As :meth:`check_fit`, for a loop: one that something is recorded of fits.

        Args:
            scope: the place that the loop stands in.
            path: of the loop.
            now: as for :meth:`check_kind`.

        Raises:
            Suspend: as for :meth:`check_fit`.
        """
        self.check_kind(path, now)
        if self.fields and self.code_changed:
            own, keys, inside = (CURSOR + path, END + path), f"{KEYS}{path}:", f"{path}/"
            known = (f in own or f.startswith(keys) or is_within(f, inside) for f in self.fields)
            if not any(known):
                self.check_fit(scope, f"loop {path!r}")

    def check_leftovers(self) -> None:
        """At the end of the body: refuse to succeed over recorded work the code lost.

        Raises:
            Suspend: as for :meth:`check_fit`.
        """
        if self.fields and self.code_changed:
            left = next((f for f in self.fields if is_within(f, "")), None)
            if left is not None:
                raise misfit(f"{place_of(left)} is recorded, but no longer in the code")

    # -- what belongs to items of loops ------------------------------------------------------

    def inherits(self, path: str) -> bool:
        """Whether an earlier attempt left something within the items of a loop."""
        prefix = f"{path}/"
        return any(home.startswith(prefix) for home in self._inherited)

    def may_hold(self, field: str) -> bool:
        """Whether a field may be in the store, so that dropping it takes a delete."""
        home = home_of(field)
        return not home or field in self._live.get(home, ())

    def within(self, prefix: str) -> list[str]:
        """Return every field in the store that belongs to a place under *prefix*."""
        homes = [home for home in self._live if home.startswith(prefix)]
        return [field for home in homes for field in self._live[home]]

    def forget(self, prefix: str) -> None:
        """Forget everything within a place in the code: it is about to be deleted."""
        for home in [home for home in self._live if home.startswith(prefix)]:
            for field in self._live.pop(home):
                self.fields.pop(field, None)
            self._inherited.discard(home)

    def note_saved(self, delta: Delta) -> None:
        """Learn what a checkpoint has changed in the store."""
        for field in delta.deletes:
            self._live.get(home_of(field), set()).discard(field)
        self._note_live(delta.writes)

    def _note_live(self, fields: Iterable[str]) -> None:
        for field in fields:
            if "/" in field and (home := home_of(field)):
                self._live.setdefault(home, set()).add(field)


def parked(why: DecodeError | NoKeysError) -> Suspend:
    """Return the interrupt that parks a job until its key is here."""
    return Suspend(JobStatus.PAUSED, f"{NEEDS_KEY}{why}")


def misfit(problem: str) -> Suspend:
    """Return the interrupt that parks a job until its checkpoint is migrated."""
    return Suspend(JobStatus.PAUSED, f"{NEEDS_MIGRATION}: {problem}")
