"""Broker, result backend and store over TLS, with certificates on both sides."""

from pathlib import Path

import pytest
import trustme
from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from milepost import Milepost
from milepost.errors import StoreUnavailableError
from milepost.model import JobStatus
from services import free_port, missing, start_postgres, start_redis


class Authority:
    """A certificate authority, and what it has signed, as files."""

    def __init__(self, folder, server_name):
        self._folder, self._ca = folder, trustme.CA()
        self.root = self._written("root", self._ca.cert_pem.bytes())
        self.server = self._signed("server", self._ca.issue_cert(server_name))
        self.client = self._signed("client", self._ca.issue_cert("worker@shop.test"))

    def _written(self, name, data):
        path = self._folder / f"{name}.pem"
        path.write_bytes(data)
        path.chmod(0o600)  # libpq takes no key that others can read
        return str(path)

    def _signed(self, name, cert):
        chain = b"".join(blob.bytes() for blob in cert.cert_chain_pems)
        return self._written(name, chain), self._written(
            f"{name}-key", cert.private_key_pem.bytes()
        )


class Secured:
    """A Redis that takes nobody without a certificate."""

    def __init__(self, folder, server_name="localhost"):
        folder.mkdir()
        self.authority = Authority(folder, server_name)
        self.port = free_port()
        certificate, key = self.authority.server
        try:
            self._server = start_redis(
                *("--tls-port", str(self.port), "--tls-auth-clients", "yes"),
                *("--tls-cert-file", certificate, "--tls-key-file", key),
                *("--tls-ca-cert-file", self.authority.root, "--databases", "16"),
            )
        except RuntimeError:
            missing("this redis-server was built without TLS")

    def url(self, number, *, root=None, client=True):
        """Return an URL; *root*: whom it trusts; *client*: whether it shows a certificate."""
        options = {"ssl_cert_reqs": "required", "ssl_ca_certs": root or self.authority.root}
        if client:
            options["ssl_certfile"], options["ssl_keyfile"] = self.authority.client
        words = "&".join(f"{name}={value}" for name, value in options.items())
        return f"rediss://localhost:{self.port}/{number}?{words}"

    def stop(self):
        self._server.stop()


@pytest.fixture
def secured(tmp_path):
    server = Secured(tmp_path / "right")
    yield server
    server.stop()


def test_a_job_runs_over_tls_all_the_way(secured, make_site):
    """Broker, backend and store; the worker recovers and reports over it too."""
    site = make_site("redis", broker=secured.url(1), store=secured.url(2))
    site.start_worker()
    result = site.send("count", 10)
    assert site.wait_for_end(result.id).status is JobStatus.SUCCEEDED
    assert result.get(timeout=20) == sum(range(10))
    assert site.milepost.store.name == f"rediss://localhost:{secured.port}/2"


def assert_refused(url, problem):
    """Neither store, nor broker, nor backend talks to the server at *url*."""
    app = Celery("tls", broker=url, backend=url, set_as_current=False)
    app.conf.update(result_backend_always_retry=False, redis_retry_on_timeout=False)
    milepost = Milepost(app, store=url)
    with pytest.raises(StoreUnavailableError, match=problem):
        milepost.store.due(1)
    with pytest.raises(OperationalError, match=problem), app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    with pytest.raises((RedisError, OSError), match=problem):
        app.backend.client.ping()
    app.close()


def test_a_server_of_another_authority_is_refused(secured, tmp_path):
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    other = Authority(stranger, "localhost")
    assert_refused(secured.url(3, root=other.root), "CERTIFICATE_VERIFY_FAILED")


def test_a_server_of_another_name_is_refused(tmp_path):
    """The right authority is not enough: the host's name is verified by default."""
    server = Secured(tmp_path / "renamed", "elsewhere.test")
    try:
        assert_refused(server.url(3), "[Hh]ostname mismatch|CERTIFICATE_VERIFY_FAILED")
    finally:
        server.stop()


def test_a_client_without_a_certificate_is_refused(secured):
    assert_refused(
        secured.url(3, client=False),
        "certificate required|EOF occurred|closed|reset|[Bb]roken pipe",
    )


class SecuredPostgres:
    """A PostgreSQL that takes nobody without TLS and a certificate."""

    def __init__(self, folder, server_name="localhost"):
        folder.mkdir()
        self.authority = Authority(folder, server_name)
        certificate, key = (Path(path).read_bytes() for path in self.authority.server)
        self._server = start_postgres(
            *("-c", "ssl=on", "-c", "hba_file=hba.conf", "-c", "ssl_ca_file=../ca.pem"),
            *("-c", "ssl_cert_file=../server.pem", "-c", "ssl_key_file=../key.pem"),
            files={
                "hba.conf": b"hostssl all all all trust clientcert=verify-ca\n",
                "ca.pem": Path(self.authority.root).read_bytes(),
                "server.pem": certificate,
                "key.pem": key,
            },
        )

    def url(self, *, root=None, client=True, mode="verify-full"):
        """Return an URL; *root*: whom it trusts; *client*: whether it shows a certificate."""
        options = {"sslmode": mode, "sslrootcert": root or self.authority.root}
        if client:
            options["sslcert"], options["sslkey"] = self.authority.client
        else:
            options["sslcertmode"] = "disable"
        words = "&".join(f"{name}={value}" for name, value in options.items())
        return f"postgresql://milepost@localhost:{self._server.port}/postgres?{words}"

    def stop(self):
        self._server.stop()


@pytest.fixture
def make_secured_postgres(tmp_path):
    """A function that starts one."""
    started = []

    def make(server_name="localhost"):
        started.append(SecuredPostgres(tmp_path / f"postgres-{len(started)}", server_name))
        return started[-1]

    yield make
    for server in started:
        server.stop()


def test_a_job_runs_with_a_postgres_over_tls(make_secured_postgres, make_site):
    """It is recorded, claimed, checkpointed and ended over it, and only over it."""
    server = make_secured_postgres()
    site = make_site("redis", store=server.url())
    site.start_worker()
    result = site.send("count", 10)
    assert site.wait_for_end(result.id).status is JobStatus.SUCCEEDED
    assert result.get(timeout=20) == sum(range(10))
    assert_store_refused(server.url(mode="disable", root="none", client=False), "no encryption")


def assert_store_refused(url, problem):
    """A store there can be neither read nor written, and its error says why."""
    app = Celery("tls", broker="memory://", set_as_current=False)
    milepost = Milepost(app, store=url)
    with pytest.raises(StoreUnavailableError, match=problem):
        milepost.store.due(1)
    with pytest.raises(StoreUnavailableError, match=problem):
        milepost.store.delete("job")
    milepost.store.close()


def test_a_postgres_of_another_authority_is_refused(make_secured_postgres, tmp_path):
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    other = Authority(stranger, "localhost")
    server = make_secured_postgres()
    assert_store_refused(server.url(root=other.root), "certificate verify failed")


def test_a_postgres_of_another_name_is_refused(make_secured_postgres):
    """With verify-full; verify-ca would take it."""
    server = make_secured_postgres("elsewhere.test")
    assert_store_refused(server.url(), 'does not match host name "localhost"')


def test_a_postgres_refuses_a_client_without_a_certificate(make_secured_postgres):
    server = make_secured_postgres()
    assert_store_refused(server.url(client=False), "requires a valid client certificate")
