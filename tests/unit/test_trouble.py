"""What keeps going wrong is said often enough, and no more."""

import logging

import pytest
import redis
from celery.exceptions import BackendGetMetaError
from kombu.exceptions import OperationalError

from milepost.engine.trouble import Trouble
from milepost.errors import StoreUnavailableError
from milepost.integrations.chores import FAILED_SECONDS, Chore
from milepost.integrations.worker import KeeperStep
from milepost.testing import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def trouble(clock, caplog):
    caplog.set_level(logging.INFO, "milepost")
    return Trouble("leases are not renewed", clock)


def away():
    return StoreUnavailableError("redis://", "nobody home")


def go_wrong(trouble, error=None):
    with trouble:
        raise error or away()


def said(caplog):
    return [(record.levelname, record.getMessage()) for record in caplog.records]


def test_an_outage_is_said_when_it_begins_once_a_minute_and_when_it_is_over(trouble, clock, caplog):
    for _ in range(1250):  # ten times a second for 125 s
        go_wrong(trouble)
        clock.advance(0.1)
    assert trouble.is_on
    for _ in range(3):
        with trouble:
            pass
    assert not trouble.is_on
    go_wrong(trouble)
    begun = f"leases are not renewed: {away()}"
    assert said(caplog) == [
        ("WARNING", begun),
        ("WARNING", f"leases are not renewed, for 60 s now: {away()}"),
        ("WARNING", f"leases are not renewed, for 120 s now: {away()}"),
        ("INFO", "over after 125 s: leases are not renewed"),
        ("WARNING", begun),
    ]


def test_no_error_hides_another(trouble, caplog):
    for _ in range(3):
        go_wrong(trouble)
        go_wrong(trouble, ZeroDivisionError("a mistake"))
    (_, one), (level, other) = said(caplog)
    assert ("nobody home" in one, level, "a mistake" in other) == (True, "ERROR", True)
    assert caplog.records[1].exc_info


def test_what_goes_well_is_not_said(trouble, caplog):
    with trouble:
        pass
    assert said(caplog) == []


def test_what_ends_the_thread_passes(trouble):
    with pytest.raises(SystemExit):
        go_wrong(trouble, SystemExit())


# -- chores ------------------------------------------------------------------------------------


def make_chore(clock, **given):
    """Return a chore, when it was done, and what it raises."""
    done, errors = [], []

    def act():
        done.append(clock.monotonic())
        if errors:
            raise errors[0]

    return Chore(act, "nothing is done", clock, **given), done, errors


def test_a_chore_that_fails_holds_up_nobody_and_waits(clock, caplog):
    chore, done, errors = make_chore(clock)
    errors.append(OSError("nobody home"))
    chore.do()
    chore.do()
    assert len(done) == 1
    clock.advance(FAILED_SECONDS)
    chore.do()
    assert len(done) == 2
    assert said(caplog) == [("WARNING", "nothing is done: nobody home")]
    errors.clear()
    clock.advance(FAILED_SECONDS)
    for _ in range(3):
        chore.do()
    assert len(done) == 5


@pytest.mark.parametrize(
    ("error", "level"),
    [
        (ConnectionRefusedError("nobody home"), "WARNING"),
        (OperationalError("nobody home"), "WARNING"),
        (BackendGetMetaError("nobody home"), "WARNING"),
        (redis.ConnectionError("nobody home"), "WARNING"),
        (redis.ReadOnlyError("nobody home"), "WARNING"),
        (KeyError("a mistake"), "ERROR"),
    ],
)
def test_an_outage_of_a_broker_or_a_backend_is_a_line_and_a_mistake_has_its_place(
    clock, caplog, error, level
):
    chore, _, errors = make_chore(clock)
    errors.append(error)
    chore.do()
    (said,) = caplog.records
    assert (said.levelname, said.exc_info is None) == (level, level == "WARNING")


def test_a_chore_keeps_its_pace(clock):
    chore, done, _ = make_chore(clock, every=60.0)
    for _ in range(121):
        chore.do()
        clock.advance(1.0)
    assert [moment - done[0] for moment in done] == [0, 60, 120]


def test_the_drain_flag_goes_whatever_else_goes_wrong():
    class Broken:
        def look(self):
            raise ZeroDivisionError

    class Flag:
        removed = False

        def remove(self):
            self.removed = True

    step = object.__new__(KeeperStep)
    step._flag = Flag()
    with pytest.raises(ZeroDivisionError):
        step._finish_all(Broken())
    assert step._flag.removed
