"""Whatever is sent in whichever way: nothing of an encrypted task is readable in the broker.

Each way of sending is tried on the messages that really are in a queue, and on the records.
"""

import json
import uuid
from pathlib import Path

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature, chunks, xmap, xstarmap

from deliveries import OwnCelery, deliver, make_app, sent
from milepost import BaseTask, CheckpointableTask, EncryptedTask, Milepost
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import ConfigurationError, EncryptedFailureError, NoKeysError
from milepost.query import Query

CANARY = "canary-4711"
KEYS = Keyring([Key("k1", b"k" * 32, is_current=True)])


def declare(app):
    """Give an app the tasks of these tests."""

    @app.task(base=EncryptedTask, bind=True, name="secret")
    def secret(self, *args, **kwargs):
        return [list(args), kwargs]

    @app.task(base=CheckpointableTask, bind=True, name="durable")
    def durable(self, *args, **kwargs):
        return None

    @app.task(name="plain", bind=True)
    def plain(self, *args, **kwargs):
        return None

    return app


@pytest.fixture
def app():
    return declare(make_app(milepost={"keys": KEYS}))


def named(app, *args, **kwargs):
    """Return a signature of the encrypted task as one makes it who knows only its name."""
    args = args or (CANARY,)
    return Signature("secret", args=args, kwargs={"deep": {CANARY: [CANARY]}, **kwargs}, app=app)


def plain(app):
    return app.tasks["plain"]


WAYS = {
    "by name": lambda app: app.send_task("secret", [CANARY], {"deep": CANARY}),
    "a signature by name": lambda app: named(app).delay(),
    "the task": lambda app: app.tasks["secret"].delay(CANARY, deep=CANARY),
    "the task, shown": lambda app: app.tasks["secret"].apply_async((CANARY,), argsrepr=CANARY),
    "the tail of a chain": lambda app: chain(plain(app).s(), plain(app).s(), named(app))(),
    "the middle of a chain": lambda app: chain(plain(app).s(), named(app), plain(app).s())(),
    "a link": lambda app: plain(app).apply_async(link=named(app)),
    "links": lambda app: plain(app).apply_async(link=[plain(app).s(), named(app)]),
    "a link of a link": lambda app: plain(app).apply_async(
        link=plain(app).s().set(link=[named(app)], link_error=named(app))
    ),
    "a link for errors": lambda app: plain(app).apply_async(link_error=named(app)),
    "a link of a signature": lambda app: plain(app).s().on_error(named(app)).delay(),
    "a chord's body": lambda app: chord([plain(app).s()] * 2, named(app))(),
    "a chord's body's link": lambda app: chord(
        [plain(app).s()] * 2, plain(app).s().set(link=named(app))
    )(),
    "a chord's header": lambda app: chord([named(app), named(app)], plain(app).s())(),
    "a group": lambda app: group(named(app), plain(app).s()).apply_async(),
    "a group with arguments": lambda app: group([named(app)]).apply_async((CANARY,)),
    "a chord with arguments": lambda app: chord([named(app)] * 2, named(app)).apply_async(
        (CANARY,)
    ),
    "a group in a chain": lambda app: chain(plain(app).s(), group(named(app), named(app)))(),
    "a chord in a chain": lambda app: chain(
        plain(app).s(), group(named(app), named(app)), named(app)
    )(),
    "a chain in a group in a chain": lambda app: chain(
        plain(app).s(), group(chain(plain(app).s(), named(app)), plain(app).s()), plain(app).s()
    )(),
    "a chord in a link": lambda app: plain(app).apply_async(
        link=chord([named(app)], named(app), app=app)
    ),
    "an argument": lambda app: plain(app).delay([{"then": named(app)}], after=(named(app),)),
    "an argument that is written out": lambda app: plain(app).delay(
        json.loads(json.dumps(named(app)))
    ),
    "a durable task's link": lambda app: app.tasks["durable"].apply_async(link=named(app)),
    "a durable task's argument": lambda app: app.tasks["durable"].delay(named(app), n=[named(app)]),
    "a durable chain": lambda app: chain(app.tasks["durable"].s(), named(app), named(app))(),
    "a created job": lambda app: app.milepost.jobs.create("secret", {"deep": CANARY}),
    "a created job's link": lambda app: app.milepost.jobs.create("durable", {}, link=named(app)),
}


