"""Workers of older code, which do not have the tasks that newer senders send already."""

import signal

import pytest
from celery.exceptions import NotRegistered
from workers import wait_until

from services import start_redis


@pytest.fixture
def site(make_site):
    return make_site("redis", short_lease=True, settings={"resend_after": 1.0})


@pytest.fixture
def start_old(site):
    """A function that starts a worker without some tasks."""

    def start(*names):
        site.env["PROJECT_WITHOUT"] = ",".join(names)
        try:
            return site.start_worker()
        finally:
            del site.env["PROJECT_WITHOUT"]

    return start


def test_a_job_waits_for_a_worker_that_has_its_task(site, start_old):
    """The old worker takes the message, and leaves the job to the record."""
    old = start_old("count")
    errback = site.project.note_error.s()
    job = site.send("count", 5, link_error=errback)
    wait_until(lambda: "does not have" in old.text(), "the old worker has seen the message")
    assert job.state == "PENDING"
    explanation = site.jobs.explain(job.id)
    assert "no worker that consumes it has its task 'count'" in explanation.summary
    assert any("does not have the task" in fact for fact in explanation.facts)
    old.ask_to_stop()
    old.process.wait()
    site.start_worker()
    assert job.get(timeout=60) == sum(range(5))
    assert not site.effects(word="errback")


def test_a_job_waits_also_while_its_store_is_away(make_site):
    """The old worker cannot know whether it is on record, and puts its message back."""
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    try:
        site = make_site("redis", store=server.url, short_lease=True)
        site.env["PROJECT_WITHOUT"] = "count"
        old = site.start_worker()
        del site.env["PROJECT_WITHOUT"]
        old.process.send_signal(signal.SIGSTOP)
        job = site.send("count", 5)
        server.kill()
        old.process.send_signal(signal.SIGCONT)
        wait_until(lambda: "go back to their queue" in old.text(), "nobody knows of the job")
        server.start()
        wait_until(lambda: "does not have the task" in old.text(), "the message has come again")
        assert job.state == "PENDING"
    finally:
        server.stop()


def test_a_plain_task_fails_as_with_celery(site, start_old):
    """Nothing is on record that another worker could carry on."""
    start_old("add")
    job = site.send("add", 1, 2)
    with pytest.raises(NotRegistered):
        job.get(timeout=30)
