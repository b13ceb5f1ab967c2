"""What a checkpoint writes, and whose is refused."""

from milepost.errors import (
    JobNotFoundError,
    LeaseLostError,
    ValueTooLargeError,
)
from milepost.model import (
    NOTHING,
    Delta,
    Granted,
    JobStatus,
    Progress,
    Settlement,
)
from milepost.store import Store
from milepost.testing.contracts.base import DONE, LAPSED, StoreCase, raises


class CheckpointContract(StoreCase):
    """What a checkpoint writes, and whose is refused."""

    def test_commit_writes_fields_and_progress(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        first = Delta({"a": b"1", "b": b"\x00\xff"}, (), Progress(3, 10))
        assert store.commit(lease, first) is None
        store.commit(lease, Delta({"a": b"2"}))
        assert store.load(job_id) == {"a": b"2", "b": b"\x00\xff"}
        assert store.get(job_id).progress == Progress(3, 10)

    def test_commit_deletes_before_it_writes(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.commit(lease, Delta({"a": b"1", "b": b"1", "c": b"1"}))
        store.commit(lease, Delta({"a": b"2"}, ("a", "b", "nothing")))
        assert store.load(job_id) == {"a": b"2", "c": b"1"}

    def test_progress_without_total(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.commit(lease, Delta(progress=Progress(7)))
        store.commit(lease, NOTHING)
        assert store.get(job_id).progress == Progress(7, None)

    def test_stale_writer_is_refused(self, store: Store) -> None:
        job_id = self.new(store)
        zombie = self.granted(store, job_id, ttl=LAPSED)
        lease = self.granted(store, job_id, owner="w2:1")
        store.commit(lease, Delta({"a": b"new"}))
        for write in (Delta({"a": b"old"}), Delta(progress=Progress(99)), NOTHING):
            with raises(LeaseLostError):
                store.commit(zombie, write)
        with raises(LeaseLostError):
            store.settle(zombie, DONE)
        assert store.load(job_id) == {"a": b"new"}
        job = store.get(job_id)
        assert (job.status, job.progress, job.worker) == (JobStatus.RUNNING, Progress(), "w2:1")

    def test_expired_but_untaken_lease_may_go_on(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id, ttl=0.01)
        self.elapse(0.03)
        store.commit(lease, Delta({"a": b"1"}))
        job = store.get(job_id)
        assert job.crashes == 0
        assert job.heartbeat_at is not None
        store.settle(lease, DONE)
        assert store.get(job_id).status is JobStatus.SUCCEEDED

    def test_commit_renews_the_lease(self, store: Store) -> None:
        """At the latest when an eighth of it is used."""
        job_id = self.new(store)
        lease = self.granted(store, job_id, ttl=0.2)
        for delta in (Delta({"a": b"1"}), Delta({"a": b"2"}), NOTHING):
            before = store.get(job_id).lease_until
            self.elapse(0.03)
            store.commit(lease, delta)
            after = store.get(job_id).lease_until
            assert before is not None
            assert after is not None
            assert after > before

    def test_commit_after_the_end_is_refused(self, store: Store) -> None:
        for status in JobStatus:
            if status in (JobStatus.RUNNING, JobStatus.PENDING):
                continue
            job_id = self.new(store)
            lease = self.granted(store, job_id)
            store.settle(lease, Settlement(status))
            with raises(LeaseLostError):
                store.commit(lease, Delta({"a": b"late"}))
            assert store.load(job_id) == {}

    def test_commit_to_a_deleted_job_is_refused(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.delete(job_id)
        with raises(LeaseLostError):
            store.commit(lease, Delta({"a": b"1"}))
        with raises(JobNotFoundError):
            store.get(job_id)

    def test_ten_thousand_fields_in_one_commit(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        fields = {f"s{n}.step": b"%d" % n for n in range(10_000)}
        store.commit(lease, Delta(fields))
        assert store.load(job_id) == fields
        store.commit(lease, Delta({}, tuple(fields)))
        assert store.load(job_id) == {}

    def test_oversized_value_writes_nothing(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        with raises(ValueTooLargeError) as caught:
            store.commit(lease, Delta({"small": b"1", "big": b"x" * (self.LIMIT + 1)}))
        assert caught.value.field == "big"
        assert store.load(job_id) == {}
        store.commit(lease, Delta({"just": b"x" * self.LIMIT}))
        with raises(ValueTooLargeError):
            store.settle(lease, Settlement(JobStatus.SUCCEEDED, result=b"x" * (self.LIMIT + 1)))
        assert store.get(job_id).status is JobStatus.RUNNING

    def test_next_attempt_finds_the_checkpoint(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id, ttl=LAPSED)
        store.commit(lease, Delta({"a": b"1"}))
        self.elapse(0.002)
        claim = self.claim(store, job_id)
        assert isinstance(claim, Granted)
        assert claim.resumed is True
        assert store.load(job_id) == {"a": b"1"}
