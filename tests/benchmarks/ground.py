"""What subjects stand on: one core, servers of their own, a temporary directory, sizes."""

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from services import PostgresServer, RedisServer, start_postgres, start_redis

Server = TypeVar("Server", RedisServer, PostgresServer)


class NotHereError(Exception):
    """A service that a subject needs is not installed; the text says which."""


class Ground:
    """Servers are started when first asked for, as children of this process: on its core.

    Args:
        rounds: how often each case is run.
        quick: small sizes, which prove that the benchmark runs, and little else.
    """

    def __init__(self, rounds: int, quick: bool) -> None:
        self.rounds = rounds
        self.quick = quick
        self.directory = Path(tempfile.mkdtemp(prefix="milepost-bench-"))
        self._servers: dict[str, Any] = {}

    def size(self, full: int, quick: int) -> int:
        """Return how many operations a round has."""
        return quick if self.quick else full

    def redis(self) -> RedisServer:
        return self._server("redis", start_redis)

    def postgres(self) -> PostgresServer:
        return self._server("postgres", start_postgres)

    def _server(self, name: str, start: Callable[[], Server]) -> Server:
        if name not in self._servers:
            try:
                self._servers[name] = start()
            except (pytest.skip.Exception, pytest.fail.Exception) as exc:
                raise NotHereError(str(exc)) from None
        server: Server = self._servers[name]
        return server

    def close(self) -> None:
        """Stop the servers and remove the directory."""
        for server in self._servers.values():
            server.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


def stay_on_one_core() -> int | None:
    """Keep this process and all it starts on one core, where the system can; return which.

    Waking another core can cost more than everything measured here, and not every time.
    """
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core
