"""How a job gets on record, and who may run it."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

from milepost.errors import (
    JobNotFoundError,
    LeaseLostError,
    ValueTooLargeError,
)
from milepost.model import (
    Claim,
    Delivery,
    Delta,
    Granted,
    JobStatus,
    Lease,
    NewJob,
    Progress,
    Refusal,
    Settlement,
    Signal,
    Unknown,
)
from milepost.store import Store
from milepost.testing.contracts.base import LAPSED, StoreCase, pytest, raises


class StartingContract(StoreCase):
    """How a job gets on record, and who may run it."""

    def test_created_job_is_pending(self, store: Store) -> None:
        job = store.get(self.new(store, message=b"\x00\xff bytes", delivery=2))
        assert (job.status, job.task, job.message) == (JobStatus.PENDING, "t", b"\x00\xff bytes")
        assert (job.fence, job.attempts, job.delivery, job.worker) == (0, 0, 2, None)
        assert job.progress == Progress()

    def test_created_with_delay_is_scheduled(self, store: Store) -> None:
        job = store.get(self.new(store, delay=30.0))
        assert job.status is JobStatus.SCHEDULED
        assert job.due_at is not None
        assert 29.0 < job.due_at - job.created_at < 31.0

    def test_create_twice_keeps_the_first(self, store: Store) -> None:
        job_id = self.new(store)
        assert not store.create(NewJob(job_id, "other", b"x"))
        assert store.get(job_id).task == "t"

    def test_create_leaves_a_running_job_alone(self, store: Store) -> None:
        job_id = self.new(store)
        self.granted(store, job_id)
        assert not store.create(NewJob(job_id, "t", b"x"))
        assert store.get(job_id).status is JobStatus.RUNNING

    def test_unknown_job(self, store: Store) -> None:
        for ask in (store.get, store.load, store.resume):
            with raises(JobNotFoundError):
                ask("nobody")
        with raises(JobNotFoundError):
            store.signal("nobody", Signal.PAUSE)
        assert store.claim_recovery("nobody", 1.0) is None
        assert store.release("nobody", "w1", "x") is False
        assert store.renew("w1", ["nobody"]) == frozenset()
        store.delete("nobody")

    def test_oversized_message(self, store: Store) -> None:
        with raises(ValueTooLargeError):
            store.create(NewJob("big", "t", b"x" * (self.LIMIT + 1)))
        with raises(JobNotFoundError):
            store.get("big")

    def test_claim_refuses_a_message_that_is_too_large(self, store: Store) -> None:
        """By the same call in every store, whether the job is on record or not."""
        known, big = self.new(store, message=b"small"), b"x" * (self.LIMIT + 1)
        for job_id in (known, "big"):
            with raises(ValueTooLargeError) as caught:
                store.claim(Delivery(job_id, "t", 1, big), "w1:1", 30.0)
            error = caught.value
            assert (error.field, error.size, error.limit) == ("message", len(big), self.LIMIT)
        job = store.get(known)
        assert (job.status, job.message, job.fence) == (JobStatus.PENDING, b"small", 0)
        with raises(JobNotFoundError):
            store.get("big")
        self.granted(store, known)
        with raises(ValueTooLargeError):
            store.claim(Delivery(known, "t", 1, big), "w2:1", 30.0)
        assert store.get(known).worker == "w1:1"

    def test_sizes_are_looked_at_before_the_record(self, store: Store) -> None:
        """What is too large is so for every job, also for one that nobody knows."""
        lease, big = Lease("nobody", "w1:1", 1, 30.0), b"x" * (self.LIMIT + 1)
        with raises(ValueTooLargeError):
            store.commit(lease, Delta({"a": big}))
        with raises(ValueTooLargeError):
            store.settle(lease, Settlement(JobStatus.SUCCEEDED, result=big))
        with raises(ValueTooLargeError):
            store.settle(lease, Settlement(JobStatus.SCHEDULED, message=big))

    def test_first_claim_is_granted(self, store: Store) -> None:
        job_id = self.new(store)
        claim = self.claim(store, job_id, ttl=30.0)
        assert isinstance(claim, Granted)
        assert claim.lease == Lease(job_id, "w1:1", 1, 30.0)
        assert claim.resumed is False
        job = claim.job
        assert (job.status, job.fence, job.attempts, job.crashes) == (JobStatus.RUNNING, 1, 1, 0)
        assert job.message == b"m"
        assert job.started_at is not None
        assert job == store.get(job_id)

    def test_live_lease_is_held(self, store: Store) -> None:
        job_id = self.new(store)
        self.granted(store, job_id)
        assert self.refused(store, job_id, owner="w2:1") is Refusal.HELD
        assert store.get(job_id).worker == "w1:1"

    def test_unknown_without_message(self, store: Store) -> None:
        assert self.claim(store, "nobody") == Unknown("nobody")

    def test_unknown_with_message_is_recorded_and_granted(self, store: Store) -> None:
        job_id = uuid.uuid4().hex
        claim = store.claim(Delivery(job_id, "t", 3, b"sig"), "w1:1", 60.0)
        assert isinstance(claim, Granted)
        job = store.get(job_id)
        assert (job.task, job.message, job.delivery, job.fence) == ("t", b"sig", 3, 1)

    def test_terminal_is_settled(self, store: Store) -> None:
        for status in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED):
            job_id = self.new(store)
            store.settle(self.granted(store, job_id), Settlement(status))
            assert self.refused(store, job_id) is Refusal.SETTLED
            assert self.refused(store, job_id, number=9) is Refusal.SETTLED

    def test_paused_is_refused(self, store: Store) -> None:
        job_id = self.new(store)
        store.settle(self.granted(store, job_id), Settlement(JobStatus.PAUSED, "why"))
        assert self.refused(store, job_id) is Refusal.PAUSED
        assert store.get(job_id).reason == "why"

    def test_lower_delivery_is_stale(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.settle(lease, Settlement(JobStatus.SCHEDULED, delay=0.0, delivery=1))
        assert self.refused(store, job_id, number=0) is Refusal.STALE
        self.granted(store, job_id, number=1)

    def test_higher_delivery_takes_a_live_lease_over(self, store: Store) -> None:
        job_id = self.new(store)
        old = self.granted(store, job_id)
        new = self.granted(store, job_id, number=1, owner="w2:1")
        assert new.fence == old.fence + 1
        job = store.get(job_id)
        assert (job.crashes, job.delivery, job.worker) == (0, 1, "w2:1")
        with raises(LeaseLostError):
            store.settle(old, Settlement(JobStatus.SCHEDULED, delay=60.0, delivery=1))
        assert store.get(job_id).status is JobStatus.RUNNING

    def test_lapsed_lease_is_taken_over_as_a_crash(self, store: Store) -> None:
        job_id = self.new(store)
        old = self.granted(store, job_id, ttl=LAPSED)
        new = self.granted(store, job_id, owner="w2:1")
        job = store.get(job_id)
        assert (new.fence, job.crashes, job.strikes, job.attempts) == (old.fence + 1, 1, 1, 2)

    def test_fence_only_grows(self, store: Store) -> None:
        job_id = self.new(store)
        fences = []
        for _ in range(4):
            lease = self.granted(store, job_id)
            fences.append(lease.fence)
            store.settle(lease, Settlement(JobStatus.INTERRUPTED, delay=0.0))
        assert fences == [1, 2, 3, 4]

    def test_lease_doubles_while_nothing_is_checkpointed(self, store: Store) -> None:
        job_id = self.new(store)
        seconds = []
        for _ in range(5):
            lease = self.granted(store, job_id, ttl=0.01)
            seconds.append(lease.seconds)
            self.elapse(lease.seconds + 0.005)
        assert seconds == pytest.approx([0.01, 0.01, 0.02, 0.04, 0.08])
        store.commit(lease, Delta({"a": b"1"}))
        self.elapse(0.09)
        assert self.granted(store, job_id, ttl=0.01).seconds == pytest.approx(0.01)

    def test_two_claimants_race_in_threads(self, store: Store) -> None:
        for _ in range(10):
            job_id = self.new(store)
            barrier = threading.Barrier(4)

            def race(
                owner: str, barrier: threading.Barrier = barrier, job_id: str = job_id
            ) -> Claim:
                barrier.wait()
                return self.claim(store, job_id, owner=owner)

            with ThreadPoolExecutor(4) as pool:
                claims = list(pool.map(race, [f"w{n}:1" for n in range(4)]))
            assert [type(c) for c in claims].count(Granted) == 1
            assert store.get(job_id).fence == 1
