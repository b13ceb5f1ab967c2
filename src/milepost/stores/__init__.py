"""The stores that come with milepost, and the way to open one by URL."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from milepost import extras
from milepost.errors import ConfigurationError
from milepost.settings import Settings
from milepost.store import Store

SCHEMES = {
    "memory": ("milepost.stores.memory", ""),
    "redis": ("milepost.stores.redis", ""),
    "rediss": ("milepost.stores.redis", ""),
    "unix": ("milepost.stores.redis", ""),
    "sqlite": ("milepost.stores.sql.sqlite", ""),
    "postgres": ("milepost.stores.sql.postgres", "postgres"),
    "postgresql": ("milepost.stores.sql.postgres", "postgres"),
    "postgresql+psycopg": ("milepost.stores.sql.postgres", "postgres"),
}
"""URL scheme → (module with a ``connect(url, settings)``, extra that its driver needs)."""


NO_OTHERS: Mapping[str, Callable[[str, Settings], Store]] = MappingProxyType({})


def open_store(
    url: str,
    settings: Settings | None = None,
    others: Mapping[str, Callable[[str, Settings], Store]] = NO_OTHERS,
) -> Store:
    """Open the store that *url* names. Nothing is connected until its first use.

    Args:
        url: ``scheme://…``; see :class:`milepost.settings.Settings`.
        settings: namespace, retention, limits and timeout. None: the defaults.
        others: URL scheme → what opens a store that is not one of milepost's own.

    Raises:
        ConfigurationError: no store has this scheme, or the URL is incomplete.
        MissingExtraError: the scheme's driver is not installed.
    """
    try:
        scheme = urlsplit(url).scheme
    except ValueError as exc:
        raise ConfigurationError(f"the store's URL cannot be read: {exc}") from None
    if scheme in others:
        return others[scheme](url, settings or Settings())
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in (*SCHEMES, *others))
        # Not the whole URL: it may hold a password.
        raise ConfigurationError(
            f"no store for the URL scheme {scheme or '(none)'!r}; known are {known}"
        )
    module, extra = SCHEMES[scheme]
    store: Store = extras.load(module, extra).connect(url, settings or Settings())
    return store
