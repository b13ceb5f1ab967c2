"""Flags that are switched while everything runs: rules in one document of the store."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from typing import Any

from milepost.clock import Clock
from milepost.documents import Document, Documents
from milepost.errors import ConfigurationError, MilepostError
from milepost.routing import shared

DOCUMENT = "flags"
KEPT_FOR = 0.5
"""Seconds for which a process goes by what it has read."""
LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Rule:
    """What somebody has switched.

    Attributes:
        pattern: a flag's name, or with ``*`` every flag of such a name.
        share: for how many keys of a hundred they are on.
        by: who did it.
    """

    pattern: str
    share: float
    by: str = ""

    @classmethod
    def make(cls, pattern: str, share: float, by: str = "") -> "Rule":
        """Return a rule, or refuse one that cannot be.

        Raises:
            ConfigurationError: an empty or overlong name, or no number from 0 to 100.
        """
        if not isinstance(pattern, str) or not 0 < len(pattern) <= LONGEST_NAME:
            raise ConfigurationError(f"flag {pattern!r}: a name of 1 to {LONGEST_NAME} characters")
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:
            raise ConfigurationError(f"flag {pattern!r} = {share!r}: a number from 0 to 100")
        return cls(pattern, float(share), by)

    def covers(self, flag: str) -> bool:
        """Whether it speaks of a flag, or of a pattern that is within its own."""
        return flag == self.pattern or fnmatchcase(flag, self.pattern)


class StoredFlags:
    """Rules in one document: read whole, at most twice a second, by each process.

    The latest rule that speaks of a flag decides. A new rule drops those it covers, so that the
    document stays as short as what there is to say.

    Args:
        documents: gives the store's documents; called when they are first needed.
        clock: gives where to read time; called as above.
        kept_for: seconds for which a process goes by what it has read.
    """

    name = "store"

    def __init__(
        self,
        documents: Callable[[], Documents],
        clock: Callable[[], Clock],
        kept_for: float = KEPT_FOR,
    ) -> None:
        self._documents, self._clock, self._kept_for = documents, clock, kept_for
        self._rules: tuple[Rule, ...] = ()
        self._problem: MilepostError | None = None
        self._shares: dict[str, float | None] = {}
        self._fresh_until = float("-inf")
        self._lock = threading.Lock()

    def look(self, flag: str, key: str | None) -> float | None:  # noqa: ARG002
        """Return what the latest rule says of a flag.

        Raises:
            StoreUnavailableError: the rules cannot be read; also for the rest of the time for
                which an answer would have been kept, without asking again.
        """
        if self._clock().monotonic() >= self._fresh_until:
            self._refresh()
        if self._problem is not None:
            raise self._problem
        shares = self._shares
        try:
            return shares[flag]
        except KeyError:
            shares[flag] = share = self._judge(flag)
            return share

    def rules(self) -> Sequence[Rule]:
        """Return the rules as they are in the store now, the oldest first."""
        return _read(self._documents().read(DOCUMENT))

    def add(self, new: Iterable[Rule]) -> None:
        """Add rules behind all others, in one act; this process goes by them at once.

        Raises:
            StoreUnavailableError: nothing was added.
        """
        added = list(new)

        def edit(said: dict[str, Any]) -> dict[str, Any]:
            rules = [
                rule
                for rule in said.get("rules", ())
                if not any(one.covers(rule["pattern"]) for one in added)
            ]
            return {"rules": [*rules, *map(asdict, added)]}

        shared.change(self._documents(), DOCUMENT, edit)
        self._fresh_until = float("-inf")

    def _judge(self, flag: str) -> float | None:
        return next((rule.share for rule in reversed(self._rules) if rule.covers(flag)), None)

    def _refresh(self) -> None:
        with self._lock:
            now = self._clock().monotonic()
            if now < self._fresh_until:
                return
            try:
                rules = _read(self._documents().read(DOCUMENT))
            except MilepostError as exc:
                self._problem = exc
            else:
                self._problem = None
                if rules != self._rules:
                    self._rules, self._shares = rules, {}
            self._fresh_until = self._clock().monotonic() + self._kept_for


def _read(document: Document) -> tuple[Rule, ...]:
    return tuple(Rule(**rule) for rule in shared.said_by(document).get("rules", ()))
