"""The memory store keeps the contract, on a clock of its own."""

import pytest

from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture(autouse=True)
    def clock(self):
        self._clock = FakeClock()
        return self._clock

    @pytest.fixture
    def store(self, clock):
        return MemoryStore(clock, retention=self.RETENTION, max_value_bytes=self.LIMIT)

    def elapse(self, seconds):
        self._clock.advance(seconds)
