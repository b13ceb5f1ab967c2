"""Feature flags: named switches, read from several sources, changed while everything runs."""

import os
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from milepost.errors import ConfigurationError
from milepost.events import FlagSourceFailed
from milepost.jobs.gate import Gate
from milepost.observer import Emitter, Observer
from milepost.routing.modes import falls_within, job_type_of
from milepost.routing.rules import Rule, StoredFlags
from milepost.security.permissions import Action, Who

Share: TypeAlias = float
"""For how many keys of a hundred a flag is on: 0 never, 100 always."""

ON = frozenset({"1", "true", "yes", "on"})
OFF = frozenset({"0", "false", "no", "off", ""})


class FlagSource(Protocol):
    """Somewhere that flags are looked up. A host's own needs these two and nothing else."""

    @property
    def name(self) -> str:
        """The source in words, for events and people."""
        ...

    def look(self, flag: str, key: str | None) -> Share | None:
        """Return for how many of a hundred a flag is on, or None without an opinion.

        Must be quick: it is asked for every job. May raise anything: the flag is then taken
        to be off, and observers are told.

        Args:
            flag: its name.
            key: what a decision sticks to, for sources that decide for each key themselves.
        """
        ...


class StaticFlags:
    """Flags as the code gives them.

    Args:
        flags: name → on, off, or for how many of a hundred.
    """

    name = "static"

    def __init__(self, flags: Mapping[str, bool | float]) -> None:
        self._shares = {flag: share_of(flag, value) for flag, value in flags.items()}

    def look(self, flag: str, key: str | None) -> Share | None:  # noqa: ARG002
        return self._shares.get(flag)


class EnvironmentFlags:
    """Flags as the environment gives them: ``MILEPOST_FLAG_CELERY_IMPORT=1``, or ``25%``.

    A flag's name is written in capitals there, and what is no letter or digit as ``_``.

    Args:
        environ: None: ``os.environ``, as it is when a flag is looked up.
    """

    name = "environment"

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ

    def look(self, flag: str, key: str | None) -> Share | None:  # noqa: ARG002
        environ = os.environ if self._environ is None else self._environ
        name = "MILEPOST_FLAG_" + re.sub(r"[^A-Z0-9]", "_", flag.upper())
        text = environ.get(name)
        return None if text is None else _read_share(name, text)


class FeatureFlags:
    """The flags of one application.

    Sources are asked in turn, and the first with an opinion decides: what somebody switched
    while everything runs (the store) comes before what a process was started with. Where none
    has an opinion, and where a source fails, a flag is off: that is the safe side, on which
    nothing new happens.

    Args:
        stored: the flags that are switched at runtime; every process sees a change within a
            second.
        sources: asked after that, in this order.
        emit: tells observers of a source that fails.
        gate: asks the policy whether somebody may switch a flag. None: everybody may.
    """

    def __init__(
        self,
        stored: StoredFlags,
        sources: Sequence[FlagSource] = (),
        emit: Observer | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._stored, self._gate = stored, gate
        self._sources: tuple[FlagSource, ...] = (stored, *sources)
        self._emit = emit or Emitter()

    def is_enabled(self, flag: str, key: str | None = None) -> bool:
        """Whether a flag is on.

        Args:
            flag: its name.
            key: what the answer sticks to where the flag is on for a share only. None:
                chance decides, each time.
        """
        share = self.share(flag, key)
        if key is None and 0 < share < 100:
            return random.random() * 100 < share
        return falls_within(share, flag, key or "")

    def share(self, flag: str, key: str | None = None) -> Share:
        """Return for how many of a hundred a flag is on: 0 off, 100 on."""
        for source in self._sources:
            try:
                share = source.look(flag, key)
            except Exception as exc:  # of any source: it must not stop a job
                self._emit(FlagSourceFailed(source.name, flag, repr(exc)))
                return 0.0
            if share is not None:
                return share
        return 0.0

    def enable(
        self, flag: str, percentage: float = 100.0, *, by: str = "", principal: Who = None
    ) -> None:
        """Switch a flag on, for all or for a share.

        Args:
            flag: its name; no pattern.
            percentage: for how many keys of a hundred.
            by: who does it.
            principal: who asks, for the policy.

        Raises:
            ConfigurationError: a name or a number that cannot be.
            PermissionDeniedError: the principal may not route jobs of that type; for a flag
                that is none of a job type's, jobs of all types.
            StoreUnavailableError: nothing was switched.
        """
        self.switch({flag: percentage}, by=by, principal=principal)

    def disable(self, flag: str, *, by: str = "", principal: Who = None) -> None:
        """Switch a flag off, whatever any source says.

        Raises:
            As for :meth:`enable`.
        """
        self.switch({flag: 0.0}, by=by, principal=principal)

    def disable_pattern(self, pattern: str, *, by: str = "", principal: Who = None) -> None:
        """Switch off every flag of such a name, those too that nobody has heard of yet.

        One that is enabled later by its name is on again.

        Args:
            pattern: with ``*`` for anything: ``celery_*``.
            by: who does it.
            principal: who asks, for the policy: they must be allowed to route all types.

        Raises:
            As for :meth:`enable`.
        """
        self._switch({pattern: 0.0}, by, principal, (None,))

    def switch(self, flags: Mapping[str, float], *, by: str = "", principal: Who = None) -> None:
        """Switch several flags in one act: name → for how many of a hundred.

        Raises:
            As for :meth:`enable`.
        """
        if any("*" in flag for flag in flags):
            raise ConfigurationError(f"flags {', '.join(flags)}: * is for disable_pattern only")
        self._switch(flags, by, principal, {job_type_of(flag) for flag in flags})

    def add(self, rules: Iterable[Rule]) -> None:
        """Add rules in one act without asking the policy: for moves, which have asked it.

        Raises:
            StoreUnavailableError: nothing was added.
        """
        self._stored.add(rules)

    def _switch(
        self,
        flags: Mapping[str, float],
        by: str,
        principal: Who,
        job_types: Iterable[str | None],
    ) -> None:
        gate = self._gate
        if gate is not None:
            for name in job_types:
                kind = None if name is None else gate.type_named(name)
                gate.check(principal, Action.ROUTE, kind)
            by = gate.named(principal, by)
        self.add([Rule.make(flag, share, by) for flag, share in flags.items()])

    def rules(self) -> Sequence[Rule]:
        """Return what was switched at runtime, the oldest first; later ones win."""
        return self._stored.rules()


def share_of(flag: str, value: bool | float) -> Share:
    """Return a flag's value as a share.

    Raises:
        ConfigurationError: it is neither a truth nor a number from 0 to 100.
    """
    if isinstance(value, bool):
        return 100.0 if value else 0.0
    return Rule.make(flag, value).share


def _read_share(name: str, text: str) -> Share:
    word = text.strip().lower()
    if word in ON or word in OFF:
        return 100.0 if word in ON else 0.0
    try:
        return share_of(name, float(word.removesuffix("%")))
    except ValueError:
        raise ConfigurationError(
            f"environment variable {name} = {text!r}: 1, 0, or a share such as 25%"
        ) from None
