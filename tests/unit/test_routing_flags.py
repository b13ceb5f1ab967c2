"""Feature flags: which source decides, what a share means, what a failing source costs."""

import itertools
import threading

import pytest

from milepost.errors import ConfigurationError, StoreUnavailableError
from milepost.events import FlagSourceFailed
from milepost.observer import Emitter
from milepost.routing import EnvironmentFlags, FeatureFlags, StaticFlags
from milepost.routing.modes import falls_within
from milepost.routing.openfeature import OpenFeatureFlags
from milepost.routing.rules import KEPT_FOR, StoredFlags
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock
from services import require_module


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
def documents(clock):
    return MemoryStore(clock).documents


@pytest.fixture
def events():
    return []


@pytest.fixture
def make(documents, clock, events):
    def make(*sources, documents=documents):
        stored = StoredFlags(lambda: documents, lambda: clock)
        return FeatureFlags(stored, sources, Emitter([events.append]))

    return make


class Counting:
    """Documents that count how often they are read, and fail when told to."""

    def __init__(self, inner):
        self.inner, self.reads, self.fails = inner, 0, False

    def read(self, name):
        self.reads += 1
        if self.fails:
            raise StoreUnavailableError("memory://", "nobody home")
        return self.inner.read(name)

    def write(self, *args, **kwargs):
        return self.inner.write(*args, **kwargs)


def test_a_flag_nobody_speaks_of_is_off(make):
    assert make().is_enabled("celery_import") is False


def test_enable_and_disable(make):
    flags = make()
    flags.enable("celery_import", by="ann")
    assert flags.is_enabled("celery_import")
    assert not flags.is_enabled("celery_export")
    flags.disable("celery_import", by="ann")
    assert not flags.is_enabled("celery_import")


def test_a_pattern_switches_off_what_is_and_what_will_be(make):
    """Also flags that only another source has, and those nobody has heard of."""
    flags = make(StaticFlags({"celery_b": True, "other": True}))
    flags.enable("celery_a")
    flags.disable_pattern("celery_*", by="ann")
    assert [flags.is_enabled(name) for name in ("celery_a", "celery_b", "celery_c", "other")] == [
        *(False, False, False, True)
    ]


def test_the_latest_word_wins(make):
    """A flag that is enabled by its name after a pattern switched it off is on again."""
    flags = make()
    flags.disable_pattern("celery_*")
    flags.enable("celery_a", 100)
    assert flags.is_enabled("celery_a")
    assert not flags.is_enabled("celery_b")


def test_rules_do_not_pile_up(make):
    """A new rule drops those that it covers."""
    flags = make()
    for share in range(1, 50):
        flags.enable("celery_a", share)
        flags.enable("celery_b", share)
    assert [(rule.pattern, rule.share) for rule in flags.rules()] == [
        *(("celery_a", 49.0), ("celery_b", 49.0)),
    ]
    flags.disable_pattern("celery_*")
    assert [rule.pattern for rule in flags.rules()] == ["celery_*"]


def test_what_was_switched_comes_before_what_a_process_was_started_with(make):
    flags = make(EnvironmentFlags({"MILEPOST_FLAG_CELERY_A": "1"}), StaticFlags({"celery_a": 0}))
    assert flags.is_enabled("celery_a")
    flags.disable("celery_a")
    assert not flags.is_enabled("celery_a")


def test_sources_are_asked_in_their_order(make):
    flags = make(StaticFlags({"a": False}), StaticFlags({"a": True, "b": True}))
    assert (flags.is_enabled("a"), flags.is_enabled("b")) == (False, True)


@pytest.mark.parametrize(
    "text, share", [("1", 100), ("on", 100), ("0", 0), ("", 0), ("25%", 25), ("12.5", 12.5)]
)
def test_the_environment(make, text, share):
    flags = make(EnvironmentFlags({"MILEPOST_FLAG_CELERY_DATA_IMPORT": text}))
    assert flags.share("celery_data.import") == share


def test_nonsense_in_the_environment_is_off_and_told(make, events):
    flags = make(EnvironmentFlags({"MILEPOST_FLAG_A": "perhaps"}), StaticFlags({"a": True}))
    assert not flags.is_enabled("a")
    assert "'perhaps'" in events[0].problem


def test_a_process_reads_twice_a_second_at_most(documents, make, clock):
    counting = Counting(documents)
    flags = make(documents=counting)
    for _ in range(1000):
        flags.is_enabled("celery_a")
        flags.is_enabled("celery_b")
    assert counting.reads == 1
    clock.advance(KEPT_FOR)
    flags.is_enabled("celery_a")
    assert counting.reads == 2


