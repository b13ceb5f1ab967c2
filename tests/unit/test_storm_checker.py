"""The campaign's checker finds each kind of wrong it is there for, and nothing else."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "chaos"))

from storm import checker
from storm.evidence import Act, Effect, Evidence, Sample, Sent


def effects(*lines):
    """Read ``at word fence item pid`` for one job."""
    found = []
    for line in lines:
        at, word, fence, item, pid = line.split()
        found.append(Effect(float(at), "j", word, int(fence), item, int(pid)))
    return found


CLEAN = Evidence(
    sent=[Sent("j", 3, 1, 3)],
    effects=effects(
        *("1 begin 1 - 10", "1.1 item 1 0 10", "1.2 item 1 1 10"),
        *("5 begin 2 - 20", "5.1 item 2 1 20", "5.2 item 2 2 20", "5.3 end 2 - 20"),
    ),
    acts=[Act(1.25, "kill child", frozenset({10}), until=1.25)],
    samples=[Sample(1.1, "j", "running", 1, 1, 0), Sample(6.0, "j", "succeeded", 2, 2, 3)],
    ends={"j": ("succeeded", 3)},
    secret_places=[],
    plain_places=["appendonly.aof"],
)


def found(**changes):
    return checker.violations(replace(CLEAN, **changes))


def test_a_clean_history():
    assert checker.violations(CLEAN) == []
    assert checker.redone(CLEAN) == (1, 3)


@pytest.mark.parametrize("end", [("running", None), ("failed", None), ("succeeded", 4)])
def test_a_job_that_is_lost_or_wrong(end):
    assert found(ends={"j": end})


def test_a_job_that_nobody_knows():
    assert found(ends={})


def test_a_cancelled_job_is_one_that_somebody_cancelled():
    assert found(ends={"j": ("cancelled", None)})
    asked = [*CLEAN.acts, Act(5.2, "cancel", job="j", until=5.2)]
    assert found(ends={"j": ("cancelled", None)}, acts=asked) == []


def test_an_item_that_was_never_done():
    assert any("2 of 3" in text for text in found(effects=CLEAN.effects[:-2]))


def test_two_live_attempts():
    late = effects("5.15 item 1 2 10")
    assert any("at work after 2" in text for text in found(effects=sorted(CLEAN.effects + late)))


def test_a_frozen_worker_that_wakes_up_may_do_what_it_had_in_hand():
    acts = [Act(1.2, "freeze", frozenset({10}), until=5.1)]
    late = effects("5.15 item 1 2 10")
    assert found(effects=sorted(CLEAN.effects + late), acts=acts) == []
    more = effects("5.15 item 1 2 10", "5.16 item 1 2 10", "5.17 item 1 2 10")
    assert found(effects=sorted(CLEAN.effects + more), acts=acts)


def test_one_fence_for_two():
    twin = effects("1.15 item 1 1 11")
    assert any("two processes" in text for text in found(effects=sorted(CLEAN.effects + twin)))


def test_a_fence_that_falls():
    again = effects("5.25 begin 1 - 10")
    assert any("begins after 2" in text for text in found(effects=sorted(CLEAN.effects + again)))


def test_too_much_is_redone():
    more = effects("5.05 item 2 0 20")
    assert any("bound 1" in text for text in found(effects=sorted(CLEAN.effects + more)))
    assert found(effects=sorted(CLEAN.effects + more), sent=[Sent("j", 3, 2, 3)]) == []


@pytest.mark.parametrize(
    "sample",
    [
        Sample(7.0, "j", "running", 2, 2, 3),
        Sample(7.0, "j", "succeeded", 1, 2, 3),
        Sample(7.0, "j", "succeeded", 2, 1, 3),
        Sample(7.0, "j", "succeeded", 2, 2, 2),
    ],
)
def test_a_record_that_takes_something_back(sample):
    assert found(samples=[*CLEAN.samples, sample])


def test_a_slow_pause():
    slow = Act(10.0, "pause", job="j", until=15.0)
    assert any("5.0 s" in text for text in found(acts=[*CLEAN.acts, slow]))
    hit = Act(11.0, "kill worker", frozenset({99}), until=11.0)
    assert found(acts=[*CLEAN.acts, slow, hit]) == []


def test_a_word_that_can_be_read():
    assert any("in w1.log" in text for text in found(secret_places=["w1.log"]))
    assert any("does not even" in text for text in found(plain_places=[]))


def test_recovery_times():
    clean, every = checker.recoveries(CLEAN, "kill child")
    assert clean == every == [3.75]
    assert checker.recoveries(CLEAN, "kill worker") == ([], [])
    hit = Act(2.0, "restart redis", until=3.0)
    disturbed = replace(CLEAN, acts=[*CLEAN.acts, hit])
    assert checker.recoveries(disturbed, "kill child") == ([], [3.75])
