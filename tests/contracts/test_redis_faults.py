"""The Redis store when the network, the server or the process itself misbehaves."""

import contextlib
import multiprocessing
import signal
import socket
import threading
import time
import uuid

import pytest
import redis

from milepost.errors import (
    InvalidTransitionError,
    LeaseLostError,
    StoreError,
    StoreUnavailableError,
)
from milepost.history import Act
from milepost.model import (
    NOTHING,
    Delivery,
    Delta,
    Granted,
    JobStatus,
    NewJob,
    Progress,
    Refused,
    Settlement,
    Signal,
)
from milepost.query import Query
from milepost.settings import Settings
from milepost.stores import open_store
from milepost.stores.redis import lua
from services import free_port, start_redis

VERBS = (
    *("create", "claim", "commit", "settle", "get", "signal", "reopen", "wake", "resume"),
    *("find", "tally", "purge", "delete"),
)
DONE = Settlement(JobStatus.SUCCEEDED, result=b"r")
TIMEOUT = 0.5
MARGIN = 0.4


class Proxy:
    """A TCP proxy that can lose a script's reply, or hold its request back.

    Attributes:
        requests: how many packets the client has sent.
    """

    def __init__(self, port):
        self._port, self.requests = port, 0
        self._losses, self._holds, self._held = 0, 0, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def lose(self, replies=1):
        """Let the server execute the next scripts, and break the line instead of answering."""
        self._losses = replies

    def hold(self):
        """Break the line at the next script, and keep it for :meth:`deliver`."""
        self._holds = 1

    def deliver(self):
        """Send what was held to the server at last; return its reply."""
        with socket.create_connection(("127.0.0.1", self._port)) as sock:
            sock.sendall(self._held.pop())
            return sock.recv(65536)

    def close(self):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            while request := client.recv(65536):
                self.requests += 1
                is_script = b"EVALSHA" in request
                if is_script and self._holds:
                    self._holds -= 1
                    self._held.append(request)
                    return
                server.sendall(request)
                reply = server.recv(65536)
                if is_script and self._losses and not reply.startswith(b"-NOSCRIPT"):
                    self._losses -= 1
                    return
                client.sendall(reply)


@pytest.fixture(scope="module")
def server():
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture
def own_server():
    """A server for one test, which may end or freeze it."""
    server = start_redis("--appendonly", "yes")
    yield server
    server.thaw()
    server.stop()


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def opened(url, **changes):
    return open_store(url, Settings(**{"store_timeout": TIMEOUT, **changes}))


def new(store, **changes):
    job_id = str(uuid.uuid4())
    given = {"task": "t", "message": b"m", **changes}
    assert store.create(NewJob(job_id, **given))
    return job_id


def granted(store, job_id, lease_seconds=60.0):
    claim = store.claim(Delivery(job_id, "t"), "w1:1", lease_seconds)
    assert isinstance(claim, Granted), claim
    return claim.lease


# -- a reply is lost ------------------------------------------------------------------------


def test_commit_whose_reply_was_lost_keeps_its_signal(proxy):
    store = opened(proxy.url)
    lease = granted(store, new(store))
    store.signal(lease.job_id, Signal.PAUSE)
    proxy.lose()
    assert store.commit(lease, Delta({"a": b"1"}, (), Progress(1))) is Signal.PAUSE
    assert store.commit(lease, Delta({"b": b"2"})) is None
    assert store.load(lease.job_id) == {"a": b"1", "b": b"2"}


def test_commit_that_failed_twice_leaves_its_signal_to_the_next(proxy):
    store = opened(proxy.url)
    lease = granted(store, new(store))
    store.signal(lease.job_id, Signal.CANCEL)
    proxy.lose(2)
    with pytest.raises(StoreUnavailableError):
        store.commit(lease, Delta({"a": b"1"}))
    assert store.commit(lease, NOTHING) is Signal.CANCEL
    assert store.commit(lease, NOTHING) is None


