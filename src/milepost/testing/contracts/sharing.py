"""One store, several callers."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from milepost.model import (
    Delta,
    JobStatus,
)
from milepost.store import Store
from milepost.testing.contracts.base import DONE, StoreCase


class SharingContract(StoreCase):
    """One store, several callers."""

    def test_use_from_several_threads(self, store: Store) -> None:
        def whole_life(n: int) -> Callable[[], None] | None:
            job_id = self.new(store)
            lease = self.granted(store, job_id, owner=f"w{n}:1")
            for step in range(20):
                store.commit(lease, Delta({f"s{step}": b"x"}))
            store.settle(lease, DONE)
            assert store.get(job_id).status is JobStatus.SUCCEEDED
            return None

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(whole_life, range(8)))

    def test_close_and_go_on(self, store: Store) -> None:
        job_id = self.new(store)
        store.close()
        assert store.get(job_id).status is JobStatus.PENDING
