"""Broker or result backend away at the moment when Celery does what follows a job."""

import pytest
from kombu.exceptions import OperationalError
from workers import wait_until

from services import start_redis


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


def test_an_outage_of_the_store_does_not_flood_the_log(make_site):
    """Leases are tried ten times a second, the recovery twice; each says so once, and the end."""
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    try:
        site = make_site("redis", store=server.url)
        worker = site.start_worker()
        job = site.send("be_slow", 8)
        site.wait_for(job.id, "body")
        server.kill()
        for said in ("leases are not renewed: ", "no recovery for now: "):
            wait_until(lambda said=said: said in worker.text(), said)
        probe = site.project.note.si(None, "meanwhile")
        for number in range(30):  # while some time goes by
            probe.apply_async(countdown=number / 10)
        site.wait_for(None, "meanwhile", 30)
        server.start()
        for over in ("s: leases are not renewed", "s: no recovery for now"):
            wait_until(lambda over=over: over in worker.text(), over)
        assert job.get(timeout=60) == "slow"
        text = worker.text()
        assert text.count("leases are not renewed: ") == 1
        assert text.count("no recovery for now: ") == 1
        assert text.count("old records are not dropped: ") <= 1
    finally:
        server.stop()
