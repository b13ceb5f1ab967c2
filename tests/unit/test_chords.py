"""What keeps chords alive: all of them in one round, and none of it at the recovery's cost."""

import pytest

from deliveries import make_app
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
