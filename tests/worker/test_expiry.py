"""Messages that expire: `expires` limits how long a job may wait to begin, not its life."""

import os
import signal
import time

import pytest


@pytest.mark.parametrize("victim", ["worker", "process"])
def test_a_job_that_has_begun_no_longer_expires(make_site, victim):
    """It is resent, or delivered again, after the moment its message had to begin by."""
    site = make_site("redis", short_lease=True)
    worker = site.start_worker(concurrency=1)
    job = site.send("count", 60, 0.05, expires=1.0).id
    effect = site.wait_for_item(job, 25)
    if victim == "worker":
        worker.kill()
        site.start_worker(concurrency=1)
    else:
        os.kill(effect.pid, signal.SIGKILL)
    record = site.wait_for_end(job)
    assert (record.status, record.crashes) == ("succeeded", 1)


@pytest.mark.parametrize("act", ["retry", "restart"])
def test_a_job_that_has_expired_can_be_sent_again(make_site, act):
    """It ends as cancelled; whoever lets it run again wants it now, on the same worker too."""
    site = make_site("redis")
    job = site.send("count", 3, expires=0.1).id
    time.sleep(0.2)
    site.start_worker(concurrency=1)
    record = site.wait_for_end(job)
    assert (record.status, record.attempts) == ("cancelled", 0)
    assert record.reason.startswith("expired: it had not begun by 20")
    assert record.reason.endswith(" UTC")
    getattr(site.jobs, act)(job)
    assert site.wait_for_end(job).status == "succeeded"
