"""The keeper: what it renews, what it carries on, and what it leaves alone."""

import pytest

from milepost.clock import SystemClock
from milepost.codecs.json import JsonCodec
from milepost.engine.aftermath import Aftermath
from milepost.engine.recovery import AGAIN_AFTER, BATCH, Keeper
from milepost.errors import StoreUnavailableError
from milepost.events import JobExpired, JobRecovered
from milepost.history import Act
from milepost.jobs.explain import explain
from milepost.model import Delivery, Granted, JobStatus, NewJob, Settlement, Signal
from milepost.observer import Emitter
from milepost.runtime import Runtime
from milepost.settings import Settings
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock


class World:
    """A store, a clock, and a keeper whose sends are kept in a list."""

    def __init__(self):
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.sent, self.events = [], []
        self.queue_is_empty, self.aftermath = True, Aftermath.OPEN
        runtime = Runtime(
            Settings(), self.store, JsonCodec(), SystemClock(), Emitter([self.events.append])
        )
        self.keeper = Keeper(
            runtime,
            "w1",
            resend=self.send,
            is_lost=lambda job: self.queue_is_empty,
            aftermath=lambda job: self.aftermath,
            knows=lambda job: job.task == "t",
        )

    def send(self, job, finishing):
        self.sent.append((job.id, finishing))

    def job(self, job_id="j", **changes):
        self.store.create(NewJob(job_id, "t", b"m", **changes))
        return job_id

    def claim(self, job_id="j", owner="w1:7", ttl=3.0, number=0):
        claim = self.store.claim(Delivery(job_id, "t", number), owner, ttl)
        assert isinstance(claim, Granted)
        return claim.lease

    def job_that_succeeded(self):
        """Have a job whose worker died before anybody did what follows the body."""
        self.job()
        end = Settlement(JobStatus.SUCCEEDED, finishing=True)
        self.store.settle(self.claim(owner="dead:1"), end)


@pytest.fixture
def world():
    return World()


def test_running_jobs_are_renewed(world):
    """What was accepted and has not ended keeps its lease, however long it takes."""
    world.job()
    world.keeper.started("j")
    world.claim()
    for _ in range(10):
        world.clock.advance(1)
        world.keeper.renew()
    assert world.keeper.recover() == 0
    assert world.store.get("j").crashes == 0


def test_a_job_that_ended_is_not_renewed(world):
    world.job()
    world.keeper.started("j")
    lease = world.claim()
    world.store.settle(lease, Settlement(JobStatus.SUCCEEDED, finishing=True))
    world.keeper.ended(["j"])
    world.keeper.renew()
    assert world.keeper.is_idle
    world.clock.advance(100)
    assert world.keeper.recover() == 0


def test_a_lapsed_job_is_sent_again_once(world):
    """Its worker is silent for longer than the lease: somebody else's keeper sends it."""
    world.job()
    world.claim(owner="dead:1")
    world.clock.advance(3.1)
    assert world.keeper.recover() == 1
    assert world.keeper.recover() == 0
    assert world.sent == [("j", False)]
    assert world.events == [JobRecovered("j", "t", 1, False)]


def test_a_dead_process_frees_its_lease_at_once(world):
    world.job()
    world.keeper.started("j")
    world.claim()
    world.keeper.lost("j", 7, "signal 9")
    job = world.store.get("j")
    assert (job.status, job.reason, job.crashes) == (JobStatus.INTERRUPTED, "signal 9", 1)
    world.claim(owner="w1:8")


def test_a_job_that_was_deleted_keeps_no_other_from_being_sent_again(world):
    """Both lost their processes, and nobody else brings their messages back soon."""
    for job_id, process in (("gone", 7), ("j", 8)):
        world.job(job_id)
        world.keeper.started(job_id)
        world.claim(job_id, owner=f"w1:{process}")
        world.keeper.lost(job_id, process, "signal 9", resend=True)
    world.store.delete("gone")
    world.keeper.recover()
    assert world.sent == [("j", False)]


def test_the_wrong_process_frees_nothing(world):
    world.job()
    world.claim(owner="w1:7")
    world.keeper.lost("j", 8, "signal 9")
    assert world.store.get("j").status is JobStatus.RUNNING