def test_commit_that_arrives_late_changes_nothing(proxy):
    store = opened(proxy.url)
    lease = granted(store, new(store))
    store.commit(lease, NOTHING)
    proxy.hold()
    store.commit(lease, Delta({"a": b"old"}))
    store.commit(lease, Delta({"a": b"new"}))
    assert b"lost" in proxy.deliver()
    assert store.load(lease.job_id) == {"a": b"new"}
    store.settle(lease, DONE)
    assert store.get(lease.job_id).status is JobStatus.SUCCEEDED


def test_threads_of_one_attempt_share_the_token(proxy, monkeypatch):
    """One commit is resent, under the next token, while another is on its way with the last."""
    store = opened(proxy.url)
    lease = granted(store, new(store))
    ask = store._wire.ask

    def ask_after_another_thread(command, in_doubt=None):
        monkeypatch.undo()
        proxy.lose()
        assert store.commit(lease, Delta({"other": b"1"})) is None
        return ask(command, in_doubt)

    store.commit(lease, NOTHING)
    monkeypatch.setattr(store._wire, "ask", ask_after_another_thread)
    assert store.commit(lease, Delta({"mine": b"1"})) is None
    assert store.load(lease.job_id) == {"other": b"1", "mine": b"1"}


def test_lost_reply_does_not_let_a_stale_writer_in(proxy):
    store = opened(proxy.url)
    zombie = granted(store, new(store), lease_seconds=0.0)
    lease = granted(store, zombie.job_id)
    proxy.lose()
    with pytest.raises(LeaseLostError):
        store.commit(zombie, Delta({"a": b"old"}))
    proxy.lose()
    with pytest.raises(LeaseLostError):
        store.settle(zombie, DONE)
    store.commit(lease, NOTHING)
    assert store.load(lease.job_id) == {}


def test_settle_whose_reply_was_lost_is_done(proxy):
    store = opened(proxy.url)
    lease = granted(store, new(store))
    proxy.lose()
    store.settle(lease, DONE)
    assert store.get(lease.job_id).status is JobStatus.SUCCEEDED
    with pytest.raises(LeaseLostError):
        store.settle(lease, DONE)


def test_settle_whose_job_went_on_is_done(proxy):
    store = opened(proxy.url)
    lease = granted(store, new(store))
    proxy.lose(2)
    with pytest.raises(StoreUnavailableError):
        store.settle(lease, Settlement(JobStatus.INTERRUPTED, delay=0.0))
    other = granted(store, lease.job_id)
    store.settle(lease, Settlement(JobStatus.INTERRUPTED, delay=0.0))
    job = store.get(lease.job_id)
    assert (job.status, job.fence, job.interruptions) == (JobStatus.RUNNING, other.fence, 1)


def test_settle_with_another_outcome_is_refused(proxy):
    store = opened(proxy.url)
    lease = granted(store, new(store))
    proxy.lose(2)
    with pytest.raises(StoreUnavailableError):
        store.settle(lease, DONE)
    with pytest.raises(LeaseLostError):
        store.settle(lease, Settlement(JobStatus.FAILED))
    assert store.get(lease.job_id).status is JobStatus.SUCCEEDED


def test_claim_whose_reply_was_lost_is_granted_once(proxy):
    store = opened(proxy.url)
    job_id = new(store)
    proxy.lose()
    lease = granted(store, job_id)
    job = store.get(job_id)
    assert (lease.fence, job.fence, job.attempts, job.crashes) == (1, 1, 1, 0)
    assert isinstance(store.claim(Delivery(job_id, "t"), "w1:1", 60.0), Refused)


def test_create_whose_reply_was_lost_is_true_once(proxy):
    store = opened(proxy.url)
    proxy.lose()
    job_id = new(store)
    proxy.lose()
    assert not store.create(NewJob(job_id, "t", b"m"))


