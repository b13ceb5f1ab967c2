"""``commit_in``: a checkpoint inside the user's own transaction."""

import sqlite3
import sys
import uuid

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from milepost.errors import LeaseLostError, NotTransactionalError
from milepost.model import NOTHING, Delivery, Delta, NewJob, Progress, Signal
from milepost.settings import Settings
from milepost.stores import open_store
from milepost.transactional import Transactional

A = Delta({"a": b"\0\xff", "b": b"2"}, ("old",), Progress(3, 9))


@pytest.fixture
def store(url):
    settings = Settings(namespace=f"n{uuid.uuid4().hex[:8]}", store_timeout=1.0)
    store = open_store(url, settings)
    yield store
    store.close()


@pytest.fixture
def lease(store):
    store.create(NewJob("j", "t", b"m"))
    lease = store.claim(Delivery("j", "t"), "w:1", 60.0).lease
    store.commit(lease, Delta({"old": b"0"}))
    return lease


def path_of(url):
    return url.removeprefix("sqlite:///")


def sqlite_or_skip(url):
    if not url.startswith("sqlite"):
        pytest.skip("SQLite's own")


def raw(url, **how):
    if url.startswith("sqlite"):
        return sqlite3.connect(path_of(url), **how)
    return psycopg.connect(url)


def engine(url):
    return sqlalchemy.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


def sa_session(url):
    return Session(engine(url))


def sa_scoped(url):
    return scoped_session(sessionmaker(engine(url)))


def sa_connection(url):
    return engine(url).connect()


def execute(connection, sql):
    """Run the user's own statement."""
    is_sa = hasattr(connection, "get_bind") or hasattr(connection, "exec_driver_sql")
    return connection.execute(sqlalchemy.text(sql) if is_sa else sql)


KINDS = pytest.mark.parametrize("connect", [raw, sa_session, sa_scoped, sa_connection])


@KINDS
@pytest.mark.parametrize("first", ["write", "checkpoint"])
def test_both_are_kept_or_neither(store, lease, url, connect, first):
    assert isinstance(store, Transactional)
    table = f"u{uuid.uuid4().hex[:8]}"
    user = connect(url)
    execute(user, f"CREATE TABLE {table} (n INTEGER)")
    user.commit()
    for n, end in enumerate(("rollback", "commit")):
        store.signal("j", Signal.PAUSE)
        if first == "write":
            execute(user, f"INSERT INTO {table} VALUES ({n})")
        assert store.commit_in(user, lease, A) is Signal.PAUSE
        if first == "checkpoint":
            execute(user, f"INSERT INTO {table} VALUES ({n})")
        assert store.load("j") == {"old": b"0"}, "nobody else sees it yet"
        getattr(user, end)()
        if end == "rollback":
            assert store.load("j") == {"old": b"0"}
            assert store.get("j").signal is Signal.PAUSE
            assert store.get("j").progress == Progress()
    assert store.load("j") == dict(A.writes)
    assert store.get("j").progress == Progress(3, 9)
    assert [row[0] for row in execute(user, f"SELECT n FROM {table}").fetchall()] == [1]
    assert store.get("j").signal is None
    user.close()


@KINDS
def test_closing_without_commit_drops_it(store, lease, url, connect):
    user = connect(url)
    store.commit_in(user, lease, A)
    (user.remove if connect is sa_scoped else user.close)()
    assert store.load("j") == {"old": b"0"}


def test_session_begin_block(store, lease, url):
    with sessionmaker(engine(url)).begin() as session:
        store.commit_in(session, lease, A)
    assert store.load("j") == dict(A.writes)


def test_savepoint_rolled_back(store, lease, url):
    with Session(engine(url)) as session:
        store.commit_in(session, lease, Delta({"a": b"1"}))
        nested = session.begin_nested()
        store.commit_in(session, lease, Delta({"a": b"2"}))
        nested.rollback()
        session.commit()
    assert store.load("j")["a"] == b"1"


@KINDS
def test_fenced(store, lease, url, connect):
    taken = store.claim(Delivery("j", "t", 1), "w2:1", 60.0).lease
    user = connect(url)
    with pytest.raises(LeaseLostError):
        store.commit_in(user, lease, A)
    user.rollback()
    assert store.commit_in(user, taken, NOTHING) is None
    user.commit()
    user.close()


