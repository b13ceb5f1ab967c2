"""The Redis store keeps the contract: on a real server, and on fakeredis where there is none."""

import threading

import fakeredis
import pytest

from milepost.settings import Settings
from milepost.stores import open_store
from milepost.testing import StoreContract
from services import free_port, start_redis


@pytest.fixture(scope="module")
def server():
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fake_url():
    port = free_port()
    server = fakeredis.TcpFakeServer(("127.0.0.1", port))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"redis://127.0.0.1:{port}/0"
    server.shutdown()
    server.server_close()


def open_redis(url, **changes):
    given = {"retention": StoreContract.RETENTION, "max_value_bytes": StoreContract.LIMIT}
    return open_store(url, Settings(**{**given, **changes}))


class TestRedisStore(StoreContract):
    @pytest.fixture
    def store(self, server):
        store = open_redis(server.url)
        yield store
        store.close()


class TestRedisStoreOnAFakeServer(StoreContract):
    @pytest.fixture
    def store(self, fake_url):
        store = open_redis(fake_url)
        yield store
        store.close()
