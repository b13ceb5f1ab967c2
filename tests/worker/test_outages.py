"""Broker or result backend away at the moment when Celery does what follows a job."""

import pytest
from kombu.exceptions import OperationalError
from workers import wait_until


@pytest.mark.parametrize("pool", ["prefork", "threads"])
@pytest.mark.parametrize("error", [OperationalError, ConnectionError])
def test_what_follows_a_job_is_done_when_it_can_be(make_site, pool, error):
    """Celery gives up: for the one it stores a failure, the other it only logs. The record
    says that the body has succeeded, so its chain goes on, and its result is stored."""
    site = make_site("redis+sqlite", short_lease=True)
    site.start_worker(pool)
    project = site.project
    site.open_gate(error.__name__)
    chain = (project.count.s(4, 0.01) | project.note_far.s("end"))()
    job = chain.parent.id
    wait_until((site.folder / "missed").exists, "Celery cannot send the rest of the chain")
    assert site.wait_for_end(job).status == "succeeded"
    project.take(error.__name__)
    (end,) = site.wait_for(chain.id, "end")
    assert end.item == "6"
    for task_id in (job, chain.id):
        wait_until(lambda i=task_id: site.app.AsyncResult(i).result == 6, "its result is stored")
    assert site.redone(job) == 0
