"""What keeps chords alive: all of them in one round, and none of it at the recovery's cost."""

import pytest

from deliveries import make_app
from milepost import CheckpointableTask
from milepost.integrations import chords
from milepost.integrations.chords import BATCH, Chords
from milepost.model import NewJob


class Tended(Chords):
    """Takes each job for a member of a chord of its own."""

    def __init__(self, app):
        super().__init__(app, app.milepost.runtime)
        self.renewed = []

    def _groups_of(self, job):
        yield job.id

    def _renew(self, backend, group):
        self.renewed.append(group)


@pytest.fixture
def tended():
    app = make_app()
    app.conf.result_backend = "cache+memory://"
    app.conf.result_expires = app.conf.result_chord_expires = 86400
    for number in range(2 * BATCH + 1):
        app.milepost.store.create(NewJob(f"j{number}", "t", b"m"))
    return Tended(app)


def test_many_jobs_are_looked_through_in_slices(tended, monkeypatch):
    monkeypatch.setattr(chords, "SLICE", 0.0)
    for pages in (BATCH, 2 * BATCH, 2 * BATCH + 1, 2 * BATCH + 1):
        tended.tend()
        assert len(tended.renewed) == pages
    assert len(set(tended.renewed)) == 2 * BATCH + 1


def test_few_jobs_are_looked_through_at_once(tended, monkeypatch):
    monkeypatch.setattr(chords, "SLICE", 60.0)
    tended.tend()
    assert len(tended.renewed) == 2 * BATCH + 1


@pytest.mark.parametrize("failing", ["j0", f"j{2 * BATCH}"])  # on the first page, and the last
def test_a_round_that_failed_is_made_again_at_once(tended, monkeypatch, failing):
    monkeypatch.setattr(chords, "SLICE", 60.0)
    renew, away = tended._renew, {failing}

    def fail(backend, group):
        if group in away:
            away.discard(group)
            raise OSError("away")
        renew(backend, group)

    monkeypatch.setattr(tended, "_renew", fail)
    with pytest.raises(OSError, match="away"):
        tended.tend()
    for _ in range(2):  # what is left of that round, and a new one
        tended.tend()
    assert set(tended.renewed) == {f"j{number}" for number in range(2 * BATCH + 1)}
    count = len(tended.renewed)
    tended.tend()
    assert len(tended.renewed) == count


def test_a_job_without_a_message_keeps_no_chord_from_being_renewed():
    """One that is in the hands of a single process has none."""
    app = make_app()
    app.conf.result_backend = "cache+memory://"
    app.milepost.store.create(NewJob("odd", "t", b""))
    task = app.task(base=CheckpointableTask, shared=False, name="member")(member)
    chord = {"task": "celery.chord", "args": [], "kwargs": {}, "options": {}}
    task.apply_async(group_id="g1", chord=chord)
    renewed = []

    class Kept(Chords):
        def _renew(self, backend, group):
            renewed.append(group)

    Kept(app, app.milepost.runtime).tend()
    assert renewed == ["g1"]


def member():
    """Be a member of a chord."""
