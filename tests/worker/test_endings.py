"""How jobs end when it is not their body that ends them well."""

import os
import signal

import pytest
from celery.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

from milepost.errors import CrashLimitError


def test_a_job_that_kills_its_process_each_time(make_site):
    """After ``max_crashes`` deaths without a checkpoint it fails, with the reason."""
    site = make_site("redis")
    site.start_worker()
    job = site.send("kill_itself", link_error=site.project.note_error.s())
    with pytest.raises(CrashLimitError):
        job.get(timeout=40)
    record = site.wait_for_end(job.id)
    assert record.status == "failed"
    assert "max_crashes=2" in record.error
    assert len(site.effects(job.id, "body")) == 3
    assert len(site.wait_for(None, "errback")) == 1


def test_a_chord_with_such_a_job(make_site):
    """The chord's body learns of it as of any other failure."""
    site = make_site("redis+sqlite")
    site.start_worker()
    note, kill_itself = site.project.note, site.project.kill_itself
    body = note.s("body-ran").on_error(site.project.note_error.s())
    chord = site.project.celery_chord([note.s(1, "header"), kill_itself.s()], body)
    result = chord.apply_async()
    site.wait_for(None, "errback")
    with pytest.raises(Exception, match="max_crashes=2"):
        result.get(timeout=10)
    assert not site.effects(word="body-ran")


@pytest.mark.parametrize(
    ("kind", "countdown", "how"),
    [
        ("redis", 0, "retry"),
        ("redis", 1, "retry"),
        ("redis", 0, "autoretry"),
        ("files+sqlite", 0, "retry"),
        ("files+sqlite", 1, "autoretry"),
    ],
)
def test_a_retry_keeps_its_place(make_site, kind, how, countdown):
    """Nothing is done again after a retry, and after a kill only what a kill costs."""
    site = make_site(kind)
    site.start_worker(concurrency=3)
    if how == "retry":
        job = site.send("retry_at", 40, 20, countdown, 1000, 0.02)
    else:
        job = site.send(f"autoretry_{countdown}", 40, 20, 0.02)
    line = site.wait_for_item(job.id, 30)
    assert site.redone(job.id) == 0
    os.kill(line.pid, signal.SIGKILL)
    assert job.get(timeout=30) == sum(range(40))
    record = site.wait_for_end(job.id)
    assert record.delivery == 1
    assert record.crashes == 1
    # Between the retry at 20 and the kill soon after 30, nothing was saved.
    assert min(item for item, times in site.items(job.id).items() if times > 1) >= 20
    assert len(site.effects(job.id, "body")) == 3


def test_a_hard_time_limit(make_site):
    """The record fails with the reason, the checkpoint is kept, nothing runs again."""
    site = make_site("redis")
    site.start_worker()
    errback = site.project.note_error.s()
    job = site.send("count", 1000, 0.05, time_limit=2, link_error=errback)
    with pytest.raises(TimeLimitExceeded):
        job.get(timeout=30)
    record = site.wait_for_end(job.id)
    assert record.status == "failed"
    assert "TimeLimitExceeded" in record.error
    assert record.progress.done > 5
    assert len(site.wait_for(None, "errback")) == 1
    probe = site.send("count", 3)
    assert probe.get(timeout=30) == 3
    assert len(site.effects(job.id, "body")) == 1


def test_a_soft_time_limit(make_site):
    """The body's error fails the record; everything done until then is saved."""
    site = make_site("redis")
    site.start_worker()
    job = site.send("count", 1000, 0.05, 1000, soft_time_limit=2)
    with pytest.raises(SoftTimeLimitExceeded):
        job.get(timeout=30)
    record = site.wait_for_end(job.id)
    assert record.status == "failed"
    assert "SoftTimeLimitExceeded" in record.error
    assert record.progress.done >= max(site.items(job.id)) - 1


def test_an_expected_error(make_site):
    """``throws`` is a failure like any other for the record, and quiet in the log."""
    site = make_site("redis+postgres")
    worker = site.start_worker()
    job = site.send("fail", link_error=site.project.note_error.s())
    with pytest.raises(ValueError, match="as expected"):
        job.get(timeout=30)
    record = site.wait_for_end(job.id)
    assert (record.status, record.error) == ("failed", "ValueError: as expected")
    assert len(site.wait_for(None, "errback")) == 1
    assert "Traceback" not in worker.text()


@pytest.mark.parametrize(
    ("pool", "kind"),
    [("prefork", "redis"), ("threads", "redis+sqlite"), ("solo", "redis+postgres")],
)
def test_killed_between_the_record_and_the_callbacks(make_site, pool, kind):
    """The success is on record, the chain has not gone on: it does, without the body."""
    site = make_site(kind, short_lease=True)
    for worker in [site.start_worker(pool, ready=False) for _ in range(2)]:
        worker.wait_until_ready()
    (site.folder / "die-once-settled").touch()
    count, more, note = site.project.count, site.project.count_more, site.project.note
    result = (count.s(5) | more.s(3) | note.s("end")).apply_async()
    assert result.get(timeout=30) == sum(range(5)) + sum(range(3))
    first = result.parent.parent
    assert not (site.folder / "die-once-settled").exists()
    assert len(site.effects(first.id, "body")) == 1
    assert len(site.effects(result.parent.id, "body")) == 1
    assert len(site.effects(word="end")) == 1
    assert first.get(timeout=10) == sum(range(5))
