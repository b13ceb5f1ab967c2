"""Finds plugins, asks each for what it brings, and says what became of it."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

from milepost import extras
from milepost.errors import ConfigurationError, MilepostWarning
from milepost.jobtype import JobType
from milepost.plugins import PROJECT, Brought, Factory, Plugin, Plugins, PluginState
from milepost.stores import SCHEMES
from milepost.tasks.base import BaseTask

JOB_TYPES = "job_types"
NAMED = tuple(f.name for f in fields(Plugins) if f.name not in ("found", JOB_TYPES))
"""The kinds that are named factories; there is a hook ``milepost_<kind>`` for each."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A plugin that is not loaded yet."""

    plugin: Plugin
    load: Callable[[], object]


def load_plugins(given: Sequence[object], *, blocked: Sequence[str], strict: bool) -> Plugins:
    """Load every plugin that is installed or given, and return all that they bring.

    One that cannot be imported, or whose hook raises, is reported and left out whole: it
    takes nobody else down.

    Args:
        given: plugins that the application hands over.
        blocked: names of plugins or distributions that are not to be loaded; patterns.
        strict: let one that fails be an error.

    Raises:
        ConfigurationError: a hook or an argument of one does not exist, what a hook returns
            has another form, two things of one name, or, if *strict*, a plugin failed.
    """
    found, brought = [], []
    for candidate in (*_installed(), *map(_given, given)):
        if _is_blocked(candidate.plugin, blocked):
            found.append(replace(candidate.plugin, state=PluginState.BLOCKED))
            continue
        try:
            told = _ask(candidate)
        except ConfigurationError:
            raise
        except Exception as exc:  # whatever a plugin does wrong, the others go on
            found.append(_failed(candidate.plugin, exc, strict))
            continue
        brings = tuple(f"{kind} {name}" for kind in told for name in _names(kind, told[kind]))
        found.append(replace(candidate.plugin, brings=brings))
        brought.append((candidate.plugin, told))
    return Plugins(
        tuple(found),
        tuple(
            Brought(what, plugin.distribution or plugin.name)
            for plugin, told in brought
            for what in told.get(JOB_TYPES, ())
        ),
        **{kind: _joined(kind, brought) for kind in NAMED},
    )


@cache
def _entry_points() -> tuple[EntryPoint, ...]:
    return tuple(sorted(entry_points(group=PROJECT), key=lambda e: (e.name, e.value)))


def _installed() -> Iterable[_Candidate]:
    for entry in _entry_points():
        dist = entry.dist
        name, version = (dist.name, dist.version) if dist is not None else ("", "")
        yield _Candidate(Plugin(entry.name, name, version), entry.load)


def _given(plugin: object) -> _Candidate:
    name = getattr(plugin, "__name__", None) or type(plugin).__name__
    return _Candidate(Plugin(name), lambda: plugin)


def _is_blocked(plugin: Plugin, blocked: Sequence[str]) -> bool:
    names = filter(None, (plugin.name, plugin.distribution))
    return any(fnmatchcase(name, pattern) for name in names for pattern in blocked)


def _failed(plugin: Plugin, exc: Exception, strict: bool) -> Plugin:
    problem = f"{type(exc).__name__}: {exc}"
    if strict:
        raise ConfigurationError(f"{plugin} failed: {problem}") from exc
    warnings.warn(f"{plugin} is not in use: {problem}", MilepostWarning, stacklevel=4)
    return replace(plugin, state=PluginState.FAILED, problem=problem)


def _ask(candidate: _Candidate) -> dict[str, Any]:
    """Return kind → what the plugin brings of it.

    Each plugin has a manager of its own, so that a mistake is never put down to another one.
    """
    # Loaded for the first plugin: an application without any does not pay for them.
    pluggy = extras.load("pluggy", "")
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(extras.load("milepost.hookspecs", ""))
    loaded = candidate.load()
    try:
        manager.register(loaded, name=candidate.plugin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as exc:
        raise ConfigurationError(f"{candidate.plugin}: {' '.join(str(exc).split())}") from exc
    told = {}
    for kind in (JOB_TYPES, *NAMED):
        answers = getattr(manager.hook, f"milepost_{kind}")()
        if answers:
            check = _checked_types if kind == JOB_TYPES else _checked_names
            told[kind] = check(candidate.plugin, kind, answers[0])
    return told


def _checked_types(plugin: Plugin, _: str, answer: Any) -> tuple[Any, ...]:
    """Return job types, each a value or a class; a hook may well be a generator."""
    told = tuple(answer)
    for what in told:
        is_class = isinstance(what, type) and issubclass(what, BaseTask)
        if not is_class and not isinstance(what, JobType):
            raise ConfigurationError(
                f"{plugin}: milepost_job_types gave {what!r}: "
                "it must be a JobType or the class of a durable task"
            )
    return told


def _checked_names(plugin: Plugin, kind: str, answer: Any) -> dict[str, Factory]:
    """Return names with factories, as all hooks but one give them."""
    if not isinstance(answer, Mapping):
        raise ConfigurationError(
            f"{plugin}: milepost_{kind} gave {type(answer).__name__}: "
            "it must be a mapping from names to factories"
        )
    for name, factory in answer.items():
        if not isinstance(name, str) or not name or not callable(factory):
            raise ConfigurationError(
                f"{plugin}: milepost_{kind} gave {name!r}: {factory!r}: "
                "it must be a name with a factory"
            )
        if kind == "stores" and name in SCHEMES:
            raise ConfigurationError(f"{plugin}: {name}:// is a store of milepost's own")
    return dict(answer)


def _names(kind: str, told: Any) -> Iterable[str]:
    if kind != JOB_TYPES:
        return list(told)
    return [
        what.name if isinstance(what, JobType) else what.job_type or what.name or what.__name__
        for what in told
    ]


def _joined(kind: str, brought: Sequence[tuple[Plugin, dict[str, Any]]]) -> Mapping[str, Factory]:
    """Return everything of one kind; a name that two plugins use is refused."""
    joined: dict[str, Factory] = {}
    owners: dict[str, Plugin] = {}
    for plugin, told in brought:
        for name, factory in told.get(kind, {}).items():
            if name in owners:
                raise ConfigurationError(
                    f"{owners[name]} and {plugin} both bring {name!r} among their {kind}: "
                    "block one of them (blocked_plugins)"
                )
            owners[name], joined[name] = plugin, factory
    return MappingProxyType(joined)
