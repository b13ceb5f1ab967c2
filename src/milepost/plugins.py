"""What installed plugins bring, as one frozen value that is handed down."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, TypeAlias

from milepost.errors import ConfigurationError

PROJECT = "milepost"
"""The name of pluggy's project, and of the group of entry points."""

Factory: TypeAlias = Callable[..., Any]
"""Makes what a plugin brings; its hook's docstring says of what arguments."""

NONE: Mapping[str, Factory] = MappingProxyType({})


class PluginState(StrEnum):
    """What became of a plugin that was found."""

    LOADED = "loaded"
    BLOCKED = "blocked"
    """Somebody does not want it: the setting ``blocked_plugins``."""
    FAILED = "failed"
    """It could not be imported, or a hook of it raised. Nothing of it is in use."""


@dataclass(frozen=True, slots=True)
class Plugin:
    """One plugin that was found.

    Attributes:
        name: of its entry point, or of the module that the application gave.
        distribution: what to install or remove to change it; empty where it is none.
        version: of the distribution.
        state: what became of it.
        brings: what it adds, as ``<kind> <name>``: ``stores mongodb``.
        problem: why it failed, in words.
    """

    name: str
    distribution: str = ""
    version: str = ""
    state: PluginState = PluginState.LOADED
    brings: tuple[str, ...] = ()
    problem: str = ""

    def __str__(self) -> str:
        """Return who that is, for messages."""
        made = f" of {self.distribution} {self.version}" if self.distribution else ""
        return f"plugin {self.name!r}{made}"


@dataclass(frozen=True, slots=True)
class Brought:
    """A job type that a plugin brings.

    Attributes:
        what: a :class:`~milepost.jobtype.JobType`, or the class of a durable task.
        owner: the plugin's distribution, or its name where it has none.
    """

    what: Any
    owner: str


@dataclass(frozen=True, slots=True)
class Plugins:
    """All that the plugins of one application bring, by name.

    Attributes:
        found: every plugin, whatever became of it.
        job_types: see the hook ``milepost_job_types``; the other attributes are each for the
            hook of its name too, and map names to factories.
    """

    found: tuple[Plugin, ...] = ()
    job_types: tuple[Brought, ...] = ()
    stores: Mapping[str, Factory] = field(default_factory=lambda: NONE)
    codecs: Mapping[str, Factory] = field(default_factory=lambda: NONE)
    key_providers: Mapping[str, Factory] = field(default_factory=lambda: NONE)
    observers: Mapping[str, Factory] = field(default_factory=lambda: NONE)
    guards: Mapping[str, Factory] = field(default_factory=lambda: NONE)
    llm_clients: Mapping[str, Factory] = field(default_factory=lambda: NONE)
    permission_policies: Mapping[str, Factory] = field(default_factory=lambda: NONE)
    flag_sources: Mapping[str, Factory] = field(default_factory=lambda: NONE)
    legacy_managers: Mapping[str, Factory] = field(default_factory=lambda: NONE)

    def make(self, kind: str, name: str, *args: Any, **kwargs: Any) -> Any:
        """Make what a plugin brings under a name.

        Args:
            kind: one of the attributes: ``codecs``, ``guards``, …
            name: what the plugin calls it.
            args: what the factory takes; see its hook.
            kwargs: as above.

        Raises:
            ConfigurationError: no plugin brings it.
        """
        known: Mapping[str, Factory] = getattr(self, kind)
        if name not in known:
            said = kind.replace("_", " ").removesuffix("s").replace("policie", "policy")
            there = ", ".join(sorted(known)) or "none"
            raise ConfigurationError(
                f"no plugin brings the {said} {name!r}; there are: {there}. "
                "`celery -A proj jobs plugins` shows what is loaded"
            )
        return known[name](*args, **kwargs)


NO_PLUGINS = Plugins()
