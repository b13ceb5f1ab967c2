"""The example with a key management service runs, and asks the service once for each key."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "kms_keys"


def test_the_example_runs():
    done = subprocess.run(
        [sys.executable, str(FOLDER / "run.py")], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "in the record: ciphertext",
        "returned: Hello, Ada",
        "the service was asked: wrap, unwrap",
    ]


@pytest.fixture
def standin(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    from standin import StandIn

    server = StandIn()
    yield server
    server.close()


def test_a_service_that_refuses_is_an_error_that_tells_no_secret(standin):
    """Nothing is sent, nothing runs, and a keyring that was read before stays."""
    from kms import Kms

    from milepost.codecs.keyring import open_keys
    from milepost.errors import ConfigurationError

    text = '{"keys": [{"id": "k1", "wrapped": "c2VjcmV0", "use": "current"}]}'
    for client in (Kms(standin.url, "wrong"), Kms(standin.url, "let-the-shop-in")):
        problem = r"key 'k1'.*cannot be unwrapped: HTTPError"
        with pytest.raises(ConfigurationError, match=problem) as caught:
            open_keys(lambda: text, unwrap=client.unwrap).current()
        assert "c2VjcmV0" not in str(caught.value)
        assert caught.value.__context__ is None
