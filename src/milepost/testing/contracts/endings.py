"""How attempts and jobs end, and how long they are remembered."""

from milepost.errors import (
    JobNotFoundError,
    LeaseLostError,
)
from milepost.model import (
    Delta,
    JobStatus,
    NewJob,
    Progress,
    Settlement,
)
from milepost.store import Store
from milepost.testing.contracts.base import DONE, StoreCase, raises


class EndingContract(StoreCase):
    """How attempts and jobs end, and how long they are remembered."""

    def test_settle_keeps_the_outcome(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.settle(
            lease,
            Settlement(
                JobStatus.SUCCEEDED, result=b"\x00r", delta=Delta({"a": b"1"}, (), Progress(5, 5))
            ),
        )
        job = store.get(job_id)
        assert (job.status, job.result, job.progress) == (
            JobStatus.SUCCEEDED,
            b"\x00r",
            Progress(5, 5),
        )
        assert (job.worker, job.lease_until, job.heartbeat_at) == (None, None, None)
        assert job.ended_at is not None
        assert store.load(job_id) == {"a": b"1"}

    def test_settle_failed_keeps_the_error(self, store: Store) -> None:
        job_id = self.new(store)
        store.settle(
            self.granted(store, job_id),
            Settlement(JobStatus.FAILED, "boom happened", error="ValueError: böm"),
        )
        job = store.get(job_id)
        assert (job.error, job.reason) == ("ValueError: böm", "boom happened")

    def test_settle_twice_is_refused(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.settle(lease, DONE)
        with raises(LeaseLostError):
            store.settle(lease, Settlement(JobStatus.FAILED))
        assert store.get(job_id).status is JobStatus.SUCCEEDED

    def test_interruptions_are_counted_apart_from_crashes(self, store: Store) -> None:
        job_id = self.new(store)
        store.settle(self.granted(store, job_id), Settlement(JobStatus.INTERRUPTED, delay=0.0))
        job = store.get(job_id)
        assert (job.interruptions, job.crashes, job.strikes) == (1, 0, 0)

    def test_retry_settles_as_scheduled(self, store: Store) -> None:
        job_id = self.new(store)
        store.settle(
            self.granted(store, job_id),
            Settlement(JobStatus.SCHEDULED, "retry", delay=30.0, delivery=1, message=b"m2"),
        )
        job = store.get(job_id)
        assert (job.status, job.delivery, job.message) == (JobStatus.SCHEDULED, 1, b"m2")
        assert job.due_at is not None
        assert job_id not in store.due(1000)

    def test_retention_counts_from_the_end(self, store: Store) -> None:
        ended, running, paused = (self.new(store) for _ in range(3))
        store.commit(lease := self.granted(store, ended), Delta({"a": b"1"}))
        store.settle(lease, DONE)
        store.commit(self.granted(store, running), Delta({"a": b"1"}))
        store.settle(
            self.granted(store, paused), Settlement(JobStatus.PAUSED, delta=Delta({"a": b"1"}))
        )
        assert store.get(ended).status is JobStatus.SUCCEEDED
        self.elapse(self.RETENTION + 0.1)
        store.purge()
        with raises(JobNotFoundError):
            store.get(ended)
        with raises(JobNotFoundError):
            store.load(ended)
        assert store.load(running) == {"a": b"1"}
        assert store.load(paused) == {"a": b"1"}
        assert store.create(NewJob(ended, "t", b"again"))

    def test_delete_forgets_everything(self, store: Store) -> None:
        job_id = self.new(store, resend_after=0.0)
        store.commit(self.granted(store, job_id), Delta({"a": b"1"}))
        store.delete(job_id)
        with raises(JobNotFoundError):
            store.load(job_id)
        assert store.claim_recovery(job_id, 1.0) is None
