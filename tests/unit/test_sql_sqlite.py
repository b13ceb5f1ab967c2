"""What is SQLite's own: its URL, its file, its one writer at a time."""

import os
import sqlite3
import threading
import time

import pytest

from milepost.errors import ConfigurationError, JobNotFoundError, StoreError, StoreUnavailableError
from milepost.model import NOTHING, Delivery, Delta, JobStatus, NewJob, Settlement
from milepost.settings import Settings
from milepost.stores import open_store
from milepost.stores.sql import sqlite


@pytest.fixture
def path(tmp_path):
    return tmp_path / "jobs.db"


@pytest.fixture
def store(path):
    store = open_store(f"sqlite:///{path}", Settings(store_timeout=0.3))
    yield store
    store.close()


def granted(store, job_id="j"):
    store.create(NewJob(job_id, "t", b"m"))
    return store.claim(Delivery(job_id, "t"), "w:1", 60.0).lease


@pytest.mark.parametrize(
    "url, words",
    [
        ("sqlite://", "three slashes"),
        ("sqlite://jobs.db", "three slashes"),
        ("sqlite:///", "memory://"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///file::memory:?mode=memory", "memory://"),
        ("sqlite:///jobs.db?synchronous=OFF", "synchronous"),
        ("sqlite:///jobs.db?cache=shared", "synchronous"),
    ],
)
def test_wrong_url(url, words):
    with pytest.raises(ConfigurationError, match=words):
        open_store(url)


def test_nothing_is_touched_before_the_first_use(store, path):
    assert not path.exists()
    store.create(NewJob("j", "t", b"m"))
    assert path.exists()


def test_relative_path_is_kept_when_the_directory_changes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///a%20b.db")
    monkeypatch.chdir("/")
    store.create(NewJob("j", "t", b"m"))
    assert (tmp_path / "a b.db").exists()
    store.close()


def test_too_old_library(monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    monkeypatch.setattr(sqlite3, "sqlite_version", "3.34.1")
    with pytest.raises(ConfigurationError, match=r"3\.34\.1"):
        open_store("sqlite:///jobs.db")


@pytest.mark.parametrize("level, number", [("NORMAL", 1), ("FULL", 2), ("extra", 3)])
def test_wal_and_synchronous(path, level, number):
    store = sqlite.connect(f"sqlite:///{path}?synchronous={level}", Settings())
    link = store._database.sessions.get().link
    assert link.fetch("PRAGMA journal_mode", {}) == [("wal",)]
    assert link.fetch("PRAGMA synchronous", {}) == [(number,)]
    store.close()


def test_locked_file_is_an_error_in_time_and_passes(store, path):
    lease = granted(store)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for write in (
        lambda: store.commit(lease, Delta({"a": b"1"})),
        lambda: store.commit(lease, NOTHING),
        lambda: store.create(NewJob("k", "t", b"m")),
        lambda: store.settle(lease, Settlement(JobStatus.SUCCEEDED)),
        lambda: store.delete("j"),
    ):
        start = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="locked"):
            write()
        assert time.monotonic() - start < 1.5
    assert store.get("j").status is JobStatus.RUNNING
    other.execute("ROLLBACK")
    other.close()
    store.commit(lease, Delta({"a": b"1"}))


def test_waits_for_another_writer(store, path):
    lease = granted(store)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    timer = threading.Timer(0.1, other.execute, ("COMMIT",))
    timer.start()
    store.commit(lease, Delta({"a": b"1"}))
    timer.join()
    other.close()


def test_missing_directory(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/nowhere/jobs.db")
    with pytest.raises(StoreUnavailableError, match="no directory"):
        store.get("j")


def test_a_file_that_is_no_database(path):
    path.write_bytes(b"I am a diary, not a database. " * 100)
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="not a database"):
        store.get("j")


def test_a_file_that_cannot_be_looked_at(store, path, monkeypatch):
    """As where its folder may no longer be read; it passes, and the store goes on."""
    monkeypatch.setattr(sqlite, "CHECK_EVERY", 0.0)
    lease = granted(store)
    stat = os.stat

    def refuse(name, *args, **kwargs):
        if name == str(path):
            raise PermissionError(13, "Permission denied", name)
        return stat(name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        for _ in range(2):  # on the connection that was there, and on a new one
            with pytest.raises(StoreUnavailableError, match=r"Permission denied: .*jobs"):
                store.commit(lease, Delta({"a": b"1"}))
    store.commit(lease, Delta({"a": b"1"}))
    assert store.load("j") == {"a": b"1"}


def test_a_folder_that_a_file_has_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "CHECK_EVERY", 0.0)
    folder = tmp_path / "folder"
    folder.mkdir()
    store = open_store(f"sqlite:///{folder}/jobs.db")
    lease = granted(store)
    folder.rename(tmp_path / "elsewhere")
    folder.write_text("no folder")
    with pytest.raises(StoreError, match="deleted or replaced"):
        store.commit(lease, Delta({"a": b"1"}))
    with pytest.raises(StoreUnavailableError, match="no directory"):
        store.commit(lease, Delta({"a": b"1"}))


def test_deleted_file_is_told_then_made_anew(store, path, monkeypatch):
    monkeypatch.setattr(sqlite, "CHECK_EVERY", 0.0)
    lease = granted(store)
    for name in os.listdir(path.parent):
        os.unlink(path.parent / name)
    with pytest.raises(StoreError, match="deleted or replaced"):
        store.commit(lease, Delta({"a": b"1"}))
    with pytest.raises(JobNotFoundError):
        store.get("j")


def test_damaged_file(store, path):
    granted(store)
    store.close()
    size = path.stat().st_size
    with open(path, "r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with pytest.raises(StoreError, match="malformed"):
        store.load("j")


def test_threads_have_their_own_connections_given_back_by_close(store):
    lease = granted(store)
    release = threading.Event()
    ready = threading.Barrier(3)

    def work():
        store.commit(lease, NOTHING)
        ready.wait()
        release.wait()
        store.commit(lease, NOTHING)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    ready.wait()
    mine = store._database.sessions._open[os.getpid()]
    assert len(mine) == 3
    store.close()
    assert not mine
    release.set()
    for thread in threads:
        thread.join()
    assert len(mine) == 2
    store.get("j")
    assert len(mine) == 1, "connections of threads that ended are closed"


def test_an_exception_from_outside_leaves_no_transaction(store, monkeypatch):
    lease = granted(store)
    link = store._database.sessions.get().link

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(link, "_apply", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.commit(lease, Delta({"a": b"1"}))
    monkeypatch.undo()
    store.commit(lease, Delta({"a": b"2"}))
    assert store.load("j") == {"a": b"2"}
