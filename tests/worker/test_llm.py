"""Tasks that ask models, on real workers, against a server that keeps count."""

import os
import signal
import subprocess
import sys

import pytest
from llmock.scenarios import Delay
from workers import wait_until

from milepost.budget import Budget, Spend
from milepost.errors import InvalidTransitionError
from milepost.model import JobStatus
from model_server import BarrierServer


@pytest.fixture
def asking_site(make_site, llmock, monkeypatch):
    """A function that makes a site whose tasks ask the faulty server."""
    monkeypatch.setenv("PROJECT_MODEL", llmock.base_url("openai"))
    return make_site


def spend(site, job_id):
    return Spend.of(site.jobs.checkpoint(job_id)["spend"])


def answered(llmock):
    return [request for request in llmock.requests if request.status == 200]


@pytest.mark.parametrize("kind", ["redis", "files+sqlite", "redis+postgres"])
def test_a_killed_job_pays_for_no_answer_twice(asking_site, llmock, kind):
    """SIGKILL with calls in flight: those are ambiguous, the others are not asked again."""
    llmock.add(Delay(0.4, times=None))
    site = asking_site(kind, short_lease=True)
    site.start_worker(concurrency=1)
    job = site.send("ask_about", 0, 40, 4)

    def in_flight():
        seen = site.jobs.checkpoint(job.id)
        return len(seen.get("calls", {})) >= 8 and seen.get("sent")

    wait_until(in_flight, "some answers, and calls in flight")
    os.kill(site.effects(job.id, "body")[-1].pid, signal.SIGKILL)
    record = site.wait_for_end(job.id)
    assert site.jobs.result(job.id) == 40
    total, billed = spend(site, job.id), len(answered(llmock))
    assert record.crashes == 1
    assert total.calls == 40
    assert 1 <= total.ambiguous <= 4
    assert 40 <= billed <= 40 + total.ambiguous
    llmock.assert_resilient()


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_a_sync_task_asks_in_every_pool(asking_site, llmock, pool):
    """Several jobs at once, each with its own loop; one call per item."""
    site = asking_site("redis")
    site.start_worker(pool, concurrency=4)
    jobs = [site.send("ask_in_turn", 5).id for _ in range(4)]
    for job in jobs:
        assert site.wait_for_end(job).status is JobStatus.SUCCEEDED
        assert spend(site, job).calls == 5
    assert len(answered(llmock)) == 20


def test_a_spent_budget_waits_for_a_larger_one(asking_site, llmock):
    """The job pauses with the reason, and goes on where it was when it is granted more."""
    site = asking_site("redis")
    site.start_worker(concurrency=1)
    job = site.send("ask_cheaply", 0, 60, 4)
    wait_until(lambda: site.jobs.get(job.id).status is JobStatus.PAUSED, "paused")
    assert site.jobs.get(job.id).reason.startswith("budget: ")
    before = len(answered(llmock))
    assert 0 < before < 60
    site.jobs.resume(job.id, budget=Budget(tokens=100_000))
    assert site.wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert len(answered(llmock)) == 60
    with pytest.raises(InvalidTransitionError):
        site.jobs.resume(job.id, budget=Budget(tokens=1))


def test_children_share_the_budget_of_their_family(asking_site, llmock):
    """Jobs that one job has sent spend one budget together; another family has its own."""
    site = asking_site("redis")
    site.start_worker("threads", concurrency=4)
    parents = [site.send("have_asked", 2, 60).id for _ in range(2)]
    families = [site.jobs.result(parent, timeout=30) for parent in parents]
    for children in families:
        for child in children:
            wait_until(lambda job=child: site.jobs.get(job).status is JobStatus.PAUSED, "paused")
            assert "family" in site.jobs.get(child).reason
        together = sum(spend(site, child).tokens for child in children)
        assert 400 < together < 700


def test_a_budget_is_granted_from_the_command_line(asking_site):
    """``resume --budget-tokens``; the checkpoint shows spend and budget."""
    site = asking_site("redis")
    site.start_worker(concurrency=1)
    job = site.send("ask_cheaply", 0, 60, 4)
    wait_until(lambda: site.jobs.get(job.id).status is JobStatus.PAUSED, "paused")

    def run(*words):
        command = [sys.executable, "-m", "celery", "-A", "project", "jobs", *words]
        env = {**os.environ, **site.env, "PYTHONPATH": str(site.home)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "goes on" in run("resume", job.id, "--budget-tokens", "100000")
    assert site.wait_for_end(job.id).status is JobStatus.SUCCEEDED
    shown = run("checkpoint", job.id)
    assert "100000" in shown
    assert "ambiguous" in shown
    assert "60 answers" in shown


def test_a_long_wait_frees_the_slot_for_others(asking_site, llmock):
    """A worker of one slot runs another job while the provider keeps the first one away."""
    llmock.rate_limit(retry_after=600)
    site = asking_site("redis")
    site.start_worker(concurrency=1)
    job = site.send("ask_in_turn", 2)
    wait_until(lambda: site.jobs.get(job.id).status is JobStatus.SCHEDULED, "put off")
    other = site.send("count", 3)
    assert site.wait_for_end(other.id).status is JobStatus.SUCCEEDED
    site.jobs.wake(job.id)
    assert site.wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert spend(site, job.id).ambiguous == 0


def test_a_worker_that_shuts_down_keeps_the_answers_under_way(asking_site, llmock):
    """SIGTERM: calls in flight end, their answers are kept, another worker goes on."""
    llmock.add(Delay(0.3, times=None))
    site = asking_site("redis")
    first = site.start_worker(concurrency=1)
    job = site.send("ask_about", 0, 40, 4)
    wait_until(lambda: len(site.jobs.checkpoint(job.id).get("calls", {})) >= 4, "some answers")
    first.ask_to_stop()
    first.process.wait(90)
    site.start_worker(concurrency=1)
    assert site.wait_for_end(job.id).status is JobStatus.SUCCEEDED
    assert spend(site, job.id).ambiguous == 0
    assert len(answered(llmock)) == 40


def test_nothing_of_prompts_and_answers_is_logged(asking_site, llmock):
    """Not at the level of debugging, not by Celery, not in records or events of failures."""
    llmock.reply("answer with s3cret")
    llmock.fail(400, model="gpt-4o", message="I do not like 's3cret, but wrong'")
    site = asking_site("redis")
    worker = site.start_worker(concurrency=1, options=("-l", "DEBUG"))
    job = site.send("ask_secretly")
    record = site.wait_for_end(job.id)
    assert site.effects(job.id, "failed")
    assert site.jobs.result(job.id) == "answer with s3cret"
    assert "succeeded in" in wait_until(
        lambda: "succeeded in" in worker.text() and worker.text(), "logged"
    )
    assert "s3cret" not in worker.text()
    assert "s3cret" not in repr(record)


def test_a_thousand_calls_at_once_in_one_process(make_site, monkeypatch):
    """All of them are in flight together, in one thread: no thread per call."""
    server = BarrierServer(1000)
    monkeypatch.setenv("PROJECT_MODEL", server.url)
    try:
        site = make_site("redis")
        site.start_worker(concurrency=1)
        job = site.send("ask_about", 0, 1000, 1000)
        record = site.wait_for_end(job.id, limit=120)
        assert record.status is JobStatus.SUCCEEDED
        assert spend(site, job.id).calls == 1000
        threads = int(site.effects(job.id, "threads")[0].item)
        assert threads < 16
    finally:
        server.close()