def test_recovery_whose_reply_was_lost_is_won_once(proxy):
    store = opened(proxy.url)
    lease = granted(store, new(store), lease_seconds=0.0)
    time.sleep(0.002)
    proxy.lose()
    recovery = store.claim_recovery(lease.job_id, 60.0)
    assert recovery is not None
    assert recovery.job.crashes == 1
    assert store.claim_recovery(lease.job_id, 60.0) is None


def test_release_and_signal_whose_reply_was_lost(proxy):
    store = opened(proxy.url)
    lease, waiting = granted(store, new(store)), new(store)
    proxy.lose()
    assert store.release(lease.job_id, "w1", "SIGKILL") is True
    assert store.get(lease.job_id).crashes == 1
    proxy.lose()
    assert store.signal(waiting, Signal.CANCEL).status is JobStatus.CANCELLED


def running(store):
    return granted(store, new(store)).job_id


def waiting(store):
    return new(store, delay=3600.0)


def paused(store):
    job_id = new(store)
    store.signal(job_id, Signal.PAUSE)
    return job_id


def asked_to_pause(store):
    job_id = running(store)
    store.signal(job_id, Signal.PAUSE)
    return job_id


def failed(store):
    lease = granted(store, new(store))
    store.commit(lease, Delta({"a": b"1", "b": b"2"}))
    store.settle(lease, Settlement(JobStatus.FAILED, error="boom"))
    return lease.job_id


CONTROL = {
    "signal-running": (running, lambda s, j: s.signal(j, Signal.PAUSE), JobStatus.RUNNING),
    "signal-waiting": (waiting, lambda s, j: s.signal(j, Signal.PAUSE), JobStatus.PAUSED),
    "cancel": (paused, lambda s, j: s.signal(j, Signal.CANCEL), JobStatus.CANCELLED),
    "force": (running, lambda s, j: s.signal(j, Signal.CANCEL, force=True), JobStatus.CANCELLED),
    "resume-paused": (paused, lambda s, j: s.resume(j), JobStatus.PENDING),
    "resume-running": (asked_to_pause, lambda s, j: s.resume(j), JobStatus.RUNNING),
    "wake": (waiting, lambda s, j: s.wake(j), JobStatus.PENDING),
    "retry": (failed, lambda s, j: s.reopen(j, Act.RETRY, drop=["a"]), JobStatus.PENDING),
    "restart": (failed, lambda s, j: s.reopen(j, Act.RESTART, drop=None), JobStatus.PENDING),
}
control = pytest.mark.parametrize(("make", "ask", "status"), CONTROL.values(), ids=CONTROL)


@control
def test_control_act_whose_reply_was_lost_is_done_once(proxy, make, ask, status):
    store = opened(proxy.url)
    twin, job_id = make(store), make(store)
    smooth, before = ask(store, twin), len(store.get(job_id).history)
    proxy.lose()
    job = ask(store, job_id)
    assert job.status is smooth.status is status
    assert (job.signal, job.error, job.ended_at is None) == (
        *(smooth.signal, smooth.error, smooth.ended_at is None),
    )
    assert len(job.history) == before + 1
    assert job.history[-1].act == smooth.history[-1].act
    assert store.load(job_id) == store.load(twin)


@control
def test_control_act_that_arrives_late_changes_nothing(proxy, make, ask, status):
    """The job has gone on meanwhile: what comes late must not take it back."""
    store = opened(proxy.url)
    job_id = make(store)
    proxy.hold()
    assert ask(store, job_id).status is status
    if status is JobStatus.PENDING:
        store.settle(granted(store, job_id), Settlement(JobStatus.FAILED, error="again"))
    before = store.get(job_id)
    assert b"taken" in proxy.deliver()
    after = store.get(job_id)
    assert (after.status, after.signal, after.history) == (
        *(before.status, before.signal, before.history),
    )


