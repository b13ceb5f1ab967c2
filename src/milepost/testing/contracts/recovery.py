"""How a job is found whose worker, or whose message, is lost."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from milepost.model import (
    Delta,
    JobStatus,
    Progress,
    Refusal,
    Settlement,
)
from milepost.store import Store
from milepost.testing.contracts.base import DONE, LAPSED, StoreCase


class RecoveryContract(StoreCase):
    """How a job is found whose worker, or whose message, is lost."""

    def test_lapsed_job_is_due_and_recovered_once(self, store: Store) -> None:
        job_id = self.new(store)
        self.granted(store, job_id, ttl=0.1)
        assert job_id not in store.due(1000)
        self.elapse(0.12)
        assert job_id in store.due(1000)
        recovery = store.claim_recovery(job_id, 60.0)
        assert recovery is not None
        assert recovery.finishing is False
        assert (recovery.job.status, recovery.job.message) == (JobStatus.INTERRUPTED, b"m")
        assert (recovery.job.crashes, recovery.job.strikes) == (1, 1)
        assert store.claim_recovery(job_id, 60.0) is None
        assert job_id not in store.due(1000)
        assert self.granted(store, job_id).fence == 2
        assert store.get(job_id).crashes == 1

    def test_keepers_race_for_a_recovery(self, store: Store) -> None:
        for _ in range(5):
            job_id = self.new(store)
            self.granted(store, job_id, ttl=LAPSED)
            self.elapse(0.002)
            barrier = threading.Barrier(4)

            def race(_: int, barrier: threading.Barrier = barrier, job_id: str = job_id) -> Any:
                barrier.wait()
                return store.claim_recovery(job_id, 60.0)

            with ThreadPoolExecutor(4) as pool:
                won = [r for r in pool.map(race, range(4)) if r is not None]
            assert len(won) == 1
            assert store.get(job_id).crashes == 1

    def test_lost_message_of_a_pending_job(self, store: Store) -> None:
        job_id = self.new(store, resend_after=0.1)
        assert store.claim_recovery(job_id, 60.0) is None
        self.elapse(0.12)
        assert job_id in store.due(1000)
        recovery = store.claim_recovery(job_id, 60.0)
        assert recovery is not None
        assert recovery.job.status is JobStatus.PENDING
        assert recovery.job.crashes == 0

    def test_again_after_doubles_until_a_claim(self, store: Store) -> None:
        job_id = self.new(store, resend_after=0.0)
        self.elapse(0.002)
        assert store.claim_recovery(job_id, 0.1) is not None
        self.elapse(0.11)
        assert store.claim_recovery(job_id, 0.1) is not None
        self.elapse(0.11)
        assert store.claim_recovery(job_id, 0.1) is None
        self.elapse(0.1)
        assert store.claim_recovery(job_id, 0.1) is not None

    def test_paused_and_ended_jobs_are_not_recovered(self, store: Store) -> None:
        paused, ended = self.new(store), self.new(store)
        store.settle(self.granted(store, paused), Settlement(JobStatus.PAUSED))
        store.settle(self.granted(store, ended), DONE)
        self.elapse(0.01)
        for job_id in (paused, ended):
            assert job_id not in store.due(1000)
            assert store.claim_recovery(job_id, 1.0) is None

    def test_interrupted_job_is_due_after_its_delay(self, store: Store) -> None:
        job_id = self.new(store)
        store.settle(self.granted(store, job_id), Settlement(JobStatus.INTERRUPTED, delay=0.0))
        self.elapse(0.002)
        assert job_id in store.due(1000)
        recovery = store.claim_recovery(job_id, 1.0)
        assert recovery is not None
        assert recovery.job.crashes == 0

    def test_a_left_over_message_does_not_wake_a_snoozing_job(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.settle(lease, Settlement(JobStatus.SCHEDULED, "snoozing", delay=0.2))
        assert self.refused(store, job_id) is Refusal.EARLY
        self.elapse(0.25)
        assert job_id in store.due(10)
        assert store.claim_recovery(job_id, 10.0) is not None
        self.granted(store, job_id)

    def test_a_snoozing_job_that_is_woken_starts(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.settle(lease, Settlement(JobStatus.SCHEDULED, "snoozing", delay=60.0))
        store.wake(job_id)
        self.granted(store, job_id)

    def test_what_has_a_message_of_its_own_starts_when_that_comes(self, store: Store) -> None:
        """An ETA and a retry are Celery's to keep: its clock may be a little ahead."""
        self.granted(store, self.new(store, delay=60.0))
        job_id = self.new(store)
        retry = Settlement(JobStatus.SCHEDULED, "retry", delay=60.0, resend_after=30.0, delivery=1)
        store.settle(self.granted(store, job_id), retry)
        self.granted(store, job_id, number=1)

    def test_retry_is_sent_again_only_after_its_grace(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.settle(lease, Settlement(JobStatus.SCHEDULED, delay=0.0, resend_after=0.05))
        self.elapse(0.01)
        assert store.claim_recovery(job_id, 1.0) is None
        self.elapse(0.06)
        assert store.claim_recovery(job_id, 1.0) is not None

    def test_finishing_job_stays_in_the_recovery_until_finished(self, store: Store) -> None:
        crashed, fine = self.new(store), self.new(store)
        for job_id in (crashed, fine):
            lease = self.granted(store, job_id, ttl=0.01)
            store.settle(lease, Settlement(JobStatus.SUCCEEDED, result=b"r", finishing=True))
        store.finish([fine, "nobody"])
        self.elapse(0.02)
        assert store.claim_recovery(fine, 1.0) is None
        recovery = store.claim_recovery(crashed, 1.0)
        assert recovery is not None
        assert (recovery.finishing, recovery.job.status, recovery.job.result) == (
            True,
            JobStatus.SUCCEEDED,
            b"r",
        )

    def test_due_respects_its_limit_and_order(self, store: Store) -> None:
        ids = []
        for _ in range(3):
            ids.append(self.new(store, resend_after=0.0))
            self.elapse(0.003)
        mine = [job_id for job_id in store.due(1000) if job_id in ids]
        assert mine == ids
        assert len(store.due(2)) == 2

    def test_crash_between_any_two_writes(self, store: Store) -> None:
        """Whatever the last write was, the next attempt finds all of it and nothing else."""
        job_id = self.new(store)
        for n in range(5):
            lease = self.granted(store, job_id, ttl=LAPSED)
            assert store.load(job_id) == {f"f{i}": b"%d" % i for i in range(n)}
            store.commit(lease, Delta({f"f{n}": b"%d" % n}, (), Progress(n + 1, 5)))
            self.elapse(0.002)
        store.settle(self.granted(store, job_id), Settlement(JobStatus.SUCCEEDED, result=b"ok"))
        job = store.get(job_id)
        assert (job.attempts, job.crashes, job.progress) == (6, 5, Progress(5, 5))
