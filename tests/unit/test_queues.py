"""A look at the broker's queues: whose message is lost, and whose just waits its turn."""

import json
import time

import pytest
import redis
from celery import Celery

from milepost import CheckpointableTask, Milepost
from milepost.integrations.queues import LOOKED_AT, REMEMBERED, Queues
from milepost.jobs.queues import waiting_in
from milepost.stores.memory import MemoryStore
from milepost.testing import FakeClock
from services import start_redis


def noop():
    """Be a task."""


class Shop:
    """An app with one durable task and a plain one; its time moves on between any two sends."""

    def __init__(self, broker, clock, **options):
        self.app = Celery("shop", broker=broker, set_as_current=False)
        self.app.conf.broker_transport_options = options
        self.store, self.clock = MemoryStore(clock), clock
        Milepost(self.app, store=self.store)
        self.task = self.app.task(base=CheckpointableTask, shared=False, name="durable")(noop)
        self.plain = self.app.task(shared=False, name="plain")(noop)

    def send(self, **options):
        self.clock.advance(1)
        return self.task.apply_async(queue="work", **options).id

    def take(self, priority=0):
        """Take the message that is delivered next, as a worker does that then dies."""
        with self.app.connection_for_write() as connection:
            channel = connection.default_channel
            if connection.transport.driver_type != "redis":
                return channel._get("work")
            # kombu's own way to get one message does not know of prefixes.
            return json.loads(channel.client.rpop(channel._q_for_pri("work", priority)))

    def lost(self, *jobs):
        """Return those of the jobs that are lost, as one who looks for the first time."""
        queues = Queues(self.app, self.store)
        return [job for job in jobs if queues.has_lost(self.store.get(job))]


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture(scope="module")
def redis_server():
    server = start_redis()
    yield server
    server.stop()


@pytest.fixture
def server(redis_server):
    """The URL of a Redis with nothing in it."""
    redis.Redis.from_url(redis_server.url).flushall()
    return redis_server.url


@pytest.fixture(params=["redis", "redis with a prefix", "folder"])
def shop(request, server, tmp_path, clock):
    if request.param == "folder":
        folders = {"data_folder_in": tmp_path, "data_folder_out": tmp_path}
        options = {name: str(path) for name, path in folders.items()}
        return Shop("filesystem://", clock, control_folder=str(tmp_path / "control"), **options)
    prefix = {"global_keyprefix": "shop:"} if request.param.endswith("prefix") else {}
    return Shop(server, clock, **prefix)


def test_nothing_is_lost_that_waits(shop):
    assert shop.lost(*[shop.send() for _ in range(2 * LOOKED_AT)]) == []
    assert waiting_in(shop.app, "work") == 2 * LOOKED_AT


def test_an_empty_queue_has_lost_them_all(shop):
    jobs = [shop.send() for _ in range(3)]
    for _ in jobs:
        shop.take()
    assert shop.lost(*jobs) == jobs
    assert waiting_in(shop.app, "work") == 0


def test_what_is_older_than_what_comes_next_is_lost(shop):
    """The message was taken and never came back, and the queue does not run empty."""
    first, *others = [shop.send() for _ in range(2 * LOOKED_AT)]
    shop.take()
    assert shop.lost(first, *others) == [first]
    shop.take()
    assert shop.lost(first, *others) == [first, others[0]]


def test_messages_of_other_tasks_tell_nothing(shop):
    """As long as one of the next ten is of a job, more is known."""
    first = shop.send()
    shop.take()
    for _ in range(LOOKED_AT - 1):
        shop.plain.apply_async(queue="work")
    assert shop.lost(first) == []
    second = shop.send()
    assert shop.lost(first, second) == [first]
    shop.plain.apply_async(queue="work")
    assert shop.lost(first, second) == [first]


def test_a_job_that_was_sent_again_waits_too(shop):
    """Its message is among the next ones, though later jobs stand before it."""
    first, _ = shop.send(), shop.send()
    message = shop.take()
    with shop.app.connection_for_write() as connection:
        connection.default_channel._put("work", message)
    assert shop.lost(first) == []


def test_one_look_answers_for_a_second(shop, monkeypatch):
    """A long queue costs one question, not thousands."""
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    queues, (first, second) = Queues(shop.app, shop.store), [shop.send(), shop.send()]
    assert not queues.has_lost(shop.store.get(first))
    shop.take()
    assert not queues.has_lost(shop.store.get(first))
    now += REMEMBERED + 0.1
    assert queues.has_lost(shop.store.get(first))
    assert not queues.has_lost(shop.store.get(second))


def test_a_line_of_each_priority(server, clock):
    """Those of low priority stay behind for long: a job is lost if no line can have it."""
    shop = Shop(server, clock)
    late = shop.send(priority=9)
    soon = shop.send(priority=0)
    shop.take(priority=0)
    assert shop.lost(late, soon) == []
    shop.take(priority=9)
    newest = shop.send(priority=9)
    assert shop.lost(late, soon, newest) == [late, soon]


def test_a_message_that_is_none_of_celerys(server, clock):
    shop = Shop(server, clock)
    with shop.app.connection_for_write() as connection:
        connection.default_channel.client.lpush("work", "no JSON", "[]", "{}")
    job = shop.send()
    assert shop.lost(job) == []


def test_a_broker_that_does_not_tell(clock):
    """A queue that is empty has lost a message; of any other nothing is known."""
    shop = Shop("memory://queues-test", clock)
    first = shop.send()
    assert shop.lost(first) == []
    shop.take()
    assert shop.lost(first) == [first]
    shop.send()
    assert shop.lost(first) == []