def test_signal_that_was_obeyed_is_not_left_again_by_its_resend(proxy, monkeypatch):
    """Between the two sendings a commit takes the signal."""
    store, other = opened(proxy.url), opened(proxy.url)
    lease = granted(store, new(store))
    again = store._wire._ask_again

    def commit_first(*args):
        monkeypatch.undo()
        assert other.commit(lease, NOTHING) is Signal.PAUSE
        return again(*args)

    proxy.lose()
    monkeypatch.setattr(store._wire, "_ask_again", commit_first)
    assert store.signal(lease.job_id, Signal.PAUSE).signal is None
    assert other.commit(lease, NOTHING) is None
    assert len(store.get(lease.job_id).history) == 1


def test_control_act_does_not_disturb_a_claim_that_is_sent_again(proxy, monkeypatch):
    store, other = opened(proxy.url), opened(proxy.url)
    job_id = new(store)
    again = store._wire._ask_again

    def signal_first(*args):
        monkeypatch.undo()
        other.signal(job_id, Signal.PAUSE)
        return again(*args)

    store.get(job_id)
    proxy.lose()
    monkeypatch.setattr(store._wire, "_ask_again", signal_first)
    assert store.commit(granted(store, job_id), NOTHING) is Signal.PAUSE


@pytest.mark.parametrize("how", ["claim", "recovery", "release", "settle"])
def test_crash_or_end_whose_reply_was_lost_is_on_record_once(proxy, how):
    store = opened(proxy.url)
    lease = granted(store, new(store), lease_seconds=0.0)
    time.sleep(0.002)
    proxy.lose()
    if how == "claim":
        granted(store, lease.job_id)
    elif how == "recovery":
        store.claim_recovery(lease.job_id, 60.0)
    elif how == "release":
        store.release(lease.job_id, "w1", "SIGKILL")
    else:
        store.settle(lease, Settlement(JobStatus.FAILED, error="boom"))
    assert [entry.by for entry in store.get(lease.job_id).history] == ["w1:1"]


def test_every_verb_is_one_command(proxy):
    store = opened(proxy.url)
    for verb in VERBS:  # the server knows the scripts
        store._wire.ask(("SCRIPT", "LOAD", lua.script(verb).text))
    lease = granted(store, new(store))

    counts = {}
    for verb, call in {
        "create": lambda: store.create(NewJob(str(uuid.uuid4()), "t", b"m")),
        "commit": lambda: store.commit(lease, Delta({"a": b"1"}, ("b",), Progress(1, 2))),
        "settle": lambda: store.settle(lease, Settlement(JobStatus.INTERRUPTED, delay=0.0)),
        "claim": lambda: store.claim(Delivery(lease.job_id, "t"), "w1:1", 60.0),
        "get": lambda: store.get(lease.job_id),
        "load": lambda: store.load(lease.job_id),
        "signal": lambda: store.signal(lease.job_id, Signal.CANCEL, force=True),
        "reopen": lambda: store.reopen(lease.job_id, Act.RETRY, drop=["a"]),
        "wake": lambda: store.wake(lease.job_id),
        "resume": lambda: store.resume(lease.job_id),
        "find": lambda: store.find(Query(limit=2)),
        "tally": store.tally,
        "purge": store.purge,
        "delete": lambda: store.delete(lease.job_id),
    }.items():
        before = proxy.requests
        call()
        counts[verb] = proxy.requests - before
    assert counts == dict.fromkeys([*VERBS, "load"], 1)


# -- the server -----------------------------------------------------------------------------


def test_flushed_scripts_are_loaded_again(server):
    store = opened(server.url)
    lease = granted(store, new(store))
    client = redis.Redis.from_url(server.url)
    client.script_flush()
    client.config_resetstat()
    store.commit(lease, Delta({"a": b"1"}))
    store.commit(lease, Delta({"a": b"2"}))
    calls = {name: stat["calls"] for name, stat in client.info("commandstats").items()}
    assert (calls["cmdstat_evalsha"], calls["cmdstat_script|load"]) == (3, 1)
    assert store.load(lease.job_id) == {"a": b"2"}