def test_a_pending_job_waits_its_turn_in_a_full_queue(world):
    """A full queue explains why a job has not started; another message would not help."""
    world.job(resend_after=60.0)
    world.queue_is_empty = False
    world.clock.advance(61)
    world.keeper.recover()
    assert world.sent == []
    world.queue_is_empty = True
    world.clock.advance(11)
    world.keeper.recover()
    assert world.sent == [("j", False)]


def test_a_retry_waits_its_turn_too(world):
    world.job()
    lease = world.claim()
    world.store.settle(
        lease,
        Settlement(JobStatus.SCHEDULED, "retry: OSError", delay=5, resend_after=30, delivery=1),
    )
    world.queue_is_empty = False
    world.clock.advance(36)
    world.keeper.recover()
    assert world.sent == []


def test_a_snoozing_job_wakes_whatever_the_queue_holds(world):
    world.job()
    world.store.settle(world.claim(), Settlement(JobStatus.SCHEDULED, "snoozing", delay=5))
    world.queue_is_empty = False
    world.clock.advance(4)
    world.keeper.recover()
    assert world.sent == []
    world.clock.advance(2)
    world.keeper.recover()
    assert world.sent == [("j", False)]


def test_a_resumed_job_is_sent_whatever_the_queue_holds(world):
    world.job()
    world.store.settle(world.claim(), Settlement(JobStatus.PAUSED))
    world.store.resume("j")
    world.queue_is_empty = False
    world.keeper.recover()
    assert world.sent == [("j", False)]


def test_a_death_between_outcome_and_callbacks_is_made_up_for(world):
    """The body has run and is not run again: only what Celery does afterwards is sent."""
    world.job_that_succeeded()
    world.clock.advance(3.1)
    world.keeper.recover()
    assert world.sent == [("j", True)]


def test_a_finished_job_is_only_taken_out(world):
    world.job_that_succeeded()
    world.aftermath = Aftermath.DONE
    world.clock.advance(3.1)
    world.keeper.recover()
    world.clock.advance(1000)
    assert world.keeper.recover() == 0
    assert world.sent == []


def test_what_somebody_is_doing_is_looked_at_again(world):
    """Who has claimed the right to send a chord's body may be dead: wait, do not forget."""
    world.job_that_succeeded()
    world.aftermath = Aftermath.UNDER_WAY
    world.clock.advance(3.1)
    world.keeper.recover()
    assert world.sent == []
    world.aftermath = Aftermath.OPEN
    world.clock.advance(AGAIN_AFTER)
    world.keeper.recover()
    assert world.sent == [("j", True)]


def test_one_bad_message_does_not_stop_the_others(world):
    for job_id in ("a", "b"):
        world.job(job_id)
        world.claim(job_id, owner="dead:1")
    world.clock.advance(3.1)
    real = world.send

    def send(job, finishing):
        if job.id == "a":
            raise ValueError("unreadable")
        real(job, finishing)

    world.keeper._resend = send
    world.keeper.recover()
    assert world.sent == [("b", False)]
    world.claim("b", ttl=60)
    world.keeper._resend = real
    world.clock.advance(10.1)
    world.keeper.recover()
    assert world.sent == [("b", False), ("a", False)]


def test_an_unreachable_store_is_an_error_to_the_caller_and_costs_nothing(world):
    world.job()
    world.keeper.started("j")
    world.claim()

    def away(*_):
        raise StoreUnavailableError("memory", "away")

    renew, world.store.renew = world.store.renew, away
    with pytest.raises(StoreUnavailableError):
        world.keeper.renew()
    world.store.renew = renew
    world.clock.advance(2)
    world.keeper.renew()
    world.clock.advance(2)
    assert world.keeper.recover() == 0


def test_a_revoked_job_does_not_come_back(world):
    """Celery discards its message, so the recovery must not send another."""
    world.job("waiting", resend_after=1.0)
    world.job("running")
    world.claim("running", owner="w1:7")
    world.keeper.revoked("waiting", None, "revoked")
    world.keeper.revoked("running", 7, "terminated")
    world.keeper.revoked("nobody", None, "expired")
    world.keeper.told("waiting")
    world.keeper.renew()
    for job_id in ("waiting", "running"):
        assert world.store.get(job_id).status is JobStatus.CANCELLED
    world.clock.advance(100)
    assert world.keeper.recover() == 0


