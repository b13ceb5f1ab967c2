"""The Redis store keeps the contract: on a real server, and on fakeredis where there is none."""

import threading
import uuid

import fakeredis
import pytest

from milepost.errors import ConfigurationError
from milepost.history import LONGEST, Act
from milepost.model import Delta, JobStatus, NewJob, Progress, Settlement, Signal
from milepost.query import Query
from milepost.settings import Settings
from milepost.stores import open_store
from milepost.stores.redis.listing import STRETCH
from milepost.stores.rules import FORCED
from milepost.testing import StoreContract
from services import free_port, start_redis


@pytest.fixture(scope="module")
def server():
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def fake_url():
    port = free_port()
    server = fakeredis.TcpFakeServer(("127.0.0.1", port))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"redis://127.0.0.1:{port}/0"
    server.shutdown()
    server.server_close()


def open_redis(url, **changes):
    given = {"retention": StoreContract.RETENTION, "max_value_bytes": StoreContract.LIMIT}
    given["namespace"] = f"t{uuid.uuid4().hex}"  # what is found in one test is not another's
    return open_store(url, Settings(**{**given, **changes}))


class RedisContract(StoreContract):
    """What Redis has to keep besides, on either server."""

    def at_one_moment(self, store, job_ids):
        """Make jobs that were all created in the same millisecond."""
        for job_id in job_ids:
            store.create(NewJob(job_id, "t", b"m"))
            moment = 1_700_000_000_123
            store._wire.ask(("HSET", store._record(job_id), "created_at", moment))
            store._wire.ask(("ZADD", store._listing.key, moment, job_id))

    def test_pages_end_between_jobs_of_one_moment(self, store):
        ids = ["a", "aa", "aB", "ab", "B", "Z", "z", "ä", "é", "日本", "~", "0", "{}", "a:b"]
        self.at_one_moment(store, ids)
        first, last = self.new(store), ids[0]
        expected = [first, *sorted(ids, key=str.encode, reverse=True)]
        for is_gone in (False, True):
            seen, cursor = [], None
            while True:
                page = store.find(Query(limit=1, cursor=cursor))
                seen += [job.id for job in page.jobs]
                if is_gone and seen[-1] != last:
                    store.delete(seen[-1])
                if (cursor := page.cursor) is None:
                    break
            assert seen == expected

    def test_more_jobs_of_one_moment_than_a_script_looks_at(self, store):
        ids = [f"{n:05}" for n in range(STRETCH + 10)]
        self.at_one_moment(store, ids)
        assert self.found(store, limit=2000) == ids[::-1]
        page = store.find(Query(limit=3, cursor=store.find(Query(limit=STRETCH + 4)).cursor))
        assert [job.id for job in page.jobs] == ids[5:2:-1]
        assert store.tally() == {("t", JobStatus.PENDING): len(ids)}

    def test_purge_forgets_what_has_expired(self, store):
        living = [self.new(store) for _ in range(3)]
        for n in range(2 * STRETCH + 3):
            store._wire.ask(("ZADD", store._listing.key, n, f"gone-{n}"))
        for n, job_id in enumerate(living):
            store._wire.ask(("ZADD", store._listing.key, 2 * n, job_id))
        young = self.new(store)
        assert self.found(store) == [young, *living[::-1]]
        assert store.purge() == 2 * STRETCH + 3
        assert store._wire.ask(("ZCARD", store._listing.key)) == 4
        assert store.purge() == 0
        self.elapse(self.RETENTION + 0.01)
        assert store.purge() == 0
        assert self.found(store) == [young, *living[::-1]]

    def test_since_between_two_milliseconds(self, store):
        self.at_one_moment(store, ["a"])
        created = store.get("a").created_at
        assert created == 1_700_000_000.123
        assert self.found(store, since=created) == ["a"]
        assert self.found(store, since=created - 0.0004) == ["a"]
        assert self.found(store, since=created + 0.0004) == []

    def test_cursor_of_no_moment(self, store):
        for cursor in ("nan:a", "inf:a", "-inf:a"):
            with pytest.raises(ConfigurationError):
                store.find(Query(cursor=cursor))

    def test_history_loses_whole_lines(self, store):
        job_id = self.new(store)
        for n in range(70):
            store.signal(job_id, Signal.PAUSE, by="ä" * (100 + n))
            store.resume(job_id)
        stored = store._wire.ask(("HGET", store._record(job_id), "history"))
        history = store.get(job_id).history
        assert LONGEST - 600 < len(stored) <= LONGEST
        assert stored.count(b"\n") == len(history)
        assert history[-2].by == "ä" * 169
        assert all(entry.at >= store.get(job_id).created_at for entry in history)

    def test_a_crash_leaves_one_short_line(self, store):
        job_id = self.new(store)
        self.granted(store, job_id, owner="w\t1\n:1", ttl=0.0)
        self.granted(store, job_id, owner="w2:1")
        store.release(job_id, "w2:1", "kill\ted " + "ä" * 200)
        crashes = store.get(job_id).history
        assert [entry.by for entry in crashes] == ["w 1 :1", "w2:1"]
        assert crashes[1].note.startswith("kill ed ää")
        assert 100 < len(crashes[1].note) <= 200

    def test_force_says_so(self, store):
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        job = store.signal(job_id, Signal.CANCEL, by="ann", force=True)
        assert (job.reason, job.history[-1].note) == (FORCED, FORCED)
        job = store.reopen(job_id, Act.RETRY)
        assert (job.worker, job.reason) == (None, None)
        assert self.granted(store, job_id).fence == lease.fence + 1

    def test_begin_of_an_attempt_is_forgotten_by_a_restart(self, store):
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.settle(lease, Settlement(JobStatus.FAILED, delta=Delta(progress=Progress(7))))
        store.reopen(job_id, Act.RETRY)
        claim = self.claim(store, job_id)
        assert (claim.job.begun_done, claim.job.moved_at is None) == (7, False)
        store.settle(claim.lease, Settlement(JobStatus.FAILED))
        job = store.reopen(job_id, Act.RESTART)
        assert (job.begun_at, job.begun_done, job.moved_at) == (None, 0, None)
        claim = self.claim(store, job_id)
        assert (claim.job.begun_done, claim.job.moved_at) == (0, None)
        assert claim.job.begun_at is not None


class TestRedisStore(RedisContract):
    @pytest.fixture
    def store(self, server):
        store = open_redis(server.url)
        yield store
        store.close()


class TestRedisStoreOnAFakeServer(RedisContract):
    @pytest.fixture
    def store(self, fake_url):
        store = open_redis(fake_url)
        yield store
        store.close()
