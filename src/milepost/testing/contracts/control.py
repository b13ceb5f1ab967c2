"""How somebody outside asks something of a job."""

from milepost.errors import (
    InvalidTransitionError,
)
from milepost.model import (
    NOTHING,
    Delta,
    JobStatus,
    Refusal,
    Settlement,
    Signal,
)
from milepost.store import Store
from milepost.testing.contracts.base import DONE, LAPSED, StoreCase, raises


class ControlContract(StoreCase):
    """How somebody outside asks something of a job."""

    def test_signal_is_delivered_once_by_the_commit_that_reads_it(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        assert store.signal(job_id, Signal.PAUSE).status is JobStatus.RUNNING
        assert store.get(job_id).signal is Signal.PAUSE
        assert store.commit(lease, Delta({"a": b"1"})) is Signal.PAUSE
        assert store.commit(lease, NOTHING) is None
        assert store.load(job_id) == {"a": b"1"}

    def test_signal_outlives_a_crash(self, store: Store) -> None:
        job_id = self.new(store)
        self.granted(store, job_id, ttl=LAPSED)
        store.signal(job_id, Signal.CANCEL)
        assert store.commit(self.granted(store, job_id), NOTHING) is Signal.CANCEL

    def test_signal_that_was_read_but_not_obeyed_comes_again(self, store: Store) -> None:
        for die in ("taken over", "recovered", "released"):
            job_id = self.new(store)
            lease = self.granted(store, job_id, ttl=0.01 if die == "recovered" else LAPSED)
            store.signal(job_id, Signal.PAUSE)
            assert store.commit(lease, Delta({"a": b"1"})) is Signal.PAUSE
            self.elapse(0.1)
            if die == "recovered":
                assert store.claim_recovery(job_id, 60.0) is not None
            elif die == "released":
                assert store.release(job_id, "w1:1", "SIGKILL")
            lease = self.granted(store, job_id)
            assert store.commit(lease, NOTHING) is Signal.PAUSE
            assert store.commit(lease, NOTHING) is None

    def test_signal_that_was_obeyed_does_not_come_again(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.signal(job_id, Signal.PAUSE)
        assert store.commit(lease, NOTHING) is Signal.PAUSE
        store.settle(lease, Settlement(JobStatus.PAUSED))
        store.resume(job_id)
        assert store.commit(self.granted(store, job_id), NOTHING) is None

    def test_pause_of_an_interrupted_job_replaces_what_was_not_obeyed(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.signal(job_id, Signal.DRAIN)
        assert store.commit(lease, NOTHING) is Signal.DRAIN
        store.release(job_id, "w1:1", "SIGKILL")
        assert store.signal(job_id, Signal.PAUSE).signal is None
        store.resume(job_id)
        assert store.commit(self.granted(store, job_id), NOTHING) is None

    def test_signal_before_the_start(self, store: Store) -> None:
        paused, cancelled = self.new(store), self.new(store)
        assert store.signal(paused, Signal.PAUSE).status is JobStatus.PAUSED
        assert store.signal(paused, Signal.PAUSE).status is JobStatus.PAUSED
        assert self.refused(store, paused) is Refusal.PAUSED
        assert store.signal(cancelled, Signal.CANCEL).status is JobStatus.CANCELLED
        assert self.refused(store, cancelled) is Refusal.SETTLED
        assert store.signal(paused, Signal.CANCEL).status is JobStatus.CANCELLED

    def test_signal_after_the_end(self, store: Store) -> None:
        job_id = self.new(store)
        store.settle(self.granted(store, job_id), DONE)
        with raises(InvalidTransitionError):
            store.signal(job_id, Signal.CANCEL)
        with raises(InvalidTransitionError):
            store.resume(job_id)
        assert store.get(job_id).status is JobStatus.SUCCEEDED

    def test_resume_makes_a_paused_job_due(self, store: Store) -> None:
        job_id = self.new(store)
        store.settle(self.granted(store, job_id), Settlement(JobStatus.PAUSED))
        assert job_id not in store.due(1000)
        assert store.resume(job_id).status is JobStatus.PENDING
        self.elapse(0.002)
        assert job_id in store.due(1000)
        assert self.granted(store, job_id).fence == 2

    def test_resume_of_a_running_job_takes_the_pause_back(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.signal(job_id, Signal.PAUSE)
        assert store.resume(job_id).status is JobStatus.RUNNING
        assert store.commit(lease, NOTHING) is None
