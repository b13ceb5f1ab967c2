"""Pause, resume, cancel and restart of running work, and what the canvas around it sees."""

import threading
import time

import pytest
from celery.events.state import State
from celery.exceptions import ChordError, TaskRevokedError
from workers import wait_until

from services import start_redis

MORE = sum(range(40))
POOLS = pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])


def until(site, job, status):
    return wait_until(
        lambda: (r := site.jobs.get(job)).status == status and r, f"{job} is {status}"
    )


def pause_at(site, job, item):
    """Pause a job at an item; returns its record once it is paused."""
    site.wait_for_item(job, item)
    site.jobs.pause(job, by="ann")
    return until(site, job, "paused")


@POOLS
def test_a_pause_frees_the_slot_and_a_resume_goes_on(make_site, pool):
    """With one slot only, other work runs meanwhile; a caller that waits gets the result."""
    site = make_site("redis")
    site.start_worker(pool, concurrency=1)
    job = site.send("count", 40, 0.03)
    got = []
    waiter = threading.Thread(target=lambda: got.append(job.get(timeout=60)))
    waiter.start()
    asked = time.monotonic()
    record = pause_at(site, job.id, 10)
    print(f"paused {time.monotonic() - asked:.2f} s after the item was seen")
    assert site.send("add", 1, 2).get(timeout=20) == 3
    assert (job.state, site.jobs.get(job.id).status) == ("PAUSED", "paused")
    site.jobs.resume(job.id, by="bob")
    waiter.join(60)
    assert got == [MORE]
    assert site.redone(job.id) == 0
    record = site.wait_for_end(job.id)
    assert (record.attempts, record.crashes, record.interruptions, record.delivery) == (2, 0, 0, 0)
    assert [(entry.act, entry.by) for entry in record.history if entry.by in ("ann", "bob")] == [
        *(("pause", "ann"), ("resume", "bob"))
    ]


def test_a_pause_within_a_chain_and_a_chord(make_site):
    """What follows waits, and goes on after the resume, once."""
    site = make_site("redis+sqlite")
    site.start_worker(concurrency=3)
    project = site.project
    chain = (project.add.s(1, 2) | project.count_more.s(40, 0.02) | project.note.s("end"))()
    pause_at(site, chain.parent.id, 5)
    header = [project.count_more.s(0, 40, 0.02), project.add.s(1, 1)]
    body = project.note.s("chord-body")
    chord = project.celery_chord(header, body).apply_async()
    member = chord.parent.results[0]
    pause_at(site, member.id, 5)
    assert site.effects(word="end") == site.effects(word="chord-body") == []
    site.jobs.bulk("resume", status="paused")
    assert chain.get(timeout=40) == 3 + MORE
    assert sorted(chord.get(timeout=40)) == [2, MORE]
    assert len(site.effects(word="end")) == len(site.effects(word="chord-body")) == 1


def test_a_chord_outlives_the_expiry_of_results(make_site):
    """A member that is paused for longer than ``result_expires`` does not cost the chord."""
    site = make_site("redis", conf={"result_expires": 4, "result_chord_expires": 4})
    site.start_worker(concurrency=2)
    project = site.project
    header = [project.count_more.s(0, 40, 0.02), project.add.s(1, 1)]
    chord = project.celery_chord(header, project.note.s("chord-body")).apply_async()
    member = chord.parent.results[0]
    pause_at(site, member.id, 5)
    paused_at = time.monotonic()
    backend = site.app.backend
    key = backend.get_key_for_group(chord.parent.id, ".j")
    wait_until(lambda: time.monotonic() - paused_at > 9, "twice the expiry", limit=20, interval=0.2)
    assert backend.client.exists(key)
    site.jobs.resume(member.id)
    assert site.wait_for(None, "chord-body")


@pytest.mark.parametrize("when", ["waiting", "running", "paused"])
def test_a_cancelled_member_fails_its_chord(make_site, when):
    """As with a revoked task: the chord's callback fails, and its errback is called."""
    site = make_site("redis")
    if when != "waiting":
        site.start_worker(concurrency=2)
    project = site.project
    header = [project.count_more.s(0, 4000, 0.02), project.add.s(1, 1)]
    body = project.note.s("chord-body").on_error(project.note_error.s())
    chord = project.celery_chord(header, body).apply_async()
    member = chord.parent.results[0]
    if when == "running":
        site.wait_for_item(member.id, 3)
    elif when == "paused":
        pause_at(site, member.id, 3)
    site.jobs.cancel(member.id, by="ann")
    until(site, member.id, "cancelled")
    if when == "waiting":
        site.start_worker(concurrency=2)
    with pytest.raises(TaskRevokedError):
        member.get(timeout=30)
    with pytest.raises((ChordError, TaskRevokedError)):
        chord.get(timeout=30)
    assert site.wait_for(None, "errback")
    assert site.effects(word="chord-body") == []


