"""What is PostgreSQL's own: its URL, and a server that freezes, restarts or goes away."""

import builtins
import os
import signal
import sys
import threading
import time

import psycopg
import pytest

from milepost.errors import ConfigurationError, MissingExtraError, StoreUnavailableError
from milepost.model import NOTHING, Delivery, Delta, JobStatus, NewJob, Signal
from milepost.settings import Settings
from milepost.stores import open_store
from services import free_port, start_postgres

TIMEOUT = 1.0
DEADLINE = TIMEOUT + 1.5


@pytest.fixture(scope="module")
def server():
    server = start_postgres()
    yield server
    server.stop()


@pytest.fixture
def store(server):
    store = open_store(server.url, Settings(store_timeout=TIMEOUT))
    yield store
    store.close()


@pytest.fixture
def lease(store):
    store.delete("j")
    store.create(NewJob("j", "t", b"m", resend_after=0.0))
    return store.claim(Delivery("j", "t"), "w:1", 60.0).lease


def backend(store):
    return store._database.sessions.get().link._connection.info.backend_pid


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_schemes_and_name(scheme):
    store = open_store(f"{scheme}://me:s3cret@db.example:5433/jobs?sslmode=prefer")
    assert store.name == "postgresql://me@db.example:5433/jobs"


@pytest.mark.parametrize("rest", ["me:s3cret@localhost/db?nonsense=1", "me:s3cret%zz@localhost/db"])
def test_wrong_url_keeps_the_password(rest):
    with pytest.raises(ConfigurationError) as caught:
        open_store(f"postgresql://{rest}")
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_driver(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "psycopg"]:
        monkeypatch.delitem(sys.modules, name)
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "psycopg":
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return real(name, *args, **kwargs)

    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'milepost\[postgres\]'"):
        open_store("postgresql://localhost/db")


def test_nobody_there():
    store = open_store(f"postgresql://me:s3cret@127.0.0.1:{free_port()}/db")
    with pytest.raises(StoreUnavailableError) as caught:
        store.get("j")
    assert "s3cret" not in str(caught.value)


def test_frozen_backend_is_an_error_in_time(store, lease):
    frozen = backend(store)
    os.kill(frozen, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="no answer within"):
            store.commit(lease, Delta({"a": b"1"}))
        assert time.monotonic() - start < DEADLINE
        assert store.get("j").status is JobStatus.RUNNING, "a new connection goes on"
        assert backend(store) != frozen
    finally:
        os.kill(frozen, signal.SIGCONT)
    store.commit(lease, Delta({"a": b"2"}))
    assert store.load("j")["a"] in (b"1", b"2")


def test_frozen_server_is_an_error_in_time_also_for_new_connections(server, store, lease):
    server.freeze()
    try:
        for _ in range(2):
            start = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                store.commit(lease, NOTHING)
            assert time.monotonic() - start < DEADLINE + 1.0
    finally:
        server.thaw()
    store.commit(lease, NOTHING)


def test_a_row_that_stays_locked_is_an_error_in_time(server, store, lease):
    with psycopg.connect(server.url) as other:
        other.execute("SELECT 1 FROM milepost_jobs WHERE id = 'j' FOR UPDATE")
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="timeout"):
            store.commit(lease, NOTHING)
        assert time.monotonic() - start < DEADLINE
        assert store.renew("w", ["j"]) == {"j"}, "the keeper does not wait for it"
        assert store.claim_recovery("j", 1.0) is None
        other.rollback()
    store.commit(lease, NOTHING)


def test_restarted_server_is_not_noticed(server, store, lease):
    store.commit(lease, Delta({"a": b"1"}))
    store.signal("j", Signal.DRAIN)
    server.restart()
    assert store.commit(lease, Delta({"b": b"2"})) is Signal.DRAIN
    assert store.load("j") == {"a": b"1", "b": b"2"}


def test_killed_server_is_unavailable_then_back(server, store, lease):
    store.commit(lease, Delta({"a": b"1"}))
    server.kill()
    with pytest.raises(StoreUnavailableError):
        store.commit(lease, Delta({"b": b"2"}))
    server.start()
    store.commit(lease, Delta({"b": b"2"}))
    assert store.load("j") == {"a": b"1", "b": b"2"}


def test_terminated_connections_under_load(server, store, lease):
    """Connections are cut at any moment; nothing is lost and nothing is counted twice.

    Who is cut off twice in one call is told so, and asks again, as an attempt does.
    """
    stop = threading.Event()

    def commit(delta):
        while True:
            try:
                return store.commit(lease, delta)
            except StoreUnavailableError:
                continue

    def cut():
        with psycopg.connect(server.url, autocommit=True) as other:
            while not stop.wait(0.05):
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name LIKE 'milepost %'"
                )

    cutter = threading.Thread(target=cut)
    cutter.start()
    try:
        for n in range(300):
            commit(Delta({f"f{n}": b"%d" % n}))
    finally:
        stop.set()
        cutter.join()
    assert store.load("j") == {f"f{n}": b"%d" % n for n in range(300)}


def test_commit_is_one_statement_outside_any_transaction_block(server, store, lease):
    store.commit(lease, Delta({"a": b"1"}))
    sent = []
    cursor = store._database.sessions.get().link._cursor

    class Spy:
        def execute(self, sql, *args, **kwargs):
            sent.append(sql)
            return cursor.execute(sql, *args, **kwargs)

        def __getattr__(self, name):
            return getattr(cursor, name)

    store._database.sessions.get().link._cursor = Spy()
    store.commit(lease, Delta({"a": b"2", "b": b"1"}, ("c",)))
    store.commit(lease, NOTHING)
    assert len(sent) == 2
    assert all(sql.startswith(("WITH held", "UPDATE")) for sql in sent)