def messages_of(app):
    """Return all that is in the broker, and in the records of jobs."""
    found = sent(app)
    return found, repr(found) + repr(app.milepost.store.find(Query(limit=100)))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("protocol", [2, 1])
def test_nothing_is_readable(way, protocol):
    app = declare(make_app(milepost={"keys": KEYS}, task_protocol=protocol))
    WAYS[way](app)
    found, text = messages_of(app)
    assert found
    assert "mp1." in text
    assert CANARY not in text


@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_readable_on_a_disk(way, tmp_path):
    """The broker is a folder, results are files: chords are polled for, by a task with the body."""
    for folder in ("in", "results"):
        (tmp_path / folder).mkdir()
    options = {"data_folder_in": str(tmp_path / "in"), "data_folder_out": str(tmp_path / "in")}
    app = OwnCelery(
        "disk", broker="filesystem://", backend=f"file://{tmp_path}/results", set_as_current=False
    )
    app.conf.update(broker_transport_options=options, result_extended=True)
    app.milepost = Milepost(app, store=f"sqlite:///{tmp_path}/jobs.db", keys=KEYS)
    WAYS[way](declare(app))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.parent.name == "in" for path in files)
    assert [path for path in files if CANARY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("way", WAYS)
def test_the_search_would_find_it(way):
    """The control: the same with a plain task of that name."""
    app = make_app()

    @app.task(name="secret", base=BaseTask)
    def secret(*args, **kwargs):
        return None

    @app.task(name="durable", base=CheckpointableTask)
    def durable(*args, **kwargs):
        return None

    @app.task(name="plain")
    def plain(*args, **kwargs):
        return None

    if "created" in way:
        pytest.skip("only of durable tasks")
    WAYS[way](app)
    assert CANARY in messages_of(app)[1]


def opened(app, headers, body):
    """Return the arguments in a message as its task gets them."""
    task = app.tasks[headers["task"]]
    return task.milepost_incoming(body[0], body[1], headers["id"])


def test_what_is_sealed_on_its_way_arrives_as_it_was(app):
    app.send_task("secret", [CANARY, 1], {"n": (2,)})
    named(app, CANARY).delay()
    ((headers, body), (other, rest)) = sent(app)
    assert headers["argsrepr"] == headers["kwargsrepr"] == "<encrypted>"
    assert opened(app, headers, body) == ((CANARY, 1), {"n": (2,)})
    assert opened(app, other, rest) == ((CANARY,), {"deep": {CANARY: [CANARY]}})


def test_it_is_sealed_once_however_many_hands_it_goes_through(app):
    """Opened once, the arguments of each are there, as often as a signature was passed on."""
    link = named(app)
    app.tasks["plain"].apply_async(link=link)
    ((_, body),) = sent(app)
    (passed,) = body[2]["callbacks"]
    app.tasks["plain"].apply_async(link=passed)
    ((_, body),) = sent(app)
    (again,) = body[2]["callbacks"]
    assert again == passed
    app.signature(again).apply_async((0,))
    ((headers, body),) = sent(app)
    assert opened(app, headers, body) == ((0, CANARY), {"deep": {CANARY: [CANARY]}})


def test_nobodys_signature_is_changed_in_place(app):
    """Who has made one may look at it, and send it again, afterwards."""
    link = named(app)
    plain(app).apply_async(link=link)
    plain(app).delay(link)
    assert link.args == (CANARY,)
    assert len(sent(app)) == 2


def test_what_a_worker_sends_is_sealed_too(app):
    """Chains, links, errors, retries, replacements, and what is added to a chord."""

    @app.task(name="sender", bind=True)
    def sender(self, how, after=None):
        if how == "replace":
            raise self.replace(named(app))
        if how == "add_to_chord":
            self.backend.add_to_chord = lambda *_: None
            self.add_to_chord(named(app))
        if how == "retry":
            raise self.retry(args=("retry",), kwargs={"after": named(app)}, countdown=0)
        if how == "error":
            raise ValueError(how)

    for how in ("replace", "add_to_chord", "retry", "chain", "link", "error"):
        follow = {
            "chain": [dict(named(app))] if how == "chain" else None,
            "callbacks": [dict(named(app))] if how == "link" else None,
            "errbacks": [dict(named(app))] if how == "error" else None,
        }
        if how == "add_to_chord":
            follow |= {"group": "g", "chord": dict(plain(app).s())}
        deliver(sender, how, **follow)
        found, text = messages_of(app)
        assert found, how
        assert "mp1." in text, how
        assert CANARY not in text, how


def test_a_chord_that_is_polled_for_keeps_its_body_sealed(app):
    """Also when the poll sends itself again."""
    unlock = app.tasks["celery.chord_unlock"]
    body = dict(named(app))
    result = app.AsyncResult(str(uuid.uuid4()))
    deliver(unlock, "group", body, kwargs={"result": [result.as_tuple()], "max_retries": 9})
    found, text = messages_of(app)
    assert [headers["task"] for headers, _ in found] == ["celery.chord_unlock"]
    assert "mp1." in text
    assert CANARY not in text


ITEM_BY_ITEM = {
    "map": lambda app: app.tasks["secret"].map([CANARY]),
    "starmap": lambda app: app.tasks["secret"].starmap([(CANARY,)]),
    "chunks": lambda app: app.tasks["secret"].chunks([(CANARY,)], 1),
    "map by name": lambda app: xmap(named(app), [CANARY], app=app),
    "starmap by name": lambda app: xstarmap(named(app), [(CANARY,)], app=app),
    "chunks by name": lambda app: chunks(named(app), [(CANARY,)], 1, app=app),
}


@pytest.mark.parametrize("how", ITEM_BY_ITEM)
def test_what_calls_it_item_by_item_is_refused(app, how):
    """With a word on what to do instead; also behind other tasks."""
    signature = ITEM_BY_ITEM[how](app)
    for send in (
        signature.apply_async,
        lambda: plain(app).apply_async(link=signature),
        lambda: chain(plain(app).s(), signature)(),
        lambda: chord([plain(app).s()], signature)(),
        lambda: plain(app).delay(signature),
        lambda: app.tasks["durable"].apply_async(link=signature),
    ):
        with pytest.raises(ConfigurationError, match="in the clear: send group"):
            send()
    assert sent(app) == []


@pytest.mark.parametrize("name", ["celery.map", "celery.starmap"])
def test_a_worker_refuses_items_that_came_in_the_clear(app, name):
    """From a process that does not know the task: the body must not see them."""
    item = "in the clear" if name == "celery.map" else ("in the clear",)
    signature = {"task": "secret", "args": (), "kwargs": {}, "options": {}}
    outcome = deliver(app.tasks[name], kwargs={"task": signature, "it": [item]})
    assert outcome.state == "FAILURE"
    assert "found in the clear" in str(outcome.value)


def test_items_of_an_eager_call_never_travelled(app):
    """So they are no more refused than the task itself is, when it runs eagerly."""
    for signature in (app.tasks["secret"].map(["a"]), app.tasks["secret"].starmap([("a",)])):
        assert signature.apply().get() == [app.tasks["secret"].apply(("a",)).get()]


def test_a_canvas_with_arguments_of_its_own_is_refused(app):
    """They would go to its members, past what is sealed for each of them."""
    body = chord([named(app)], plain(app).s(), args=(CANARY,), app=app)
    with pytest.raises(ConfigurationError, match="give them to its members"):
        plain(app).apply_async(link=body)
    assert sent(app) == []
    plain(app).apply_async(link=chord([plain(app).s()], plain(app).s(), args=(1,), app=app))
    assert len(sent(app)) == 1


@pytest.mark.parametrize("way", sorted(set(WAYS) - {"a created job", "a created job's link"}))
def test_without_a_key_nothing_is_sent_and_the_caller_is_told(way):
    app = declare(make_app())
    with pytest.raises(NoKeysError):
        WAYS[way](app)
    assert CANARY not in messages_of(app)[1]


def test_words_for_arguments_are_refused_that_celery_would_send_as_they_are(app):
    with pytest.raises(ConfigurationError, match="argsrepr= would be sent in the clear"):
        app.send_task("secret", [CANARY], argsrepr=CANARY)


def test_two_apps_do_not_see_each_other(app):
    """A plain task of the other one may have the same name."""
    other = make_app()

    @other.task(name="secret", base=BaseTask)
    def secret(word):
        return word

    other.send_task("secret", [CANARY])
    app.send_task("secret", [CANARY])
    assert CANARY in repr(sent(other))
    assert CANARY not in repr(sent(app))
    assert not other.milepost_departures.is_needed


def test_a_task_that_is_only_promised_is_known_when_sent_by_name():
    """Celery makes tasks late: nothing but its name has been used of this one."""
    app = declare(make_app(milepost={"keys": KEYS}))
    assert not app.finalized
    app.send_task("secret", [CANARY])
    assert CANARY not in repr(sent(app))


def test_an_app_that_must_not_be_finalized_is_not():
    """Celery sends tasks of other processes by name without."""
    app = Celery("late", broker="memory://", autofinalize=False, set_as_current=False)
    app.conf.task_default_queue = uuid.uuid4().hex
    app.milepost = Milepost(app, store="memory://", keys=KEYS)
    app.send_task("elsewhere", [1])
    assert not app.finalized
    assert len(sent(app)) == 1


def test_an_app_without_a_milepost_seals_nothing_and_sends_nothing():
    app = declare(make_app(milepost=False))
    app.finalize()
    for send in (lambda: app.send_task("secret", [CANARY]), lambda: plain(app).delay(named(app))):
        with pytest.raises(NoKeysError):
            send()
    assert sent(app) == []


def test_who_has_used_the_broker_before_is_looked_at_too():
    """Celery keeps what builds messages at hand; an encrypted task may be declared later."""
    app = make_app(milepost=False)
    app.send_task("elsewhere", [1])
    app.milepost = Milepost(app, store="memory://", keys=KEYS)
    declare(app).send_task("secret", [CANARY])
    assert CANARY not in repr(sent(app))


def test_arguments_without_anything_encrypted_stay_what_they_are(app):
    """The very same objects: nothing is copied."""
    from milepost.tasks.departures import sealed_arguments

    args, kwargs = ([1, {"a": (2, b"x")}], None), {"task": "secret", "args": [1]}
    found = sealed_arguments(app, "plain", args, kwargs)
    assert found[0] is args
    assert found[1] is kwargs


def test_a_process_that_knows_nothing_sends_in_the_clear_and_is_refused(app):
    """It has the name only, and no milepost: the worker does not take what arrives."""
    stranger = Celery("stranger", broker="memory://", set_as_current=False)
    stranger.conf.task_default_queue = app.conf.task_default_queue
    stranger.send_task("secret", ["in the clear"])
    ((headers, body),) = sent(app)
    outcome = deliver(app.tasks["secret"], *body[0], job_id=headers["id"])
    assert isinstance(outcome.value, EncryptedFailureError)
    assert app.milepost.jobs.get(headers["id"]).error.startswith("PlaintextError")


def test_a_resent_job_stays_as_it_was_where_its_key_is_not(app):
    """A keeper that lacks the key of one tenant sends that tenant's jobs again all the same."""
    from milepost.tasks.base import resend

    result = app.tasks["secret"].delay(CANARY)
    (before,) = sent(app)
    job = app.milepost.store.get(result.id)
    app.milepost.runtime.cipher.keys = Keyring([Key("k2", b"2" * 32, is_current=True)])
    resend(app, job)
    (after,) = sent(app)
    assert after[1][:2] == before[1][:2]


def test_files_of_this_test_hold_the_canary():
    """The word that is searched for is one that a search would find."""
    assert CANARY in Path(__file__).read_text()
