"""The PostgreSQL store keeps the contract, on a server of the test's own."""

import uuid

import pytest

from milepost.settings import Settings
from milepost.stores import open_store
from milepost.testing import StoreContract
from services import start_postgres


@pytest.fixture(scope="module")
def server():
    server = start_postgres()
    yield server
    server.stop()


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def store(self, server):
        settings = Settings(
            namespace=f"t{uuid.uuid4().hex[:8]}",
            retention=self.RETENTION,
            max_value_bytes=self.LIMIT,
        )
        store = open_store(server.url, settings)
        yield store
        store.close()