def test_server_restarts_in_mid_job(own_server):
    store = opened(own_server.url)
    lease = granted(store, new(store))
    store.commit(lease, Delta({"a": b"1"}))
    own_server.restart()
    store.commit(lease, Delta({"b": b"2"}))
    store.settle(lease, DONE)
    assert store.load(lease.job_id) == {"a": b"1", "b": b"2"}


def test_server_that_is_gone_is_an_error_at_once_and_then_forgiven(own_server):
    store = opened(own_server.url, store_timeout=5.0)
    lease = granted(store, new(store))
    own_server.kill()
    for _ in range(2):
        before = time.monotonic()
        with pytest.raises(StoreUnavailableError, match="refused"):
            store.commit(lease, Delta({"a": b"1"}))
        assert time.monotonic() - before < MARGIN
    own_server.start()
    with contextlib.suppress(LeaseLostError):  # the last second may not have been on disk
        store.commit(lease, Delta({"a": b"1"}))


@pytest.mark.parametrize("is_connected", [True, False], ids=["connected", "not-yet-connected"])
def test_frozen_server_is_an_error_in_time(own_server, is_connected):
    store, other = opened(own_server.url), opened(own_server.url)
    job_id = new(other)
    if is_connected:
        store.get(job_id)
    own_server.freeze()
    before = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"(?i)timeout"):
        store.get(job_id)
    assert time.monotonic() - before < TIMEOUT + MARGIN
    own_server.thaw()
    assert store.get(job_id).status is JobStatus.PENDING


def test_commit_that_a_frozen_server_executes_late_changes_nothing(own_server):
    store = opened(own_server.url)
    lease = granted(store, new(store))
    store.commit(lease, NOTHING)
    own_server.freeze()
    with pytest.raises(StoreUnavailableError):
        store.commit(lease, Delta({"a": b"old"}))
    own_server.thaw()
    store.commit(lease, Delta({"a": b"new"}))
    time.sleep(0.05)
    assert store.load(lease.job_id) == {"a": b"new"}


def test_full_server_refuses_the_whole_checkpoint(own_server):
    store = opened(own_server.url)
    lease = granted(store, new(store))
    store.commit(lease, Delta({"a": b"1", "b": b"1"}))
    client = redis.Redis.from_url(own_server.url)
    client.config_set("maxmemory", "1mb")
    with pytest.raises(StoreUnavailableError, match="OOM"):
        store.commit(lease, Delta({"c": b"1"}, ("a", "b")))
    with pytest.raises(StoreUnavailableError, match="OOM"):
        store.settle(lease, Settlement(JobStatus.SUCCEEDED, delta=Delta({}, ("a",))))
    client.config_set("maxmemory", 0)
    assert store.load(lease.job_id) == {"a": b"1", "b": b"1"}
    assert store.get(lease.job_id).status is JobStatus.RUNNING
    store.settle(lease, DONE)
    client.config_set("maxmemory", "1mb")
    with pytest.raises(StoreUnavailableError, match="OOM"):
        store.reopen(lease.job_id, Act.RESTART, drop=None)
    assert store.load(lease.job_id) == {"a": b"1", "b": b"1"}
    assert store.get(lease.job_id).status is JobStatus.SUCCEEDED


def test_replica_is_not_available_for_writing(own_server):
    store = opened(own_server.url)
    client = redis.Redis.from_url(own_server.url)
    client.replicaof("127.0.0.1", str(free_port()))
    client.config_set("replica-serve-stale-data", "yes")
    with pytest.raises(StoreUnavailableError, match="READONLY"):
        store.create(NewJob("a", "t", b"m"))
    client.replicaof("NO", "ONE")
    assert store.create(NewJob("a", "t", b"m"))


def test_cluster_is_refused_by_name():
    server = start_redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    try:
        with pytest.raises(StoreError, match="Redis Cluster"):
            new(opened(server.url))
        redis.Redis.from_url(server.url).execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        time.sleep(0.2)
        with pytest.raises(StoreError, match="Redis Cluster"):
            new(opened(server.url))
    finally:
        server.stop()


