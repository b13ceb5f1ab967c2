"""What becomes of a return value: the record and Celery tell one story of it, once."""

import pytest
from workers import wait_until

from milepost.errors import JobResultError


@pytest.mark.parametrize(
    ("pool", "kind", "value"),
    [
        ("prefork", "redis+sqlite", "object"),
        ("threads", "redis", "set"),
        ("solo", "files+sqlite", "object"),
    ],
)
def test_a_result_that_the_backend_cannot_store(make_site, pool, kind, value):
    """The job fails: what was to follow a success is not sent, the errback is called once."""
    site = make_site(kind, short_lease=True)
    worker = site.start_worker(pool)
    note, errback = site.project.note, site.project.note_error
    job = site.send("give_back", value, link=note.s("linked"), link_error=errback.s())
    with pytest.raises(JobResultError, match="returned a value of type"):
        job.get(timeout=30)
    record = site.wait_for_end(job.id)
    assert record.status == "failed"
    assert record.error.startswith("JobResultError: ")
    wait_until(lambda: site.jobs.get(job.id).read_at > record.ended_at + 4, "it would be due")
    assert "sent again" not in worker.text()
    assert len(site.effects(job.id, "body")) == 1
    assert len(site.effects(word="errback")) == 1
    assert not site.effects(word="linked")


def test_a_result_that_cannot_be_handed_on(make_site):
    """Nothing keeps it but the record; its callback cannot be sent now, nor another time."""
    site = make_site("redis", short_lease=True)
    worker = site.start_worker()
    note, errback = site.project.note, site.project.note_error
    options = {"ignore_result": True, "link": note.s("linked"), "link_error": errback.s()}
    job = site.send("give_back", "object", **options)
    site.wait_for(None, "errback")
    record = site.wait_for_end(job.id)
    assert record.status == "succeeded"
    wait_until(lambda: site.jobs.get(job.id).read_at > record.ended_at + 4, "it would be due")
    assert "sent again" not in worker.text()
    assert worker.text().count("what follows cannot be done") == 1
    assert len(site.effects(word="errback")) == 1
