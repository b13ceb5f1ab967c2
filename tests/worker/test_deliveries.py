"""Messages that come twice, late or never: the record decides, one body runs."""

import os
import signal
import time
from decimal import Decimal

import celery
import pytest
from workers import wait_until

from milepost.jobs.queues import waiting_in
from services import start_redis


def send_again(site, name, job, *args):
    """Publish a job's message once more, past milepost."""
    task = site.app.tasks[name]
    celery.Task.apply_async(task, args, task_id=job.id)


def test_a_message_published_twice(make_site):
    """The second delivery of a running job, and of one that has ended, is dropped."""
    site = make_site("redis+sqlite")
    worker = site.start_worker(concurrency=3)
    link = site.project.note.s("linked")
    job = site.send("count", 30, 0.05, link=link)
    site.wait_for_item(job.id, 3)
    send_again(site, "count", job, 30, 0.05)
    assert job.get(timeout=30) == sum(range(30))
    send_again(site, "count", job, 30, 0.05)
    wait_until(lambda: worker.text().count(f"count[{job.id}] ignored") == 2, "both dropped")
    assert len(site.effects(job.id, "body")) == 1
    assert site.redone(job.id) == 0
    assert len(site.effects(word="linked")) == 1


def test_a_dropped_delivery_does_not_end_the_renewals(make_site):
    """The worker goes on renewing the lease of a job whose second delivery it has dropped."""
    site = make_site("redis", short_lease=True)
    worker = site.start_worker(concurrency=3)
    site.start_worker(concurrency=1)
    job = site.send("be_slow", 5)
    site.wait_for(job.id, "body")
    for _ in range(4):
        send_again(site, "be_slow", job, 5)
    assert job.get(timeout=30) == "slow"
    assert worker.text().count(f"be_slow[{job.id}] ignored") >= 1
    assert len(site.effects(job.id, "body")) == 1
    assert site.jobs.get(job.id).attempts == 1


def test_workers_race_for_a_recovered_job(make_site):
    """Many copies of a dead worker's job, and every keeper awake: one body per fence."""
    site = make_site("redis", short_lease=True)
    first = site.start_worker()
    job = site.send("count", 40, 0.03)
    site.wait_for_item(job.id, 5)
    first.kill()
    for _ in range(10):
        send_again(site, "count", job, 40, 0.03)
    for worker in [site.start_worker("threads", 8, ready=False) for _ in range(2)]:
        worker.wait_until_ready()
    assert job.get(timeout=30) == sum(range(40))
    bodies = site.effects(job.id, "body")
    assert sorted(e.fence for e in bodies) == [1, 2]
    assert site.redone(job.id) <= 1


@pytest.mark.parametrize("downtime", [0.0, 3.0])
def test_the_store_restarts_in_mid_job(make_site, downtime):
    """The job outwaits it and goes on; was it longer than a lease, perhaps elsewhere."""
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    try:
        site = make_site("redis", store=server.url, short_lease=True)
        for worker in [site.start_worker(ready=False) for _ in range(2)]:
            worker.wait_until_ready()
        job = site.send("count", 60, 0.03, link=site.project.note.s("linked"))
        site.wait_for_item(job.id, 10)
        server.kill()
        time.sleep(downtime)
        server.start()
        assert job.get(timeout=60) == sum(range(60))
        attempts = site.wait_for_end(job.id).attempts
        print(f"FIGURE store away for {downtime} s: {attempts} attempts")
        assert attempts <= (2 if downtime else 1)
        assert site.redone(job.id) <= attempts - 1
        site.wait_for(None, "linked")
        assert len(site.effects(word="linked")) == 1
    finally:
        server.stop()


def empty_broker(site):
    if site.broker.startswith("redis"):
        with site.app.connection_for_write() as connection:
            connection.default_channel.client.flushdb()
    else:
        for file in (site.folder / "queue").iterdir():
            file.unlink(missing_ok=True)