def test_many_fields(store, lease, url):
    fields = {f"f{n}": b"%d" % n for n in range(2000)}
    user = raw(url)
    store.commit_in(user, lease, Delta(fields, ("old",)))
    user.commit()
    assert store.load("j") == fields
    user.close()


def test_another_driver(store, lease):
    class Foreign:
        def cursor(self):
            raise AssertionError

    with pytest.raises(NotTransactionalError, match="Foreign"):
        store.commit_in(Foreign(), lease, A)


def test_the_other_database_kind(store, lease, url, tmp_path, request):
    if url.startswith("sqlite"):
        user = psycopg.connect(request.getfixturevalue("server").url)
    else:
        user = sqlite3.connect(tmp_path / "x.db")
    with pytest.raises(NotTransactionalError, match="not on"):
        store.commit_in(user, lease, A)
    user.close()


def test_another_database_of_the_kind(store, lease, url, tmp_path, server):
    if url.startswith("sqlite"):
        user = sqlite3.connect(tmp_path / "other.db")
    else:
        with psycopg.connect(server.url, autocommit=True) as admin:
            name = f"d{uuid.uuid4().hex[:8]}"
            admin.execute(f"CREATE DATABASE {name}")
        user = psycopg.connect(server.url.replace("/postgres", f"/{name}"))
    with pytest.raises(NotTransactionalError):
        store.commit_in(user, lease, A)
    user.rollback()
    # Also when that one has tables of the same name.
    twin = sqlite3.connect(tmp_path / "twin.db") if url.startswith("sqlite") else user
    address = f"sqlite:///{tmp_path}/twin.db" if url.startswith("sqlite") else user.info.dsn
    if not url.startswith("sqlite"):
        address = server.url.replace("/postgres", f"/{name}")
    other = open_store(address, Settings(namespace=store._database._namespace))
    other.create(NewJob("j", "t", b"m"))
    with pytest.raises(NotTransactionalError):
        store.commit_in(twin, lease, A)
    for each in (user, twin, other):
        each.close()


def test_autocommit_is_refused_unless_a_transaction_is_open(store, lease, url):
    if url.startswith("sqlite"):
        user = raw(url, isolation_level=None)
    else:
        user = raw(url)
        user.autocommit = True
    with pytest.raises(NotTransactionalError, match="autocommit"):
        store.commit_in(user, lease, A)
    user.execute("BEGIN")
    store.commit_in(user, lease, A)
    user.execute("ROLLBACK")
    assert store.load("j") == {"old": b"0"}
    user.close()


def test_sqlite_in_memory(store, lease, url):
    sqlite_or_skip(url)
    with pytest.raises(NotTransactionalError, match="memory"):
        store.commit_in(sqlite3.connect(":memory:"), lease, A)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3's autocommit attribute is of 3.12")
@pytest.mark.parametrize("autocommit", [True, False])
def test_sqlite_autocommit_attribute(store, lease, url, autocommit):
    sqlite_or_skip(url)
    user = raw(url, autocommit=autocommit)
    if autocommit:
        with pytest.raises(NotTransactionalError, match="autocommit"):
            store.commit_in(user, lease, A)
    else:
        store.commit_in(user, lease, A)
        user.commit()
        assert store.load("j") == dict(A.writes)
    user.close()


def test_the_users_own_factories_do_not_matter(store, lease, url):
    user = raw(url)
    if url.startswith("sqlite"):
        user.row_factory, user.text_factory = sqlite3.Row, bytes
    else:
        user.row_factory, user.cursor_factory = psycopg.rows.dict_row, psycopg.ClientCursor
    store.signal("j", Signal.CANCEL)
    assert store.commit_in(user, lease, A) is Signal.CANCEL
    user.commit()
    assert store.load("j") == dict(A.writes)
    user.close()


def test_the_store_itself_goes_on_reading_meanwhile(store, lease, url):
    """The user's transaction is open in this very thread: reading works, nothing hangs."""
    user = raw(url)
    store.commit_in(user, lease, A)
    assert store.get("j").fence == lease.fence
    assert store.due(10) == []
    user.rollback()
    user.close()
