"""A task that runs for longer than Redis' visibility timeout runs once."""

import pytest

SWEEP = {"visibility_timeout": 2, "unacked_restore_interval": 0.2, "unacked_restore_throttle": 1}


@pytest.mark.parametrize(
    "more", [{}, {"global_keyprefix": "shop:", "unacked_index_key": "in_work"}], ids=["", "prefix"]
)
def test_a_long_task_is_delivered_once(make_site, more):
    """Five times the timeout: one delivery, one body, nothing left behind."""
    site = make_site("redis", conf={"broker_transport_options": {**SWEEP, **more}})
    worker = site.start_worker(concurrency=3)
    job = site.send("be_slow", 10)
    assert job.get(timeout=40) == "slow"
    assert len(site.effects(job.id, "body")) == 1
    assert worker.text().count(f"be_slow[{job.id}] received") == 1


def test_a_plain_task_is_delivered_again(make_site):
    """The control: the sweep does run, and gives a plain task to the worker a second time."""
    site = make_site("redis", conf={"broker_transport_options": SWEEP})
    site.start_worker(concurrency=3)
    job = site.send("be_slow_plainly", 10)
    site.wait_for(job.id, "body", 2)


def test_a_job_that_waits_for_its_eta_is_delivered_once(make_site):
    """It is in a worker's memory meanwhile, for longer than the timeout."""
    site = make_site("redis", conf={"broker_transport_options": SWEEP})
    worker = site.start_worker(concurrency=1)
    job = site.send("count", 5, countdown=6)
    assert job.get(timeout=40) == 10
    assert worker.text().count(f"count[{job.id}] received") == 1