def test_an_expired_job_says_so(world):
    """In its record, its history, what explains it, and to observers."""
    reason = "expired: it had not begun by 2026-11-28 09:30:00 UTC"
    world.job()
    world.keeper.revoked("j", None, reason)
    world.keeper.revoked("j", None, reason)  # another message of it
    job = world.store.get("j")
    assert (job.status, job.reason, job.history[-1].note) == (JobStatus.CANCELLED, reason, reason)
    assert world.events == [JobExpired("j", "t", reason)]
    assert explain(job, 60.0, None).summary == f"It has {reason}; retry lets it run all the same."


def test_a_job_that_expires_while_it_runs_has_not_expired(world):
    """Another message of it was quicker; this one is only asked to stop."""
    world.job()
    world.claim("j")
    world.keeper.revoked("j", None, "expired: it had not begun by 2026-11-28 09:30:00 UTC")
    assert world.store.get("j").status is JobStatus.RUNNING
    assert world.events == []


def test_a_revoked_job_whose_end_celery_was_not_told_of_is_told_again(world):
    world.job(resend_after=1.0)
    world.keeper.revoked("j", None, "revoked")
    world.clock.advance(11)
    world.keeper.recover()
    assert world.sent == [("j", True)]


def test_a_job_that_was_cancelled_by_force_is_stopped_where_it_runs(world):
    stopped = []
    world.keeper._stop = lambda *what: stopped.append(what)
    for job_id in ("mine", "other"):
        world.job(job_id)
        world.keeper.started(job_id)
    world.claim("mine", owner="w1:7")
    world.claim("other", owner="w2:7")
    world.keeper.renew()
    for job_id in ("mine", "other"):
        world.store.signal(job_id, Signal.CANCEL, force=True)
    world.keeper.renew()
    assert stopped == [("mine", "w1:7")]


def test_a_job_that_ended_by_itself_is_not_stopped(world):
    world.keeper._stop = lambda *_: 1 / 0
    for status in (JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.PAUSED):
        world.job(status)
        world.keeper.started(status)
        world.store.settle(world.claim(status), Settlement(status))
    world.keeper.started("never-recorded")
    world.keeper.renew()


@pytest.mark.parametrize("act", ["resume", "wake", "retry", "restart"])
def test_a_job_that_somebody_lets_go_on_is_sent_whatever_its_queue_holds(world, act):
    """Its own message may have been dropped while it was not to run."""
    world.queue_is_empty = False
    world.job(delay=60.0 if act == "wake" else 0.0)
    if act == "wake":
        world.store.wake("j")
    elif act == "resume":
        world.store.signal("j", Signal.PAUSE)
        world.store.resume("j")
    else:
        world.store.signal("j", Signal.CANCEL)
        world.store.reopen("j", Act(act))
    world.keeper.recover()
    assert world.sent == [("j", False)]


def test_a_signal_waits_for_a_job_that_was_lost(world):
    world.job()
    world.claim(owner="dead:1")
    world.store.signal("j", Signal.CANCEL)
    world.clock.advance(3.1)
    world.keeper.recover()
    assert world.store.get("j").signal is Signal.CANCEL


def test_purge_drops_what_is_past_its_retention(world):
    """Stores that do not expire records themselves are swept by every worker."""
    world.job()
    world.store.settle(world.claim(), Settlement(JobStatus.SUCCEEDED))
    world.clock.advance(8 * 86400)
    world.keeper.purge()
    assert world.store._records == {}


def test_a_job_of_another_app_is_left_to_its_own_keeper(world, caplog):
    """It stays due, so that a keeper which has its task takes it; the log says so once."""
    world.store.create(NewJob("other", "theirs", b"m", resend_after=5.0))
    world.store.create(NewJob("second", "theirs", b"m", resend_after=5.0))
    world.job(resend_after=6.0)
    world.clock.advance(7)
    assert world.keeper.recover() == 3
    assert world.keeper.recover() == 0
    assert world.sent == [("j", False)]
    assert set(world.store.due(10)) == {"other", "second"}
    assert caplog.text.count("'theirs'") == 1


def test_many_jobs_of_another_app_hide_none_of_ours(world):
    for number in range(BATCH * 2):
        world.store.create(NewJob(f"other{number}", "theirs", b"m", resend_after=5.0))
    world.job(resend_after=6.0)
    world.clock.advance(7)
    while world.keeper.recover() >= BATCH:
        pass
    assert world.sent == [("j", False)]