def check_a_lost_message(site, kill):
    job = site.send("count", 60, 0.03)
    line = site.wait_for_item(job.id, 10)
    empty_broker(site)
    kill(line)
    assert job.get(timeout=40) == sum(range(60))
    assert site.redone(job.id) <= 1


def test_the_broker_forgets_a_running_job(make_site):
    """Its messages flushed in mid-job, the worker dead: the record brings the job back."""
    site = make_site("redis", short_lease=True)
    for worker in [site.start_worker(ready=False) for _ in range(2)]:
        worker.wait_until_ready()
    check_a_lost_message(site, lambda line: site.worker_of(line.pid).kill())


def test_the_folders_of_the_broker_are_emptied(make_site):
    """The same with a broker in the file system, and only the pool process dead."""
    site = make_site("files+sqlite")
    site.start_worker()
    check_a_lost_message(site, lambda line: os.kill(line.pid, signal.SIGKILL))


def test_a_message_lost_before_its_start(make_site):
    """A pending job whose message vanished is found and sent again."""
    for kind in ("redis", "files+sqlite"):
        site = make_site(kind, settings={"resend_after": 1})
        job = site.send("count", 5)
        empty_broker(site)
        assert site.jobs.get(job.id).status == "pending"
        site.start_worker()
        assert job.get(timeout=30) == sum(range(5))
        assert len(site.effects(job.id, "body")) == 1


@pytest.mark.parametrize("kind", ["redis", "files+sqlite"])
def test_a_message_lost_from_a_queue_that_never_runs_empty(make_site, kind):
    """Later jobs are next, so its own message is gone: another one is sent meanwhile."""
    site = make_site(kind, settings={"resend_after": 1})
    job = site.send("count", 5)
    empty_broker(site)
    busy = site.send("count", 4, 0.0, 1, "over")
    waiting = [site.send("count", 1) for _ in range(20)]
    worker = site.start_worker(concurrency=1)
    site.wait_for_item(busy.id, 2)
    wait_until(lambda: f"job {job.id} sent again" in worker.text(), "the lost job sent again")
    assert waiting_in(site.app, "work") > 0
    site.open_gate("over")
    assert job.get(timeout=30) == sum(range(5))
    assert len(site.effects(job.id, "body")) == 1
    for other in waiting:
        assert other.get(timeout=30) == 0
        assert len(site.effects(other.id, "body")) == 1
    assert f"job {waiting[-1].id} sent again" not in worker.text()


def test_a_queue_of_its_own(make_site):
    """Whichever worker recovers a job, it goes back to the queue it was sent to."""
    site = make_site("redis", short_lease=True)
    own = ("-Q", "own")
    first = site.start_worker(options=own)
    other = site.start_worker()
    job = site.send("count", 40, 0.03, queue="own", priority=3, headers={"mine": "kept"})
    site.wait_for_item(job.id, 5)
    first.kill()
    wait_until(lambda: "sent again" in other.text(), "the other worker's keeper at work")
    assert len(site.effects(job.id, "body")) == 1
    site.start_worker(options=own)
    assert job.get(timeout=30) == sum(range(40))
    assert site.redone(job.id) <= 1


def test_arguments_that_only_pickle_takes(make_site):
    """The record keeps a message in its own serializer."""
    names = ("task_serializer", "result_serializer")
    conf = {**dict.fromkeys(names, "pickle"), "accept_content": ["pickle", "json"]}
    site = make_site("redis+sqlite", conf=conf, settings={"allow_pickle": 1}, short_lease=True)
    first = site.start_worker()
    job = site.send("count_more", Decimal("0.5"), 40, 0.03)
    site.wait_for_item(job.id, 5)
    first.kill()
    site.start_worker()
    assert job.get(timeout=30) == Decimal("0.5") + sum(range(40))
    assert site.wait_for_end(job.id).attempts == 2
