"""Where a Redis is: an URL as Celery accepts it, read into what redis-py's connections take."""

import pkgutil
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import redis.connection
from redis.exceptions import RedisError

from milepost.errors import ConfigurationError

_parse_url: Any = redis.connection.parse_url

_NOT_OURS = frozenset(
    {
        *("max_connections", "timeout", "health_check_interval", "batch_publish_retry_safe"),
        *("global_keyprefix", "visibility_timeout", "decode_responses", "encoding"),
        *("encoding_errors", "protocol", "retry", "retry_on_timeout", "retry_on_error"),
        *("legacy_responses", "parser_class"),
    }
)
"""Options for pools, brokers and clients that may stand in a shared URL: the store has its own."""


@dataclass(frozen=True, slots=True)
class Address:
    """How to make a connection.

    Attributes:
        name: the URL without user, password and options.
        connection_class: redis-py's class for TCP, TLS or a Unix socket.
        options: its keyword arguments, without timeouts.
        timeout: the timeout the URL asks for, or None.
    """

    name: str
    connection_class: Any
    options: dict[str, Any]
    timeout: float | None

    def connection(self, timeout: float) -> Any:
        """Return a connection, not connected yet, whose every wait ends after *timeout*."""
        return self.connection_class(
            **self.options, socket_timeout=timeout, socket_connect_timeout=timeout
        )


def read_address(url: str) -> Address:
    """Read a Redis URL.

    Raises:
        ConfigurationError: it is not usable. The message never quotes the URL, which may
            hold a password.
    """
    scheme = url.partition(":")[0]
    try:
        options = _parse_url(url)
        name = _unix(url) if scheme == "unix" else _network(url, options)
    except ValueError:
        raise ConfigurationError(
            f"the {scheme}:// URL of the store is not usable: it must look like "
            "redis://host:port/number, with user:password@ before the host where it wants that, "
            "and special characters of the password written as %XX"
        ) from None
    timeouts = [options.pop(key, None) for key in ("socket_timeout", "socket_connect_timeout")]
    address = Address(
        name,
        options.pop("connection_class", redis.Connection),
        # RESP2: one round trip less to connect, and maps come as flat lists, as from scripts.
        {key: value for key, value in options.items() if key not in _NOT_OURS} | {"protocol": 2},
        min((float(given) for given in timeouts if given), default=None),
    )
    _try(address)
    return address


def _unix(url: str) -> str:
    """Return the name of a Unix socket."""
    path = urlsplit(url).path
    if not path:
        raise ValueError("no path")
    return f"unix://{path}"


def _network(url: str, options: dict[str, Any]) -> str:
    """Return the name of a server, and put what Celery writes into redis-py's words."""
    parts = urlsplit(url)
    # Not redis-py's silent 0 for a path that is no number.
    path = parts.path.strip("/") or options.get("virtual_host", "").strip("/")
    options["db"] = int(path) if path else options.get("db", 0)
    options.pop("virtual_host", None)
    options.setdefault("socket_keepalive", True)
    if "ssl_cert_reqs" in options:
        options["ssl_cert_reqs"] = options["ssl_cert_reqs"].lower().removeprefix("cert_")
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host or 'localhost'}:{parts.port or 6379}/{options['db']}"


def _try(address: Address) -> None:
    provider = address.options.get("credential_provider")
    try:
        if isinstance(provider, str):
            address.options["credential_provider"] = pkgutil.resolve_name(provider)()
        address.connection(1.0)
    except (TypeError, ValueError, ImportError, AttributeError, RedisError) as exc:
        raise ConfigurationError(f"{address.name}: an option of the URL is wrong: {exc}") from None