def test_foreign_key_is_a_store_error(server):
    store = opened(server.url)
    redis.Redis.from_url(server.url).set("milepost:{taken}", "by somebody")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.get("taken")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.claim(Delivery("taken", "t", 0, b"m"), "w1:1", 1.0)


def test_password_is_never_told():
    server = start_redis(password="s3cret/wörd")
    try:
        quoted = f"redis://:s3cret%2Fw%C3%B6rd@127.0.0.1:{server.port}/0"
        store = opened(quoted)
        new(store)
        assert store.name == f"redis://127.0.0.1:{server.port}/0"
        wrong = opened(quoted.replace("s3cret", "hunter2"))
        none = opened(quoted.replace(":s3cret%2Fw%C3%B6rd@", ""))
        for refused in (wrong, none):
            with pytest.raises(StoreUnavailableError) as caught:
                refused.get("a")
            assert "hunter2" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    finally:
        server.stop()


# -- this process ---------------------------------------------------------------------------


class Interrupted(BaseException):
    """What a time limit does to user code: it comes out of nowhere."""


def test_interrupted_command_leaves_no_reply_to_the_next_one(own_server):
    store = opened(own_server.url, store_timeout=5.0)
    lease = granted(store, new(store))
    store.commit(lease, NOTHING)
    store.signal(lease.job_id, Signal.PAUSE)

    def interrupt(*_):
        raise Interrupted

    previous = signal.signal(signal.SIGALRM, interrupt)
    own_server.freeze()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(Interrupted):
            store.commit(lease, Delta({"a": b"1"}))
    finally:
        signal.signal(signal.SIGALRM, previous)
        own_server.thaw()
    assert store.get(lease.job_id).fence == 1
    assert store.commit(lease, NOTHING) is Signal.PAUSE


def test_forked_child_has_a_connection_of_its_own(server):
    store = opened(server.url)
    lease = granted(store, new(store))
    mine = store._wire.ask(("CLIENT", "ID"))
    pipe, end = multiprocessing.get_context("fork").Pipe()

    def child():
        store.commit(lease, Delta({"child": b"1"}))
        end.send(store._wire.ask(("CLIENT", "ID")))
        store.close()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert pipe.recv() != mine
    process.join()
    assert process.exitcode == 0
    assert store._wire.ask(("CLIENT", "ID")) == mine
    assert store.load(lease.job_id) == {"child": b"1"}


def claim_all(url, owner, job_ids, barrier, results):
    store = opened(url, store_timeout=5.0)
    wins = []
    for job_id in job_ids:
        barrier.wait()
        if isinstance(store.claim(Delivery(job_id, "t"), owner, 60.0), Granted):
            wins.append(job_id)
    results.put(wins)


def test_processes_race_for_jobs(server):
    store = opened(server.url)
    job_ids = [new(store) for _ in range(20)]
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(2), spawn.Queue()
    racers = [
        spawn.Process(target=claim_all, args=(server.url, f"w{n}:1", job_ids, barrier, results))
        for n in range(2)
    ]
    for racer in racers:
        racer.start()
    won = results.get(timeout=60) + results.get(timeout=60)
    for racer in racers:
        racer.join(10)
    assert sorted(won) == sorted(job_ids)


def test_threads_have_a_connection_each_and_close_ends_all(server):
    store = opened(server.url)
    job_id = new(store)
    ids, ready, closed = [], threading.Barrier(3), threading.Event()

    def use():
        ids.append(store._wire.ask(("CLIENT", "ID")))
        ready.wait()
        closed.wait()
        store.get(job_id)
        ids.append(store._wire.ask(("CLIENT", "ID")))

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    ready.wait()
    first = set(ids)
    store.close()
    time.sleep(0.05)
    connected = {int(c["id"]) for c in redis.Redis.from_url(server.url).client_list()}
    closed.set()
    for thread in threads:
        thread.join()
    assert len(first) == 2
    assert not first & connected
    assert len(set(ids)) == 4


