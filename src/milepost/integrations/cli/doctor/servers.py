"""What the Redis servers behind an app say of themselves."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

from milepost import extras
from milepost.app import redis_of
from milepost.integrations.cli.doctor.facts import Server
from milepost.runtime import runtime_of

TIMEOUT = 4.0
"""Seconds a server may take to connect, and to answer."""


def connect(app: Any) -> Any:
    """Return a connection to the broker whose waits end, whatever the project has set."""
    with app.connection_for_write() as plain:
        is_redis = plain.transport.driver_type == "redis"
    bounds = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT} if is_redis else {}
    return app.connection_for_write(connect_timeout=TIMEOUT, transport_options=bounds)


def broker_server(app: Any) -> Server | None:
    """Return the broker's server, or None if that is no Redis."""
    with connect(app) as connection:
        if connection.transport.driver_type != "redis":
            return None
        return server_of(connection.default_channel.client, "broker")


def store_server(app: Any) -> Server | None:
    """Return the store's server, or None if that is no Redis whose address is known."""
    runtime = runtime_of(app)
    if not runtime.store.name.startswith(("redis://", "rediss://", "unix://")):
        return None
    address = extras.load("milepost.stores.redis.address", "").read_address(
        runtime.settings.store or redis_of(app)
    )
    if address.name != runtime.store.name:
        return None  # a store that was handed over ready-made
    redis = extras.load("redis", "")
    pool = redis.ConnectionPool(
        address.connection_class,
        **address.options,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
    )
    with redis.Redis(connection_pool=pool) as client:
        server = server_of(client, "store")
    pool.disconnect()
    return server


def server_of(client: Any, role: str) -> Server:
    """Ask a server what it is.

    Args:
        client: redis-py's.
        role: what it is here.
    """
    info = client.info()
    save = None
    with suppress(extras.load("redis", "").RedisError):  # hosted ones forbid CONFIG
        save = client.config_get("save").get("save")
    where = client.connection_pool.connection_kwargs
    name = where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"
    return Server(
        name,
        (role,),
        str(info.get("redis_version", "")),
        policy=str(info.get("maxmemory_policy", "")),
        maxmemory=int(info.get("maxmemory", 0)),
        used=int(info.get("used_memory", 0)),
        appendonly=bool(info.get("aof_enabled", 0)),
        save=save if save is None else _text(save),
        run=str(info.get("run_id", "")),
    )


def one_each(servers: list[Server]) -> tuple[Server, ...]:
    """Return each server once, with all that it is."""
    seen: dict[str, Server] = {}
    for server in servers:
        key = server.run or server.name
        before = seen.get(key)
        roles = (*(before.roles if before else ()), *server.roles)
        seen[key] = replace(server, roles=roles)
    return tuple(seen.values())


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