def test_a_cancelled_link_stops_its_chain(make_site):
    """Nothing after it runs; who waits for it is told, its errback is not called."""
    site = make_site("redis+sqlite")
    site.start_worker()
    project = site.project
    middle = project.count_more.s(4000, 0.02).on_error(project.note_error.s())
    chain = (project.add.s(1, 2) | middle | project.note.s("end"))()
    site.wait_for_item(chain.parent.id, 3)
    site.jobs.cancel(chain.parent.id)
    until(site, chain.parent.id, "cancelled")
    with pytest.raises(TaskRevokedError):
        chain.parent.get(timeout=20)
    probe = site.send("add", 1, 2)
    probe.get(timeout=20)
    assert site.effects(word="end") == site.effects(word="errback") == []


@POOLS
def test_force_cancels_what_does_not_checkpoint(make_site, pool):
    """Its process is killed where there is one; elsewhere it ends unheard."""
    site = make_site("redis")
    site.start_worker(pool, concurrency=1 if pool == "solo" else 2)
    seconds = 300 if pool == "prefork" else 6
    job = site.send("be_slow", seconds)
    site.wait_for(job.id, "body")
    assert site.jobs.cancel(job.id, force=True, by="ann").status == "cancelled"
    with pytest.raises(TaskRevokedError):
        job.get(timeout=30)
    assert site.send("add", 1, 2).get(timeout=30) == 3
    assert site.jobs.get(job.id).status == "cancelled"
    assert len(site.effects(job.id, "body")) == 1
    again = site.jobs.restart(job.id)
    assert again.status == "pending"
    assert len(site.wait_for(job.id, "body", 2)) == 2
    site.jobs.cancel(job.id, force=True)


def test_a_failed_job_is_retried_from_its_checkpoint(make_site):
    """After a fix, say: what was done is not done again."""
    site = make_site("redis+postgres")
    site.start_worker()
    job = site.send("fail_until", 40, 25)
    assert site.wait_for_end(job.id).status == "failed"
    wait_until(lambda: job.state == "FAILURE", "Celery shows it")
    (site.folder / "fixed").touch()
    site.jobs.retry(job.id, by="ann")
    record = site.wait_for_end(job.id)
    assert site.jobs.result(job.id) == MORE
    stored = site.app.backend.get_task_meta
    wait_until(lambda: stored(job.id)["result"] == MORE, "Celery has the new result")
    assert (record.status, record.attempts, record.error) == ("succeeded", 2, None)
    assert site.redone(job.id) <= 1


def test_a_snoozing_job_is_woken(make_site):
    site = make_site("files+sqlite")
    site.start_worker()
    job = site.send("snooze_once", 3600)
    until(site, job.id, "scheduled")
    site.jobs.wake(job.id, by="ann")
    assert job.get(timeout=30) == "awake"


def test_a_scheduled_job_that_is_paused_and_resumed_begins_at_its_moment(make_site):
    site = make_site("redis")
    site.start_worker()
    job = site.send("count", 3, countdown=5)
    due_at = until(site, job.id, "scheduled").due_at
    site.jobs.pause(job.id)
    assert site.jobs.resume(job.id).status == "scheduled"
    assert job.get(timeout=40) == 3
    assert site.wait_for_end(job.id).started_at >= due_at


def test_monitors_see_a_pause(make_site):
    """What Flower and ``celery events`` keep of a task: PAUSED, then RESUMED, then SUCCESS."""
    site = make_site("redis")
    site.start_worker(options=["-E"])
    state, seen = State(), []

    def take(event):
        state.event(event)
        if event.get("uuid") == job.id:
            seen.append(state.tasks[job.id].state)

    with site.app.connection_for_read() as connection:
        receiver = site.app.events.Receiver(connection, handlers={"*": take})
        # One capture to the end: each new one subscribes anew, and misses what is sent between.
        thread = threading.Thread(
            target=lambda: receiver.capture(limit=None, timeout=None, wakeup=False), daemon=True
        )
        job = site.project.count.s(40, 0.03).freeze()
        thread.start()
        wait_until(lambda: _listens(site), "the receiver listens")
        site.project.count.apply_async((40, 0.03), task_id=job.id)
        pause_at(site, job.id, 10)
        wait_until(lambda: "PAUSED" in seen, "PAUSED is seen")
        site.jobs.resume(job.id)
        wait_until(lambda: "SUCCESS" in seen, "SUCCESS is seen")
        receiver.should_stop = True
        thread.join(30)
    order = list(dict.fromkeys(seen))
    assert order.index("PAUSED") < order.index("RESUMED") < order.index("SUCCESS")


def _listens(site):
    with site.app.connection_for_read() as connection:
        names = connection.default_channel.client.keys("_kombu.binding.celeryev")
        return bool(names)


def test_a_frozen_redis_hangs_no_control_act(make_site):
    """The record is in another store; what Celery should be told is left to a keeper."""
    redis = start_redis()
    try:
        site = make_site("redis+sqlite", broker=redis.url)
        job, other = site.send("count", 5), site.send("count", 5)
        site.jobs.pause(job.id)
        redis.freeze()
        began = time.monotonic()
        assert site.jobs.resume(job.id).status == "pending"
        assert site.jobs.cancel(other.id).status == "cancelled"
        assert time.monotonic() - began < 30
        redis.thaw()
        site.start_worker()
        assert job.get(timeout=40) == 10
        with pytest.raises(TaskRevokedError):
            other.get(timeout=40)
    finally:
        redis.stop()