# -- what is in the server ------------------------------------------------------------------


def test_keys_have_the_namespace_and_expire_after_the_end(own_server):
    store = opened(own_server.url, namespace="shop", retention=100.0)
    lease = granted(store, new(store))
    store.commit(lease, Delta({"a": b"1"}))
    client = redis.Redis.from_url(own_server.url)
    record = f"shop:{{{lease.job_id}}}"
    keys = (record, f"{record}:data", "shop:index", "shop:jobs")
    assert set(client.keys()) == {k.encode() for k in keys}
    assert (client.pttl(record), client.pttl(f"{record}:data")) == (-1, -1)
    store.settle(lease, Settlement(JobStatus.SUCCEEDED, finishing=True))
    for key in (record, f"{record}:data"):
        assert 99_000 < client.pttl(key) <= 100_000
    store.finish([lease.job_id])
    assert set(client.keys()) == {k.encode() for k in (record, f"{record}:data", "shop:jobs")}
    store.reopen(lease.job_id, Act.RESTART)
    assert (client.pttl(record), client.pttl(f"{record}:data")) == (-1, -1)
    store.delete(lease.job_id)
    assert client.keys() == []


def test_namespaces_do_not_see_each_other(server):
    one, two = opened(server.url, namespace="one"), opened(server.url, namespace="two")
    job_id = new(one, resend_after=0.0)
    assert two.create(NewJob(job_id, "other", b"m"))
    time.sleep(0.002)
    assert one.due(10) == [job_id]
    assert two.due(10) == []
    two.delete(job_id)
    assert one.get(job_id).task == "t"


def test_step_of_100_bytes_costs_at_most_200(server):
    store = opened(server.url)
    lease = granted(store, new(store))
    for n in range(1000):
        store.commit(lease, Delta({f"s{n}.step": b"x" * 100}))
    client = redis.Redis.from_url(server.url)
    used = client.memory_usage(f"milepost:{{{lease.job_id}}}:data", samples=0)
    assert used / 1000 <= 200


def test_any_text_comes_back(server):
    store = opened(server.url)
    job_id = f"jöb {{}} \udcff\n{uuid.uuid4()}"
    owner = "öwner \udcff\t"
    assert store.create(NewJob(job_id, "täsk", b"m", resend_after=0.0, owner=owner))
    assert [job.id for job in store.find(Query(owner=owner)).jobs] == [job_id]
    lease = granted(store, job_id)
    progress = Progress(1, None, "1/2 ä\udcff\n")
    store.commit(lease, Delta(progress=progress))
    store.signal(job_id, Signal.DRAIN, by="\udcff")
    fields = {"ключ\x00\r\n": b"1", "broken-\udcff-name": b"2", "": b"3"}
    store.commit(lease, Delta(fields))
    assert store.load(job_id) == fields
    store.settle(lease, Settlement(JobStatus.FAILED, "\udcff", error="ValueError: \udcff"))
    job = store.get(job_id)
    assert (job.error, job.owner, job.progress) == ("ValueError: \\udcff", owner, progress)
    assert [entry.by for entry in job.history] == ["?", "w1:1"]


def test_refusals_say_what_the_rules_say(server):
    """One error text for every store."""
    store, memory = opened(server.url), open_store("memory://", Settings())
    for act in (
        lambda s, j: s.signal(j, Signal.PAUSE),
        lambda s, j: s.resume(j),
        lambda s, j: s.wake(j),
        lambda s, j: s.reopen(j, Act.RETRY),
        lambda s, j: s.reopen(j, Act.RESTART),
    ):
        for make in (running, paused, done):
            assert told(act, store, make(store)) == told(act, memory, make(memory))


def done(store):
    lease = granted(store, new(store))
    store.settle(lease, DONE)
    return lease.job_id


def told(act, store, job_id):
    try:
        return act(store, job_id).status
    except InvalidTransitionError as exc:
        return exc.args[1:]
