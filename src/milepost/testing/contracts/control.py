"""How somebody outside asks something of a job."""

from itertools import pairwise

from milepost.errors import (
    InvalidTransitionError,
    JobNotFoundError,
    LeaseLostError,
    ValueTooLargeError,
)
from milepost.history import Act
from milepost.model import (
    NOTHING,
    Delta,
    Granted,
    JobStatus,
    Progress,
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

    def test_resume_sets_fields_of_a_paused_job(self, store: Store) -> None:
        fresh, running = self.new(store), self.new(store)
        store.signal(fresh, Signal.PAUSE)
        store.resume(fresh, writes={"g": b"\x001", "a": b"2"})
        assert store.load(fresh) == {"g": b"\x001", "a": b"2"}
        claim = self.claim(store, fresh)
        assert isinstance(claim, Granted)
        assert claim.resumed
        lease = self.granted(store, running)
        store.commit(lease, Delta({"a": b"1", "b": b"1"}))
        store.resume(running, writes={"a": b"2"})
        assert store.load(running)["a"] == b"1"
        store.settle(lease, Settlement(JobStatus.PAUSED))
        store.resume(running, writes={"a": b"2"})
        store.resume(running, writes={"a": b"3"})
        assert store.load(running) == {"a": b"2", "b": b"1"}

    def test_resume_refuses_a_field_that_is_too_large(self, store: Store) -> None:
        job_id = self.new(store)
        store.signal(job_id, Signal.PAUSE)
        with raises(ValueTooLargeError):
            store.resume(job_id, writes={"g": b"x" * (self.LIMIT + 1)})
        assert store.get(job_id).status is JobStatus.PAUSED
        assert store.load(job_id) == {}

    def test_signal_before_the_start(self, store: Store) -> None:
        paused, cancelled = self.new(store), self.new(store)
        assert store.signal(paused, Signal.PAUSE).status is JobStatus.PAUSED
        assert store.signal(paused, Signal.PAUSE).status is JobStatus.PAUSED
        assert self.refused(store, paused) is Refusal.PAUSED
        assert store.signal(cancelled, Signal.CANCEL).status is JobStatus.CANCELLED
        assert self.refused(store, cancelled) is Refusal.SETTLED
        assert store.signal(paused, Signal.CANCEL).status is JobStatus.CANCELLED

    def test_signal_is_on_record_with_who_asked(self, store: Store) -> None:
        job_id = self.new(store)
        store.signal(job_id, Signal.PAUSE, by="ann\tof\naccounts")
        store.signal(job_id, Signal.PAUSE, by="bob")
        store.resume(job_id, by="cem")
        lease = self.granted(store, job_id)
        store.signal(job_id, Signal.CANCEL, by="dee")
        store.signal(job_id, Signal.CANCEL, by="eve")
        store.settle(lease, Settlement(JobStatus.CANCELLED, "cancelled"))
        job = store.get(job_id)
        assert [(entry.act, entry.by) for entry in job.history] == [
            *(("pause", "ann of accounts"), ("resume", "cem")),
            *(("cancel", "dee"), ("cancelled", "w1:1")),
        ]
        moments = [job.created_at, *(entry.at for entry in job.history), job.read_at]
        assert all(a <= b + 0.002 for a, b in pairwise(moments))

    def test_history_tells_of_crashes_and_of_ends_but_a_success(self, store: Store) -> None:
        job_id = self.new(store)
        self.granted(store, job_id, ttl=LAPSED)
        self.granted(store, job_id)
        store.release(job_id, "w1:1", "SIGKILL")
        lease = self.granted(store, job_id, owner="w2:2")
        store.settle(lease, Settlement(JobStatus.SCHEDULED, "retry", delay=0.0))
        store.settle(self.granted(store, job_id), DONE)
        seen = [(entry.act, entry.by, entry.note) for entry in store.get(job_id).history]
        assert [(act, by) for act, by, _ in seen] == [
            *(("crash", "w1:1"), ("crash", "w1:1"), ("scheduled", "w2:2")),
        ]
        assert seen[1][2] == "SIGKILL"
        assert seen[2][2] == "retry"

    def test_history_is_bounded(self, store: Store) -> None:
        job_id = self.new(store)
        for n in range(120):
            store.signal(job_id, Signal.PAUSE, by=f"somebody called {n:080}")
            store.resume(job_id)
        history = store.get(job_id).history
        assert history[-1].act == "resume"
        assert history[-2].by == f"somebody called {119:080}"
        assert 10 < len(history) < 200

    def test_cancelled_at_once_waits_for_celery_to_be_told(self, store: Store) -> None:
        job_id = self.new(store)
        job = store.signal(job_id, Signal.CANCEL)
        assert (job.status, job.ended_at is not None) == (JobStatus.CANCELLED, True)
        assert job_id not in store.due(1000)
        other = self.new(store)
        store.signal(other, Signal.CANCEL)
        store.finish([other])
        recovery = store.claim_recovery(job_id, 60.0)
        assert recovery is None  # not yet

    def test_force_ends_a_running_job_and_says_who_ran_it(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        job = store.signal(job_id, Signal.CANCEL, by="ann", force=True)
        assert (job.status, job.worker) == (JobStatus.CANCELLED, "w1:1")
        assert job.ended_at is not None
        with raises(LeaseLostError):
            store.commit(lease, Delta({"a": b"1"}))
        with raises(LeaseLostError):
            store.settle(lease, DONE)
        assert store.renew("w1", [job_id]) == frozenset()
        assert not store.release(job_id, "w1:1", "killed")
        assert self.refused(store, job_id) is Refusal.SETTLED
        assert store.get(job_id).history[-1].act == "cancel"

    def test_force_on_a_waiting_job_is_a_plain_cancel(self, store: Store) -> None:
        job_id = self.new(store)
        job = store.signal(job_id, Signal.CANCEL, force=True)
        assert (job.status, job.worker) == (JobStatus.CANCELLED, None)

    def test_a_cancel_may_say_why(self, store: Store) -> None:
        """Of a job that does not run it is the reason of its end; of others it is noted."""
        waiting, running = self.new(store), self.new(store)
        job = store.signal(waiting, Signal.CANCEL, by="ann", reason="expired: too late")
        assert (job.status, job.reason) == (JobStatus.CANCELLED, "expired: too late")
        self.granted(store, running)
        job = store.signal(running, Signal.CANCEL, by="ann", reason="too slow")
        assert (job.status, job.reason, job.signal) == (JobStatus.RUNNING, None, Signal.CANCEL)
        job = store.signal(running, Signal.CANCEL, force=True, reason="too slow")
        assert (job.status, job.reason) == (JobStatus.CANCELLED, "cancelled by force")
        assert [entry.note for entry in job.history] == ["too slow", "cancelled by force"]
        assert [entry.note for entry in store.get(waiting).history] == ["expired: too late"]
        odd = self.new(store)
        assert "revoked" in (store.signal(odd, Signal.CANCEL, reason="revoked \udc80").reason or "")
        paused = self.new(store)
        assert store.signal(paused, Signal.PAUSE, reason="deploy").reason == "paused"
        assert store.get(paused).history[-1].note == "deploy"
        assert store.signal(paused, Signal.CANCEL).reason == "cancelled"

    def test_wake_makes_a_waiting_job_due(self, store: Store) -> None:
        job_id = self.new(store, delay=3600.0)
        job = store.wake(job_id, by="ann")
        assert (job.status, job.history[-1].act) == (JobStatus.PENDING, "wake")
        self.elapse(0.002)
        assert job_id in store.due(1000)
        assert store.wake(job_id).status is JobStatus.PENDING
        lease = self.granted(store, job_id)
        assert store.wake(job_id).status is JobStatus.RUNNING
        store.settle(lease, Settlement(JobStatus.PAUSED, "paused"))
        with raises(InvalidTransitionError):
            store.wake(job_id)
        store.signal(job_id, Signal.CANCEL)
        with raises(InvalidTransitionError):
            store.wake(job_id)

    def test_retry_goes_on_from_the_checkpoint(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id, number=3)
        store.commit(lease, Delta({"a": b"1"}, progress=Progress(2, 3)))
        store.settle(lease, Settlement(JobStatus.FAILED, error="boom"))
        job = store.reopen(job_id, Act.RETRY, by="ann")
        assert (job.status, job.error, job.ended_at, job.delivery) == (
            *(JobStatus.PENDING, None, None, 0),
        )
        assert (job.progress.done, job.attempts, job.strikes) == (2, 1, 0)
        assert [(e.act, e.by) for e in job.history[-2:]] == [("failed", "w1:1"), ("retry", "ann")]
        self.elapse(self.RETENTION + 0.1)
        assert job_id in store.due(1000)
        again = self.claim(store, job_id)
        assert isinstance(again, Granted)
        assert (again.resumed, again.lease.fence) == (True, 2)
        assert store.load(job_id) == {"a": b"1"}
        with raises(LeaseLostError):
            store.commit(lease, NOTHING)

    def test_restart_begins_again(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.commit(lease, Delta({"a": b"1", "b": b"2", "c": b"3"}, progress=Progress(2)))
        store.settle(lease, Settlement(JobStatus.SUCCEEDED, result=b"r"))
        job = store.reopen(job_id, Act.RESTART, drop=["a", "never there"])
        assert (job.status, job.result, job.progress) == (JobStatus.PENDING, None, Progress())
        assert store.load(job_id) == {"b": b"2", "c": b"3"}
        lease = self.granted(store, job_id)
        store.settle(lease, Settlement(JobStatus.PAUSED))
        store.reopen(job_id, Act.RESTART, drop=None)
        assert store.load(job_id) == {}
        claim = self.claim(store, job_id)
        assert isinstance(claim, Granted)
        assert (claim.resumed, claim.job.rate) == (False, None)

    def test_reopened_job_is_not_finished_by_the_end_before(self, store: Store) -> None:
        job_id = self.new(store)
        end = Settlement(JobStatus.FAILED, error="boom", finishing=True)
        store.settle(self.granted(store, job_id), end)
        store.reopen(job_id, Act.RETRY)
        store.finish([job_id])
        self.elapse(0.002)
        assert job_id in store.due(1000)

    def test_reopen_of_a_job_in_another_status(self, store: Store) -> None:
        job_id = self.new(store)
        for act in (Act.RETRY, Act.RESTART):
            with raises(InvalidTransitionError):
                store.reopen(job_id, act)
        lease = self.granted(store, job_id)
        with raises(InvalidTransitionError):
            store.reopen(job_id, Act.RESTART, drop=None)
        store.commit(lease, Delta({"a": b"1"}))
        store.settle(lease, DONE)
        with raises(InvalidTransitionError):
            store.reopen(job_id, Act.RETRY, drop=None)
        assert store.load(job_id) == {"a": b"1"}
        with raises(JobNotFoundError):
            store.reopen("nobody", Act.RESTART)

    def test_control_of_an_unknown_job(self, store: Store) -> None:
        for ask in (store.resume, store.wake):
            with raises(JobNotFoundError):
                ask("nobody")
        with raises(JobNotFoundError):
            store.signal("nobody", Signal.CANCEL, force=True)

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

    def test_resume_of_a_job_that_waited_for_its_moment(self, store: Store) -> None:
        """It waits for it again; once that has come, it is due at once."""
        snoozing, woken, late = self.new(store), self.new(store, delay=3600.0), self.new(store)
        for job_id, delay in ((snoozing, 3600.0), (late, 0.2)):
            end = Settlement(JobStatus.SCHEDULED, "snoozing", delay=delay, delivery=1)
            store.settle(self.granted(store, job_id), end)
        for job_id in (snoozing, woken, late):
            due_at = store.get(job_id).due_at
            paused = store.signal(job_id, Signal.PAUSE)
            assert (paused.status, paused.due_at) == (JobStatus.PAUSED, due_at)
            assert self.refused(store, job_id, number=1) is Refusal.PAUSED
        self.elapse(0.3)
        for job_id in (snoozing, woken):
            job = store.resume(job_id, by="ann", writes={"g": b"1"})
            assert (job.status, job.due_at) == (JobStatus.SCHEDULED, store.get(job_id).due_at)
            assert (job.reason, job.history[-1].act, job.history[-1].by) == (None, "resume", "ann")
            assert job.due_at is not None
            assert job.due_at > job.read_at + 3000.0
            assert job_id not in store.due(1000)
            assert store.load(job_id) == {"g": b"1"}
            assert self.refused(store, job_id, number=job.delivery) is Refusal.EARLY
        job = store.resume(late)
        assert job.status is JobStatus.PENDING
        assert store.wake(woken).status is JobStatus.PENDING
        self.elapse(0.002)
        assert {late, woken} <= set(store.due(1000))
        assert store.signal(snoozing, Signal.CANCEL).due_at is None

    def test_resume_of_a_running_job_takes_the_pause_back(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.signal(job_id, Signal.PAUSE)
        assert store.resume(job_id).status is JobStatus.RUNNING
        assert store.commit(lease, NOTHING) is None
