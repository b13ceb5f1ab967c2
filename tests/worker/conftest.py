"""Sites of every kind for the workers' tests, and their logs when a test fails."""

import itertools
import tempfile
from pathlib import Path

import pytest
from workers import Site

from services import start_postgres, start_redis

HERE = Path(__file__).parent
KINDS = ("redis", "redis+sqlite", "files+sqlite", "redis+postgres")
"""Broker and store; where only one is named, it is both."""
SHORT = {"lease_seconds": 2.0, "renew_seconds": 0.5}
"""A lease for tests that have to wait until it lapses, where its length is not the point."""
RESTORE_SOON = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in Path(item.path).parents:
            item.add_marker(pytest.mark.worker)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for site in getattr(item, "sites", ()):
            for worker in site.workers:
                report.sections.append((f"log of {worker.name}", worker.text()[-6000:]))
            report.sections.append(("effects", "\n".join(map(str, site.effects()[-60:]))))
    return report


@pytest.fixture(scope="session")
def redis_server():
    server = start_redis("--databases", "1000")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server():
    server = start_postgres("-c", "fsync=off")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def databases(redis_server):
    """URLs of empty databases of the Redis server, one after the other."""
    base = redis_server.url.rpartition("/")[0]
    return (f"{base}/{number}" for number in itertools.count(1))


@pytest.fixture
def make_site(request):
    """A function that makes a site of a kind; all that it starts ends with the test."""
    sites = request.node.sites = []
    folders = []
    namespaces = itertools.count()

    def make(
        kind, *, conf=None, settings=None, store=None, short_lease=False, broker=None, backend=None
    ):
        folder = tempfile.TemporaryDirectory(prefix="milepost-worker-", ignore_cleanup_errors=True)
        folders.append(folder)
        path = Path(folder.name)
        settings = {**(SHORT if short_lease else {}), **(settings or {})}
        given = broker
        broker, _, store_kind = kind.partition("+")
        fresh = request.getfixturevalue("databases") if "redis" in kind else iter(())
        if broker == "redis":
            conf = {"broker_transport_options": RESTORE_SOON, **(conf or {})}
            urls = (given, given) if given else (next(fresh), next(fresh))
        else:
            (path / "results").mkdir()
            urls = ("filesystem://", f"file://{path}/results")
        if store is None and store_kind == "sqlite":
            store = f"sqlite:///{path}/jobs.db"
        elif store is None and store_kind == "postgres":
            store = request.getfixturevalue("postgres_server").url
            settings["namespace"] = f"t{abs(hash(folder.name)) % 10**9}_{next(namespaces)}"
        elif store is None:
            store = next(fresh)
        site = Site(path, urls[0], store, backend or urls[1], conf=conf, settings=settings)
        sites.append(site)
        return site

    yield make
    for site in sites:
        site.close()
    for folder in folders:
        folder.cleanup()
