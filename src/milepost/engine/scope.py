"""Names inside a job: which loop, step or map a stored field belongs to.

A field is one letter for its kind, then a path: ``sload_columns`` is a step, ``crows`` the
cursor of a loop, ``srows/enrich`` a step inside the current item of that loop. A path never
says when something happened, only where in the code it stands, so a resumed attempt finds it.
"""

from collections.abc import Iterable
from typing import Final

from milepost.errors import CheckpointError, NameInUseError

STEP: Final = "s"
CURSOR: Final = "c"
KEYS: Final = "d"
END: Final = "e"
RESULT: Final = "m"
STATE: Final = "u"
META: Final = "v"
EXPLICIT: Final = "x"
ANSWER: Final = "a"
"""The answer to a call that costs money."""
SENT: Final = "i"
"""A call that has no answer yet: it is in flight, or put off."""
SPEND: Final = "b"
"""What all calls of the job have cost."""
BUDGET: Final = "g"
"""The budget that somebody has granted the job beside what its task declares."""

BOOKS: Final = frozenset({SENT, SPEND, BUDGET})
"""What was spent stays spent, whatever becomes of the rest of a checkpoint."""
KINDS: Final = {
    STEP: "step",
    CURSOR: "loop",
    KEYS: "loop",
    END: "loop",
    RESULT: "map",
    ANSWER: "call",
}
"""Kinds that belong to a place in the code; the others belong to the job as a whole."""

_ITS_OWN = {STATE: "self.state", EXPLICIT: "the checkpoint that was saved by hand"}
_ESCAPES = str.maketrans({"%": "%25", "/": "%2F", ":": "%3A", "#": "%23"})
_SPECIAL = frozenset("%/:#")


class Scope:
    """The names used in one place: the body of the task, or one item of a loop.

    Attributes:
        under_way: how many calls that cost money are going on here.
    """

    __slots__ = ("_counts", "_paths", "prefix", "under_way")

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.under_way = 0
        self._paths: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def enter(self, kind: str, name: str | None, default: str) -> str:
        """Return the path of the next loop, step or map here.

        Args:
            kind: ``"loop"``, ``"step"`` or ``"map"``, for the error's text.
            name: the name the user gave, or None.
            default: the name to number where none was given: ``load``, ``load#2``, …

        Raises:
            CheckpointError: the given name is not a string.
            NameInUseError: the given name is in use here.
        """
        if name is None:
            count = self._counts[default] = self._counts.get(default, 0) + 1
            if count > 1:
                # Escaped names hold no "#", so this one is nobody else's, nor worth keeping.
                return f"{self._paths[default]}#{count}"
            name = default
        elif not isinstance(name, str):
            raise CheckpointError(f"{kind} name={name!r}: a name is a string")
        if name in self._paths:
            raise NameInUseError(kind, name)
        path = self._paths[name] = self.prefix + escaped(name)
        return path


def escaped(name: str) -> str:
    """Return a name without the characters that separate the parts of a path."""
    return name if _SPECIAL.isdisjoint(name) else name.translate(_ESCAPES)


def home_of(field: str) -> str:
    """Return the prefix of the place a field belongs to: empty for the task's body itself."""
    if "/" not in field:
        return ""
    path = field[1:].partition(":")[0]
    return path[: path.rfind("/") + 1]


def is_within(field: str, prefix: str) -> bool:
    """Whether a stored field belongs to a place in the code under *prefix*."""
    return field[0] in KINDS and field.startswith(prefix, 1)


def without_loops(fields: Iterable[str]) -> list[str]:
    """Return what to drop so that loops begin again while steps of the body keep their results."""
    return [f for f in fields if f[0] not in BOOKS and f[0] != META and not _is_step_of_body(f)]


def without_books(fields: Iterable[str]) -> list[str] | None:
    """Return what to drop so that all begins again while what was spent stays known.

    None: everything, since nothing was spent.
    """
    known = list(fields)
    rest = [f for f in known if f[0] not in BOOKS]
    return None if len(rest) == len(known) else rest


def _is_step_of_body(field: str) -> bool:
    is_step = field[0] == STEP or (field[0] == ANSWER and ":" not in field)
    return is_step and not home_of(field)


def place_of(field: str) -> str:
    """Return a stored field as people know it: ``step 'load'``."""
    return f"{KINDS[field[0]]} {field[1:].partition(':')[0]!r}"


def called(field: str) -> str:
    """Return any stored field as people know it."""
    if field[0] in KINDS:
        return place_of(field)
    return _ITS_OWN.get(field, f"checkpoint field {field!r}")
