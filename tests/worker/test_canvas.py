"""Chains, chords, groups and waiting callers around a job that is killed."""

import os
import signal

import pytest

MORE = sum(range(40))


def kill_child(site, line):
    os.kill(line.pid, signal.SIGKILL)


def kill_worker(site, line):
    site.workers[0].kill()
    site.start_worker()


KILLS = pytest.mark.parametrize("kill", [kill_child, kill_worker])


@KILLS
def test_a_chain(make_site, kill):
    """Killed in its middle, it goes on to its end; no link runs twice."""
    site = make_site("redis" if kill is kill_child else "redis+sqlite", short_lease=True)
    site.start_worker()
    project = site.project
    result = (
        project.add.s(1, 2) | project.count_more.s(40, 0.03) | project.note.s("end")
    ).apply_async()
    middle = result.parent
    kill(site, site.wait_for_item(middle.id, 10))
    assert result.get(timeout=40) == 3 + MORE
    assert len(site.effects(middle.parent.id, "body")) == 1
    assert site.redone(middle.id) <= 1
    assert [e.item for e in site.effects(word="end")] == [str(3 + MORE)]


@KILLS
def test_a_chord(make_site, kill):
    """A header's member is killed, then the body: both go on, the body runs once."""
    site = make_site("redis" if kill is kill_child else "redis+postgres", short_lease=True)
    site.start_worker(concurrency=3)
    project = site.project
    header = [project.count_more.s(0, 40, 0.03), project.count_more.s(1000, 40, 0.03)]
    body = project.count_more.s(40, 0.03).set(link=project.note.s("end"))
    result = project.celery_chord(header, body).apply_async()
    kill(site, site.wait_for(None, "item", 20)[-1])
    kill_child(site, site.wait_for_item(result.id, 10))
    assert result.get(timeout=40) == 1000 + 3 * MORE
    assert [e.fence for e in site.effects(result.id, "body")] == [1, 2]
    assert site.redone(result.id) <= 1
    assert [e.item for e in site.wait_for(None, "end")] == [str(1000 + 3 * MORE)]


@pytest.mark.parametrize(
    "when",
    [
        "before its part is returned",
        "with the right to send the body",
        "once the body is sent",
        "while the backend is away",
        "while the broker is away",
        "while the store is away",
    ],
)
def test_a_fault_while_a_chord_is_collected(make_site, when):
    """The body runs, and runs once: whatever happens between a member's result and its part."""
    site = make_site("redis", short_lease=True, settings={"resend_after": 1.0})
    site.start_worker(concurrency=1)
    project = site.project
    header = [project.count.s(3), project.fall.s(when)]
    result = project.celery_chord(header, project.count_more.s(3)).apply_async()
    assert result.get(timeout=60) == 4 + 3
    assert len(site.effects(result.id, "body")) == 1
    assert len(site.effects(result.parent.results[1].id, "body")) == 1
    assert site.wait_for_end(result.id).status == "succeeded"


def test_a_caller_that_waits(make_site):
    """``AsyncResult.get()`` from before the crash returns after it."""
    site = make_site("files+sqlite")
    site.start_worker()
    job = site.send("count", 40, 0.03)
    kill_child(site, site.wait_for_item(job.id, 10))
    assert job.get(timeout=30) == MORE
    assert job.state == "SUCCESS"


def test_replace(make_site):
    """Another durable task goes on under the id, with a record of its own."""
    site = make_site("redis")
    site.start_worker()
    job = site.send("replace_itself", 7, link=site.project.note.s("linked"))
    assert job.get(timeout=30) == sum(range(7))
    record = site.wait_for_end(job.id)
    assert (record.task, record.status) == ("count", "succeeded")
    assert len(site.wait_for(None, "linked")) == 1


def test_send_task_by_name(make_site):
    """A client that knows only the name makes no record; the worker that starts it does."""
    site = make_site("redis+sqlite")
    job = site.app.send_task("count", (40, 0.03), queue="work")
    site.start_worker()
    kill_child(site, site.wait_for_item(job.id, 10))
    assert job.get(timeout=30) == MORE
    assert site.wait_for_end(job.id).attempts == 2


def test_ignored_results(make_site):
    """Nothing is stored in Celery's backend; callbacks run once, through a crash and after."""
    site = make_site("redis", short_lease=True)
    worker = site.start_worker()
    job = site.send("ignore", 40, 0.03, link=site.project.note.s("linked"))
    kill_child(site, site.wait_for_item(job.id, 10))
    site.wait_for(None, "linked")
    worker.ask_to_stop()
    worker.process.wait(90)  # Celery may take half a minute for it, with a process lost before
    site.start_worker()
    probe = site.send("be_slow", 3.5)  # longer than a lease: what is due has come up by then
    probe.get(timeout=30)
    assert site.jobs.get(job.id).status == "succeeded"
    assert job.state == "PENDING"
    assert len(site.effects(word="linked")) == 1
