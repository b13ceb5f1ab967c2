"""The commands for keys."""

import json
import pickle

import pytest
from test_encryption_rotation import OLD, fill
from test_encryption_rotation import make_app as make_encrypted_app

from commands import run
from deliveries import deliver, make_app
from milepost import CheckpointableTask
from milepost.codecs import tokens
from milepost.codecs.keyring import Key
from milepost.model import Delivery, JobStatus, NewJob, Settlement
from milepost.tasks.revealed import sealed_failure

LONGER = Key("longer-id", b"l" * 32, is_current=True)


@pytest.fixture
def shop():
    """An app with two jobs under its old key, which is about to be rotated."""
    app, milepost, keys = make_encrypted_app()
    fill(app, milepost)
    app.milepost = milepost
    return app, keys


def test_generate_prints_an_entry(shop):
    done = run(shop[0], "keys", "generate", "--id", "k9", "--tenant", "acme", "--current")
    entry = json.loads(done.out)
    assert (entry["id"], entry["tenant"], entry["use"]) == ("k9", "acme", "current")
    assert run(shop[0], "keys", "generate", "--json").json["use"] == "read"


def test_generate_adds_to_a_file_and_keeps_the_secret_there(shop, tmp_path):
    path = tmp_path / "keys.json"
    done = run(shop[0], "keys", "generate", "--to", str(path), "--id", "a", "--current", "--json")
    assert done.json == {"id": "a", "use": "current", "file": str(path)}
    secret = json.loads(path.read_text())["keys"][0]["secret"]
    assert secret not in done.out + done.err
    assert run(shop[0], "keys", "generate", "--to", str(path), "--id", "a").code == 2


def test_list_shows_no_secret(shop):
    done = run(shop[0], "keys", "list", "--json")
    assert [key["id"] for key in done.json["keys"]] == ["old", "new", "acme-1"]
    assert [key["use"] for key in done.json["keys"]] == ["current", "read", "current"]
    assert len({key["check"] for key in done.json["keys"]}) == 3
    assert "secret" not in done.out
    assert "acme-1" in run(shop[0], "keys", "list").out


def test_rotate_and_verify(shop):
    """Verify says what is left, rotate does it, verify says that nothing is."""
    app, keys = shop
    keys.rotate()
    before = run(app, "keys", "verify", "--json")
    assert before.code == 0
    # Arguments of links are counted, but are exchanged together with their message.
    assert 0 < before.json["stale"] <= before.json["keys"]["old"]
    rotated = run(app, "keys", "rotate", "--here", "--json").json
    assert rotated == {"exchanged": before.json["stale"], "unreadable": 0}
    after = run(app, "keys", "verify", "--json").json
    assert (after["stale"], after["keys"]["old"], after["unreadable"]) == (0, 0, [])
    assert "for `keys rotate`" in run(app, "keys", "verify").out


@pytest.mark.parametrize("text", ["mp1.", "mp1.TUUB", "mp1.TUUBEA", "mp1.????"])
def test_text_of_a_user_that_only_looks_encrypted(shop, text):
    """It is left alone, and keeps nothing else from being seen to."""
    app, keys = shop

    @app.task(base=CheckpointableTask, bind=True, name="plainly", shared=False)
    def plainly(self, words):
        return words

    plainly.delay(text)
    keys.rotate()
    assert run(app, "keys", "verify", "--json").json["unreadable"] == []
    assert run(app, "keys", "rotate", "--here", "--json").json["unreadable"] == 0
    assert run(app, "keys", "verify", "--json").json["stale"] == 0


@pytest.fixture
def keeper(shop):
    """A plain task whose job keeps the result of an encrypted one, in steps and as its own."""
    app, _ = shop

    @app.task(base=CheckpointableTask, bind=True, name="keeper", shared=False)
    def keeper(self, given):
        return self.step(lambda: [given, "ä"], name="kept")

    sealer = app.milepost.runtime.cipher.sealer()
    token = tokens.seal_result(sealer, tokens.Returned("j", "t", "", b"J1[1]"))
    return app, keeper, token


def keep(app, job_id, result):
    """Put a plain task's job on record with a result in these bytes."""
    store = app.milepost.store
    store.create(NewJob(job_id, "keeper", b""))
    lease = store.claim(Delivery(job_id, "keeper"), "w:1", 60.0).lease
    store.settle(lease, Settlement(JobStatus.SUCCEEDED, result=result))


