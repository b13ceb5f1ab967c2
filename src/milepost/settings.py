"""Settings: read once, from keyword arguments, Celery's configuration and the environment."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from milepost.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What can be set, with its default. All times are in seconds.

    Attributes:
        store: URL of the store: ``redis://``, ``rediss://``, ``unix://``, ``sqlite:///``,
            ``postgresql://`` or ``memory://``. None: the Redis that Celery uses.
        namespace: prefix of every key or table, so that several systems can share a store.
        lease_seconds: how long a worker may be silent before its jobs are taken over.
        renew_seconds: how often a worker renews the leases of its running jobs.
        scan_seconds: how often each worker looks for jobs to recover.
        checkpoint_every: default interval between checkpoints of a loop.
        max_crashes: deaths in a row without a checkpoint after which a job fails.
        resend_after: how long a sent job may stay unstarted before its queue is checked
            for a lost message.
        stalled_after: how long a running job may save nothing new before it counts as stalled.
        retention: how long a job's record is kept after its end.
        max_value_bytes: the largest single value a checkpoint may hold.
        store_timeout: how long one store command may take before it is an error.
        keys: where the keys of encrypted tasks are: ``file:/path`` or ``env:NAME``.
        compression: what large values are compressed with before they are encrypted:
            ``zlib``, ``zstd`` or ``none``.
        record_at: ``publish`` writes the record before the message is sent, ``start`` when
            a worker first claims the job (one command less for the publisher, but a
            message lost before its start is then lost).
        max_input_bytes: how much a job may be given: bytes of all texts together.
        max_input_depth: how many containers within each other it may be given.
        max_input_text: characters of the longest text it may be given.
        allow_pickle: whether the app may accept messages that run code when they are read.
        allow_older_versions: whether a worker may start whose tasks have an older
            ``checkpoint_version`` than the store has seen; their newer jobs are parked.
        blocked_plugins: names of plugins or of their distributions that are not loaded;
            patterns. Like the next, it is needed before Celery's configuration is read.
        strict_plugins: whether a plugin that fails to load is an error, not a warning.
    """

    store: str | None = None
    namespace: str = "milepost"
    lease_seconds: float = 3.0
    renew_seconds: float = 1.0
    scan_seconds: float = 0.5
    checkpoint_every: float = 1.0
    max_crashes: int = 5
    resend_after: float = 60.0
    stalled_after: float = 600.0
    retention: float = 7 * 86400.0
    max_value_bytes: int = 16 * 1024 * 1024
    store_timeout: float = 5.0
    keys: str | None = None
    compression: str = "zlib"
    record_at: str = "publish"
    max_input_bytes: int = 1024 * 1024
    max_input_depth: int = 20
    max_input_text: int = 100_000
    allow_pickle: bool = False
    allow_older_versions: bool = False
    blocked_plugins: tuple[str, ...] = ()
    strict_plugins: bool = False

    def __post_init__(self) -> None:
        for name, (fits, wanted) in _RULES.items():
            value = getattr(self, name)
            if not fits(value):
                # A store's URL may hold a password, and so may what was given in its place.
                shown = (
                    f"a value of type {type(value).__name__}" if name in _SECRET else repr(value)
                )
                raise ConfigurationError(f"{name} = {shown}: {wanted}")
        object.__setattr__(self, "blocked_plugins", tuple(self.blocked_plugins))
        if self.renew_seconds * 2 > self.lease_seconds:
            raise ConfigurationError(
                f"renew_seconds = {self.renew_seconds} leaves no room for one missed renewal "
                f"within lease_seconds = {self.lease_seconds}: make it at most half of it"
            )


Rule: TypeAlias = tuple[Callable[[Any], bool], str]
"""Whether a value will do, and what to give instead of one that does not."""

CENTURY = 100 * 365 * 86400.0
"""The longest time that can be set, in seconds: clocks and databases have an end."""


def _seconds(longest: float = CENTURY) -> Rule:
    return (
        lambda value: _is_number(value, int | float) and 0 < value <= longest,
        f"it must be a number of seconds above 0, at most {longest:.0f}",
    )


