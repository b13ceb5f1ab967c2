"""URLs of the Redis store: what Celery takes is taken, what cannot work is refused."""

import ssl

import pytest
import redis

from milepost.errors import ConfigurationError
from milepost.stores import open_store
from milepost.stores.redis.address import read_address


@pytest.mark.parametrize(
    ("url", "name", "database"),
    [
        ("redis://", "redis://localhost:6379/0", 0),
        ("redis://:pw@h:1/2", "redis://h:1/2", 2),
        ("redis://user:p%2Fw@h:1//", "redis://h:1/0", 0),
        ("redis://h?virtual_host=3", "redis://h:6379/3", 3),
        ("redis://h?virtual_host=/", "redis://h:6379/0", 0),
        ("redis://h?db=4", "redis://h:6379/4", 4),
        ("redis://h/5?visibility_timeout=60&max_connections=9&protocol=3", "redis://h:6379/5", 5),
        ("redis://[::1]:7/0", "redis://[::1]:7/0", 0),
        ("unix:///run/redis.sock?db=2", "unix:///run/redis.sock", 2),
    ],
)
def test_usable(url, name, database):
    address = read_address(url)
    connection = address.connection(2.0)
    assert address.name == name
    assert connection.db == database
    assert connection.protocol == 2
    assert connection.socket_timeout == 2.0


@pytest.mark.parametrize(
    ("asked", "meant"),
    [
        ("required", ssl.CERT_REQUIRED),
        ("CERT_REQUIRED", ssl.CERT_REQUIRED),
        ("CERT_NONE", ssl.CERT_NONE),
        ("optional", ssl.CERT_OPTIONAL),
    ],
)
def test_tls(asked, meant):
    connection = read_address(f"rediss://h:1/0?ssl_cert_reqs={asked}").connection(1.0)
    assert isinstance(connection, redis.SSLConnection)
    assert connection.cert_reqs == meant


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:hunter2/0",
        "redis://:hunter2/x@h:1/0",
        "redis://:hunter2@h:1/abc",
        "redis://:hunter2@h:1/0?db=x",
        "redis://:hunter2@h:1/0?no_such_option=1",
        "redis://:hunter2@h:1/0?socket_timeout=soon",
        "rediss://:hunter2@h:1/0?ssl_cert_reqs=maybe",
        "unix://",
    ],
)
def test_unusable(url):
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_credential_provider_is_found_by_its_name():
    provider = "redis.credentials.UsernamePasswordCredentialProvider"
    connection = read_address(f"redis://h:1/0?credential_provider={provider}").connection(1.0)
    assert isinstance(connection.credential_provider, redis.UsernamePasswordCredentialProvider)
    with pytest.raises(ConfigurationError, match="nowhere"):
        read_address("redis://h:1/0?credential_provider=nowhere.Provider")


def test_nothing_connects_before_the_first_use():
    assert open_store("redis://nobody.invalid:1/0").name == "redis://nobody.invalid:1/0"
