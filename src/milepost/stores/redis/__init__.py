"""The store in Redis, for every worker that can reach the same server.

One standalone server, or the master behind a Sentinel or a proxy; Redis 6 or newer. A Redis
Cluster is refused: the recovery index and the records it names have to change together.

What it can promise is what Redis promises. A checkpoint is as durable as the server's
persistence makes it (``appendonly yes`` with ``everysec`` may lose the last second when the
machine dies, not when a worker does), and a failover may lose what was not replicated yet.
Give it a server, or a database, that never evicts keys (``maxmemory-policy noeviction``).
"""

from milepost.settings import Settings
from milepost.store import Store
from milepost.stores.redis.store import RedisStore
from milepost.stores.redis.wire import Wire


def connect(url: str, settings: Settings) -> Store:
    """Open the store at a ``redis://``, ``rediss://`` or ``unix://`` URL.

    Nothing is connected until the first use.

    Raises:
        ConfigurationError: the URL is not one a Redis client can use.
    """
    return RedisStore(Wire(url, settings.store_timeout), settings)


__all__ = ["RedisStore", "connect"]
