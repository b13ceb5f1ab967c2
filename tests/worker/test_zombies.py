"""A worker that is frozen past its lease, replaced, and thawed: nothing of it is accepted."""

import pytest


def freeze_and_replace(site, how):
    """Return a job whose first worker is frozen and whose second attempt stands at a gate."""
    zombie = site.start_worker(concurrency=1, options=("-Q", "work,zombie"))
    link, errback = site.project.note.s("linked"), site.project.note_error.s()
    job = site.send("pass_gates", 2, how, link=link, link_error=errback)
    site.wait_for(job.id, "body")
    zombie.freeze()
    site.start_worker(concurrency=2)
    site.wait_for(job.id, "body", 2)
    if how == "loop":
        site.wait_for_item(job.id, 0, fence=2)
        site.open_gate("gate-2-0")
        site.wait_for_item(job.id, 1, fence=2)
    return zombie, job


def thaw_and_let_it_write(site, zombie):
    """Let the zombie run into its next write, and wait until its slot is free again."""
    site.open_gate("gate-1-0")
    zombie.thaw()
    site.send("note", 0, "probe", queue="zombie")
    site.wait_for(None, "probe")


def picture(site, job):
    """Return all of the record and the checkpoint but the time of the last heartbeat."""
    record = site.jobs.get(job.id)
    return (
        *(record.status, record.fence, record.worker, record.attempts, record.delivery),
        *(record.progress, record.result, record.error, record.crashes, record.signal),
        dict(site.milepost.store.load(job.id)),
    )


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("redis", "loop"),
        ("redis", "return"),
        ("redis", "fail"),
        ("redis", "retry"),
        ("redis", "replace"),
        ("redis+sqlite", "loop"),
        ("redis+postgres", "loop"),
        ("redis+postgres", "return"),
    ],
)
def test_nothing_of_a_zombie_is_accepted(make_site, kind, how):
    """No field, progress, result or status; no result or callback of Celery's either."""
    site = make_site(kind, short_lease=True)
    zombie, job = freeze_and_replace(site, how)
    before = picture(site, job)
    thaw_and_let_it_write(site, zombie)
    assert picture(site, job) == before
    assert job.state == "PENDING"
    assert not site.effects(word="linked")
    assert not site.effects(word="errback")

    # Whoever holds the lease is not disturbed, and only its end counts.
    site.open_gate("gate-2-0")
    if how == "loop":
        site.open_gate("gate-2-1")
    if how in ("loop", "return"):
        assert job.get(timeout=30) == "by fence 2"
        assert [e.item for e in site.wait_for(None, "linked")] == ["by_fence_2"]
        assert site.wait_for_end(job.id).attempts == 2
    if how == "fail":
        with pytest.raises(ValueError, match="by fence 2"):
            job.get(timeout=30)
        assert len(site.wait_for(None, "errback")) == 1
