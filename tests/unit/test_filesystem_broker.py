"""The folder as a broker: messages appear whole or not at all."""

import threading
from queue import Empty

import pytest
from celery import Celery
from kombu import Connection

from milepost import Milepost

TRANSPORT = "milepost.integrations.filesystem:Transport"


def connection(folder, transport=TRANSPORT):
    options = {
        "data_folder_in": str(folder / "data"),
        "data_folder_out": str(folder / "data"),
        "control_folder": str(folder / "control"),
    }
    (folder / "data").mkdir(exist_ok=True)
    return Connection("filesystem://", transport=transport, transport_options=options)


def test_a_message_that_is_being_written_is_not_seen(tmp_path, monkeypatch):
    import milepost.integrations.filesystem as broker

    channel = connection(tmp_path).channel()
    seen = []

    def peek(source, target):
        seen.append(channel._size("work"))
        with pytest.raises(Empty):
            channel._get("work")
        rename(source, target)

    rename = broker.os.replace
    monkeypatch.setattr(broker.os, "replace", peek)
    channel._put("work", {"body": "x"})
    assert seen == [0]
    assert channel._get("work") == {"body": "x"}


def test_every_message_of_a_busy_folder_arrives(tmp_path):
    wanted, got, over = 400, [], threading.Event()

    def read():
        channel = connection(tmp_path).channel()
        while not over.is_set():
            try:
                got.append(channel._get("work")["n"])
            except Empty:
                if len(got) >= wanted:
                    over.set()

    reader = threading.Thread(target=read)
    reader.start()
    channel = connection(tmp_path).channel()
    for n in range(wanted):
        channel._put("work", {"n": n, "pad": "x" * 10_000})
    reader.join(timeout=60)
    over.set()
    assert sorted(got) == list(range(wanted))


def test_queues_are_bound_by_many_at_once(tmp_path):
    def bind(name):
        channel = connection(tmp_path).channel()
        channel._queue_bind("jobs", name, "", name)
        channel.get_table("jobs")

    threads = [threading.Thread(target=bind, args=(f"q{n}",)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    table = connection(tmp_path).channel().get_table("jobs")
    assert sorted(entry.queue for entry in table) == sorted(f"q{n}" for n in range(16))
    assert not list((tmp_path / "control").glob(".*.part"))


@pytest.mark.parametrize("configured", [True, False])
def test_an_app_whose_broker_is_a_folder_uses_it(configured):
    app = Celery("shop", broker="filesystem://")
    if configured:
        assert app.conf.broker_transport is None
    Milepost(app, store="memory://")
    assert app.conf.broker_transport == TRANSPORT
    assert app.connection_for_write().transport_cls == TRANSPORT


@pytest.mark.parametrize(
    "conf", [{"broker_url": "redis://x"}, {"broker_transport": "memory"}, {"broker_url": None}]
)
def test_other_brokers_are_left_alone(conf):
    app = Celery("shop", set_as_current=False)
    app.conf.update(conf)
    Milepost(app, store="memory://")
    assert app.conf.broker_transport == conf.get("broker_transport")
