"""How a lease is kept alive, and how it is taken from the dead."""

from milepost.errors import (
    LeaseLostError,
)
from milepost.model import (
    NOTHING,
    JobStatus,
    Refusal,
)
from milepost.store import Store
from milepost.testing.contracts.base import DONE, StoreCase, raises


class LeaseContract(StoreCase):
    """How a lease is kept alive, and how it is taken from the dead."""

    def test_renew_by_incarnation(self, store: Store) -> None:
        mine, other, ended = (self.new(store) for _ in range(3))
        self.granted(store, mine, owner="w1:7", ttl=0.05)
        self.granted(store, other, owner="w2:7", ttl=0.05)
        store.settle(self.granted(store, ended, owner="w1:8"), DONE)
        for _ in range(3):
            self.elapse(0.03)
            assert store.renew("w1", [mine, other, ended]) == {mine}
            assert store.renew("w", [mine]) == frozenset()
        assert self.refused(store, mine, owner="w3:1") is Refusal.HELD
        self.granted(store, other, owner="w3:1")

    def test_renewed_job_is_not_due(self, store: Store) -> None:
        job_id = self.new(store)
        self.granted(store, job_id, ttl=0.05)
        self.elapse(0.06)
        store.renew("w1", [job_id])
        assert store.claim_recovery(job_id, 1.0) is None
        assert store.get(job_id).status is JobStatus.RUNNING

    def test_renew_many_and_none(self, store: Store) -> None:
        ids = [self.new(store) for _ in range(150)]
        for job_id in ids:
            self.granted(store, job_id)
        assert store.renew("w1", ids) == frozenset(ids)
        assert store.renew("w1", []) == frozenset()

    def test_release_frees_a_dead_attempt(self, store: Store) -> None:
        job_id = self.new(store)
        zombie = self.granted(store, job_id, owner="w1:7")
        assert store.release(job_id, "w1:8", "no") is False
        assert store.release(job_id, "w", "no") is False
        assert store.release(job_id, "w1:7", "SIGKILL") is True
        job = store.get(job_id)
        assert (job.status, job.reason, job.crashes, job.strikes) == (
            JobStatus.INTERRUPTED,
            "SIGKILL",
            1,
            1,
        )
        with raises(LeaseLostError):
            store.commit(zombie, NOTHING)
        assert self.granted(store, job_id, owner="w2:1").fence == 2
        assert store.get(job_id).crashes == 1
        assert store.release(job_id, "w1", "late") is False

    def test_release_for_good(self, store: Store) -> None:
        for status, error in ((JobStatus.FAILED, "time limit"), (JobStatus.CANCELLED, None)):
            job_id = self.new(store)
            zombie = self.granted(store, job_id, owner="w1:7", ttl=0.01)
            assert store.release(job_id, "w1:7", "time limit", status) is True
            job = store.get(job_id)
            assert (job.status, job.reason, job.error) == (status, "time limit", error)
            assert (job.crashes, job.worker, job.lease_until) == (0, None, None)
            assert job.ended_at is not None
            with raises(LeaseLostError):
                store.settle(zombie, DONE)
            self.elapse(0.02)
            assert store.claim_recovery(job_id, 1.0) is None
            assert self.refused(store, job_id) is Refusal.SETTLED