def _whole(least: int) -> Rule:
    return (
        lambda value: _is_number(value, int) and value >= least,
        f"it must be a whole number from {least}",
    )


def _one_of(*words: str) -> Rule:
    return lambda value: value in words, " or ".join(map(repr, words))


def _is_number(value: Any, kind: Any) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _is_namespace(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,39}", value))


def _are_names(value: Any) -> bool:
    lists = isinstance(value, list | tuple | set | frozenset)
    return lists and all(isinstance(name, str) and name for name in value)


def _text_or_none(wanted: str) -> Rule:
    return lambda value: value is None or (isinstance(value, str) and value.strip() != ""), wanted


_TRUTH: Rule = lambda value: isinstance(value, bool), "True or False"
_TRUTHS = ("allow_pickle", "allow_older_versions", "strict_plugins")
_SECRET = ("store", "keys")
_RULES: Mapping[str, Rule] = {
    "store": _text_or_none("it must be a URL, or None for the Redis that Celery uses"),
    "namespace": (
        _is_namespace,
        "letters, digits and _ only, at most 40, not beginning with a digit",
    ),
    "lease_seconds": _seconds(),
    "renew_seconds": _seconds(),
    "scan_seconds": _seconds(),
    "checkpoint_every": _seconds(),
    "max_crashes": _whole(0),
    "resend_after": _seconds(),
    "stalled_after": _seconds(),
    "retention": _seconds(),
    "max_value_bytes": _whole(1),
    "store_timeout": _seconds(86400.0),
    "keys": _text_or_none("it must be 'file:/path' or 'env:NAME', or None for no keys"),
    "compression": _one_of("zlib", "zstd", "none"),
    "record_at": _one_of("publish", "start"),
    "max_input_bytes": _whole(1),
    "max_input_depth": _whole(1),
    "max_input_text": _whole(1),
    "blocked_plugins": (_are_names, "it must be a list of names"),
    **dict.fromkeys(_TRUTHS, _TRUTH),
}


def _truth(text: str) -> bool:
    """Read yes or no, as people write it into an environment."""
    return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}[
        text.strip().lower()
    ]


def _names(text: str) -> tuple[str, ...]:
    """Read names between commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


_READ: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("store", "namespace", "record_at", "keys", "compression"), str),
    "max_crashes": int,
    "max_value_bytes": int,
    "max_input_bytes": int,
    "max_input_depth": int,
    "max_input_text": int,
    "blocked_plugins": _names,
    **dict.fromkeys(_TRUTHS, _truth),
}
"""How a setting is read from text; those that are not here are seconds."""


def read_settings(
    given: Mapping[str, Any], conf: Mapping[str, Any], environ: Mapping[str, str] | None = None
) -> Settings:
    """Build the settings; the first source that names a value wins.

    Args:
        given: keyword arguments of ``Milepost(app, …)``.
        conf: Celery's configuration; keys ``milepost_<name>``.
        environ: the environment; keys ``MILEPOST_<NAME>``. None: ``os.environ``.

    Raises:
        ConfigurationError: an unknown name or an unusable value, and where it came from.
    """
    environ = os.environ if environ is None else environ
    names = [field.name for field in fields(Settings)]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ConfigurationError(
            f"unknown setting {unknown[0]!r}; the settings are: {', '.join(names)}"
        )
    chosen = {}
    for name in names:
        value = given.get(name)
        if value is None:
            value = conf.get(f"milepost_{name}")
        if value is None:
            value = _from_text(name, environ.get(f"MILEPOST_{name.upper()}"))
        if value is not None:
            chosen[name] = value
    return Settings(**chosen)


def _from_text(name: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return _READ.get(name, float)(text)
    except (KeyError, ValueError):
        kind = "1 or 0, true or false, yes or no"
        if name not in _TRUTHS:
            kind = "a whole number" if name in _READ else "a number of seconds"
        raise ConfigurationError(
            f"environment variable MILEPOST_{name.upper()} = {text!r}: it must be {kind}"
        ) from None
