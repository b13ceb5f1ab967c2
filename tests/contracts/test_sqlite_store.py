"""The SQLite store keeps the contract: on a clock of the test's, and on the real one."""

import pytest

from milepost.settings import Settings
from milepost.stores.sql import sqlite
from milepost.testing import FakeClock, StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def clock(self):
        self._clock = FakeClock()
        return self._clock

    @pytest.fixture
    def store(self, clock, tmp_path):
        settings = Settings(retention=self.RETENTION, max_value_bytes=self.LIMIT)
        store = sqlite.connect(f"sqlite:///{tmp_path}/jobs.db", settings, clock)
        yield store
        store.close()

    def elapse(self, seconds):
        self._clock.advance(seconds)
