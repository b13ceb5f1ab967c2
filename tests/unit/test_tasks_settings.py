"""Settings: three sources, one order, and errors that name the setting."""

from dataclasses import fields

import pytest

from deliveries import make_app
from milepost import Milepost
from milepost.errors import ConfigurationError
from milepost.settings import Settings, read_settings


def test_defaults_need_nothing():
    """Without any source, the defaults hold."""
    assert read_settings({}, {}, {}) == Settings()


def test_the_first_source_that_names_a_value_wins():
    """Keyword arguments, then Celery's configuration, then the environment."""
    environ = {"MILEPOST_LEASE_SECONDS": "30", "MILEPOST_NAMESPACE": "env", "MILEPOST_STORE": "e"}
    conf = {"milepost_lease_seconds": 20, "milepost_namespace": "conf"}
    settings = read_settings({"lease_seconds": 10}, conf, environ)
    assert (settings.lease_seconds, settings.namespace, settings.store) == (10, "conf", "e")


def test_numbers_are_read_from_text():
    """What the environment says is read by the kind of the setting."""
    environ = {"MILEPOST_MAX_CRASHES": "7", "MILEPOST_SCAN_SECONDS": "0.25"}
    settings = read_settings({}, {}, environ)
    assert (settings.max_crashes, settings.scan_seconds) == (7, 0.25)


def test_celerys_configuration_is_read_late():
    """app.conf may be filled after Milepost(app) was made, as Celery's users do."""
    app = make_app(milepost=False)
    milepost = Milepost(app)
    app.conf.update(milepost_store="memory://", milepost_max_crashes=9)
    assert milepost.runtime.settings.max_crashes == 9


@pytest.mark.parametrize(
    "given, problem",
    [
        ({"lease_second": 3}, "unknown setting 'lease_second'; .*lease_seconds"),
        ({"lease_seconds": 0}, "lease_seconds = 0: .* above 0"),
        ({"lease_seconds": "3"}, "lease_seconds = '3'"),
        ({"retention": -1}, "retention = -1"),
        ({"store_timeout": True}, "store_timeout = True"),
        ({"max_crashes": 1.5}, "max_crashes = 1.5: .* whole number"),
        ({"max_crashes": -1}, "max_crashes = -1"),
        ({"namespace": "a b"}, "namespace = 'a b'"),
        ({"namespace": "1a"}, "namespace = '1a'"),
        ({"namespace": "a" * 41}, "at most 40"),
        ({"record_at": "never"}, "record_at = 'never': 'publish' or 'start'"),
        ({"renew_seconds": 2, "lease_seconds": 3}, "renew_seconds = 2 leaves no room"),
    ],
)
def test_a_bad_value_names_its_setting(given, problem):
    """The error says which setting, which value, and what it must be, at once."""
    with pytest.raises(ConfigurationError, match=problem):
        Milepost(make_app(milepost=False), **given)


@pytest.mark.parametrize("name, text", [("MAX_CRASHES", "many"), ("RETENTION", "a week")])
def test_a_bad_environment_names_its_variable(name, text):
    """The variable is what has to be corrected, so the variable is what is named."""
    with pytest.raises(ConfigurationError, match=f"MILEPOST_{name} = '{text}'"):
        read_settings({}, {}, {f"MILEPOST_{name}": text})


FOREIGN = (b"x", [5], {"a": 1}, object(), -1, -0.5, float("inf"), float("-inf"), float("nan"))
KINDS = {
    "text": ("memory", (*FOREIGN, 5, True, "", " ")),
    "choice": (None, (*FOREIGN, 5, True, "", "other")),
    "truth": (True, (*FOREIGN, 1, 0, "yes", "")),
    "whole": (7, (*FOREIGN, 1.5, True, "5", "", 1e300)),
    "seconds": (2.0, (*FOREIGN, 0, True, "5", "", 1e300, 10**400)),
    "names": (["acme-*"], (*FOREIGN, 5, True, "acme-*", [""], [None])),
}
"""A value that will do for each kind of setting, and what nobody can have meant by one."""
KIND_OF = {
    **dict.fromkeys(("store", "keys", "namespace"), "text"),
    **dict.fromkeys(("compression", "record_at"), "choice"),
    **dict.fromkeys(("allow_pickle", "allow_older_versions", "strict_plugins"), "truth"),
    **dict.fromkeys(("max_crashes", "max_value_bytes"), "whole"),
    **dict.fromkeys(("max_input_bytes", "max_input_depth", "max_input_text"), "whole"),
    "blocked_plugins": "names",
}
"""Those that are not here are seconds."""
SETTINGS = [field.name for field in fields(Settings)]


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_refuses_what_is_of_another_kind(name):
    """At once, by name and with what to give instead; neither quotes what may be a password."""
    for value in KINDS[KIND_OF.get(name, "seconds")][1]:
        shown = (
            f"a value of type {type(value).__name__}" if name in ("store", "keys") else repr(value)
        )
        for make in (
            lambda value=value: Settings(**{name: value}),
            lambda value=value: read_settings({}, {f"milepost_{name}": value}, {}),
        ):
            with pytest.raises(ConfigurationError) as refused:
                make()
            said, _, wanted = str(refused.value).partition(f"{name} = {shown}: ")
            assert said == ""
            assert len(wanted) > 10


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_takes_what_it_is_for(name):
    default = getattr(Settings(), name)
    value = KINDS[KIND_OF.get(name, "seconds")][0] or default
    kept = getattr(read_settings({"lease_seconds": 9, name: value}, {}, {}), name)
    assert kept == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize("name", ["RETENTION", "LEASE_SECONDS", "STORE_TIMEOUT"])
@pytest.mark.parametrize("text", ["inf", "nan", "-1", "0", "1e20"])
def test_the_environment_sets_no_time_without_end(name, text):
    with pytest.raises(ConfigurationError, match=f"{name.lower()} = .*above 0, at most"):
        read_settings({}, {}, {f"MILEPOST_{name}": text})


def test_what_is_no_store_is_no_store():
    with pytest.raises(ConfigurationError, match="store = a value of type int"):
        Milepost(make_app(milepost=False), store=5)