def test_another_process_sees_a_change_within_a_second(make, clock):
    here, there = make(), make()
    assert not there.is_enabled("celery_a")
    here.enable("celery_a")
    assert here.is_enabled("celery_a")
    clock.advance(1.0)
    assert there.is_enabled("celery_a")
    assert KEPT_FOR <= 1.0


def test_changes_at_once_are_all_kept(make):
    """Several processes switch flags of the same document; no change is lost."""
    all_flags = [make() for _ in range(8)]

    def switch(number, flags):
        for part in range(5):
            flags.enable(f"flag_{number}_{part}")

    threads = [threading.Thread(target=switch, args=pair) for pair in enumerate(all_flags)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(all_flags[0].rules()) == 40


def test_a_failing_source_gives_the_safe_default_and_an_event(make, events, documents, clock):
    """Not the next source's word: the one that failed might have said no."""
    counting = Counting(documents)
    flags = make(StaticFlags({"celery_a": True}), documents=counting)
    counting.fails = True
    assert not flags.is_enabled("celery_a")
    assert [type(event) for event in events] == [FlagSourceFailed]
    assert (events[0].source, events[0].flag) == ("store", "celery_a")
    for _ in range(100):
        assert not flags.is_enabled("celery_a")
    assert counting.reads == 1, "a store that is away is not asked for every job"
    counting.fails = False
    clock.advance(KEPT_FOR)
    assert flags.is_enabled("celery_a")


def test_a_share_is_sticky_and_about_right(make):
    flags = make()
    flags.enable("celery_a", 25)
    keys = [f"customer-{number}" for number in range(4000)]
    on = {key for key in keys if flags.is_enabled("celery_a", key)}
    assert on == {key for key in keys if flags.is_enabled("celery_a", key)}
    assert 0.22 < len(on) / len(keys) < 0.28


def test_a_larger_share_only_adds_keys():
    keys = [str(number) for number in range(2000)]
    shares = [{k for k in keys if falls_within(share, "f", k)} for share in (0, 5, 30, 80, 100)]
    assert all(less < more for less, more in itertools.pairwise(shares))
    assert (len(shares[0]), len(shares[-1])) == (0, 2000)


def test_flags_divide_keys_differently():
    keys = [str(number) for number in range(2000)]
    a, b = ({k for k in keys if falls_within(50, flag, k)} for flag in ("a", "b"))
    assert 400 < len(a & b) < 600


def test_the_hash_is_the_same_in_every_version():
    """A changed hash would send half of all keys to the other system."""
    found = [falls_within(50, "celery_import", f"key-{number}") for number in range(12)]
    assert found == PINNED


PINNED = [True, True, False, True, False, False, False, False, True, False, True, False]


def test_without_a_key_chance_decides(make):
    flags = make()
    flags.enable("celery_a", 50)
    assert {flags.is_enabled("celery_a") for _ in range(200)} == {True, False}


@pytest.mark.parametrize(
    "flag, share", [("", 1), ("x" * 201, 1), ("a", -1), ("a", 101), ("a", True), ("celery_*", 1)]
)
def test_what_cannot_be_switched(make, flag, share):
    with pytest.raises(ConfigurationError, match="flag"):
        make().enable(flag, share)


# -- OpenFeature ------------------------------------------------------------------------------


@pytest.fixture
def provider():
    api = require_module("openfeature.api")
    memory = require_module("openfeature.provider.in_memory_provider")
    yield lambda flags: api.set_provider(
        memory.InMemoryProvider(
            {
                name: memory.InMemoryFlag("on" if on else "off", {"on": True, "off": False})
                for name, on in flags.items()
            }
        )
    )
    api.clear_providers()


def test_openfeature_decides(provider, make):
    provider({"celery_a": True, "celery_b": False})
    flags = make(OpenFeatureFlags(), StaticFlags({"celery_b": True, "celery_c": True}))
    assert [flags.is_enabled(f"celery_{x}", "k") for x in "abc"] == [True, False, True]


def test_openfeature_without_a_provider_has_no_opinion(provider, make):
    flags = make(OpenFeatureFlags(), StaticFlags({"celery_a": True}))
    assert flags.is_enabled("celery_a")


def test_an_openfeature_provider_that_fails(provider, make, events):
    provider({})
    from openfeature import api
    from openfeature.provider.in_memory_provider import InMemoryProvider

    class Broken(InMemoryProvider):
        def resolve_boolean_details(self, *args, **kwargs):
            raise RuntimeError("the provider's server is away")

    api.set_provider(Broken({}))
    flags = make(OpenFeatureFlags(), StaticFlags({"celery_a": True}))
    assert not flags.is_enabled("celery_a")
    assert events[0].source == "openfeature"
    assert "server is away" in events[0].problem