def test_what_a_plain_task_keeps_is_counted_and_renewed(shop, keeper):
    app, task, token = keeper
    counted = run(app, "keys", "verify", "--json").json["keys"]["old"]
    deliver(task, token, job_id="plain")
    found = run(app, "keys", "verify", "--json").json
    assert found["keys"]["old"] == counted + 3  # message, step, result
    shop[1].hold(OLD, LONGER)
    run(app, "keys", "rotate", "--here")
    shop[1].hold(LONGER)
    found_then = run(app, "keys", "verify", "--json").json
    assert found_then["keys"] == {"longer-id": found["keys"]["old"]}
    assert (found_then["stale"], found_then["unreadable"]) == (0, [])
    for kept, other in (
        app.milepost.jobs.result("plain"),
        app.milepost.jobs.checkpoint("plain")["steps"]["kept"],
    ):
        assert (app.milepost.jobs.open(kept), other) == ([1], "ä")


def test_what_a_plain_task_keeps_and_cannot_be_renewed_is_counted_and_not_lost(shop, keeper):
    """A sealed signature, the words of an error: readable, but bound to other places."""
    app, _, _ = keeper
    sealer = app.milepost.runtime.cipher.sealer()
    failure = sealed_failure(sealer, "j", "t", "ValueError", "why")
    kept = [tokens.seal_part(sealer, "t", b"x"), str(failure)]
    keep(app, "plain", app.milepost.runtime.codec.encode(kept))
    shop[1].hold(OLD, LONGER)
    run(app, "keys", "rotate", "--here")
    done = run(app, "keys", "verify", "--json")
    assert (done.code, done.json["unreadable"], done.json["stale"]) == (0, [], 0)
    assert done.json["keys"]["old"] == 2


def test_bytes_of_another_codec_stay_as_long_as_they_are(shop, keeper):
    """A length may stand in them: what cannot be exchanged stays, and stays counted."""
    app, _, token = keeper
    data = pickle.dumps([token])
    keep(app, "other", data)
    shop[1].hold(OLD, LONGER)
    run(app, "keys", "rotate", "--here")
    assert app.milepost.store.get("other").result == data
    found = run(app, "keys", "verify", "--json").json
    assert (found["keys"]["old"], found["stale"]) == (1, 0)


def test_a_damaged_message_is_named_and_stops_nothing(shop):
    app, _ = shop
    app.milepost.store.create(NewJob("odd", "t", b"mp1. no message"))
    (trouble,) = run(app, "keys", "verify", "--json").json["unreadable"]
    assert trouble["job"] == "odd"
    assert run(app, "keys", "rotate", "--here", "--json").json["unreadable"] == 1


def test_verify_names_what_is_lost(shop):
    app, keys = shop
    keys.destroy_old()
    done = run(app, "keys", "verify", "--json")
    assert done.code == 9
    assert {one["why"] for one in done.json["unreadable"]} == {"KeyUnknownError old"}
    assert run(app, "keys", "verify").code == 9
    assert run(app, "keys", "rotate", "--here").code == 9


def test_rotate_sends_a_job(shop):
    app, _ = shop
    done = run(app, "keys", "rotate", "--json")
    assert app.milepost.jobs.get(done.json["job"]).task == "milepost.rotate_keys"
    assert "jobs watch" in run(app, "keys", "rotate").out


def test_lists_and_records_show_stars_without_the_key(shop):
    """And what is meant for those who have it, with it."""
    app, keys = shop
    job = next(job for job in app.milepost.jobs.find_all() if job.ended_at)
    shown = run(app, "show", job.id).out
    assert "canary-4711" in shown
    keys.destroy_old()
    assert run(app, "list").code == 0
    shown = run(app, "show", job.id).out
    assert "***" in shown
    assert "canary-4711" not in shown
    assert "mp1." not in shown
    assert run(app, "checkpoint", job.id).code == 2


def test_an_app_without_keys_has_none_to_list_or_rotate():
    app = make_app()
    for words in (("list",), ("verify",), ("rotate",), ("rotate", "--here")):
        done = run(app, "keys", *words)
        assert done.code == 2
        assert "keys" in done.err
