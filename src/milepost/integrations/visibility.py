"""Keeps Redis brokers from handing out once more what this worker still has.

A message that is not acknowledged within the broker's visibility timeout goes back to its queue,
whether its worker lives or not. The record makes the second delivery harmless; this makes it
not happen, for as long as the worker's main process lives.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

OFTEN = 4
"""How many times within a visibility timeout messages are said to be in work."""
LONGEST = 60.0
"""Seconds between two such times, at most."""
PATIENCE = 10.0
"""Seconds to wait for the broker, where its transport options do not say."""
BATCH = 500


class Visibility:
    """Renews the messages of one worker, where its broker is a Redis.

    Args:
        app: the Celery app.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._connection: Any = None
        self._renew_at = 0.0

    def renew(self, delivery_tags: Callable[[], Sequence[str]]) -> None:
        """Say that messages are still in work, if it is time to.

        Raises:
            Exception: the broker's, if it does not answer; the next call connects anew.
        """
        now = time.monotonic()
        if now < self._renew_at:
            return
        try:
            self._renew_at = now + self._renew(delivery_tags)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.release()

    def _connect(self) -> Any:
        """Return a connection of our own, which never waits for an answer for ever."""
        connection = self._app.connection_for_write()
        if connection.transport.driver_type != "redis":
            return connection
        patience = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE}
        given = self._app.conf.broker_transport_options
        return self._app.connection_for_write(transport_options={**patience, **given})

    def _renew(self, delivery_tags: Callable[[], Sequence[str]]) -> float:
        """Renew now; returns the seconds until the next time."""
        if self._connection is None:
            self._connection = self._connect()
        if self._connection.transport.driver_type != "redis":
            return LONGEST
        # The channel knows the transport's options: key prefixes, names of keys, the timeout.
        channel = self._connection.default_channel
        index, tags = channel.unacked_index_key, delivery_tags()
        for start in range(0, len(tags), BATCH):
            moment = time.time()  # by kombu's own clock, which sets and reads these scores
            part = dict.fromkeys(tags[start : start + BATCH], moment)
            channel.client.zadd(index, part, xx=True)
        return float(min(channel.visibility_timeout / OFTEN, LONGEST))
