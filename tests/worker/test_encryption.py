"""Encrypted tasks on real workers: a canary in every place, and a search over all bytes."""

import json
import time

import pytest
from celery import Celery, chain, chord, group
from celery.canvas import Signature
from watching import Events, Flower, find_canary
from workers import wait_until

from milepost.codecs.keyring import add_to_file, new_entry
from milepost.errors import JobFailedError, JobNotFoundError
from milepost.model import JobStatus
from services import require_module

CANARY = "canary-4711"
LOUD = ("-l", "DEBUG")


@pytest.fixture
def make_secret_site(make_site, tmp_path):
    """A function that makes a site whose project has a keyring."""

    def make(kind, **how):
        path = tmp_path / f"keys-{time.monotonic_ns()}.json"
        add_to_file(str(path), new_entry("key-1", current=True))
        settings = {**how.pop("settings", {}), "keys": f"file:{path}"}
        conf = {"result_extended": True, "worker_send_task_events": True, **how.pop("conf", {})}
        conf["task_send_sent_event"] = True
        site = make_site(kind, settings=settings, conf=conf, **how)
        site.key_file = path
        return site

    return make


def end_of(site, job_id):
    """Wait for the end of a job that may not even be on record yet."""

    def look():
        try:
            return (job := site.jobs.get(job_id)).status.is_terminal and job
        except JobNotFoundError:
            return None

    return wait_until(look, f"the end of {job_id}")


@pytest.fixture
def events():
    """A function that starts to watch a site."""
    watching = []

    def watch(site):
        watching.append(Events(site))
        return watching[-1]

    yield watch
    for one in watching:
        one.stop()


@pytest.fixture
def flower():
    """A function that starts a Flower on a site's broker."""
    require_module("flower")
    started = []

    def start(site):
        started.append(Flower(site))
        return started[-1]

    yield start
    for one in started:
        one.stop()


@pytest.mark.parametrize("kind", ["redis", "redis+postgres", "redis+sqlite", "files+sqlite"])
def test_a_canary_in_every_place_is_found_in_none(make_secret_site, events, kind):
    """Arguments, steps, keys, state, progress, results, errors, tracebacks, retries, canvas."""
    site = make_secret_site(kind)
    if site.broker.startswith("redis"):
        events(site)
    worker = site.start_worker(options=LOUD)
    secret = site.app.tasks["keep_secrets"]
    kept = secret.delay(CANARY, deep={CANARY: [CANARY]})
    failed = site.app.tasks["fail_secretly"].delay(CANARY)
    retried = site.app.tasks["retry_secretly"].delay(CANARY, how="retry")
    again = site.app.tasks["retry_secretly"].delay(CANARY, how="autoretry")
    rude = site.app.tasks["fail_secretly"].delay(CANARY, how="Reject")
    misfit = site.app.tasks["fail_secretly"].delay(CANARY, how="unstorable")
    linked = secret.apply_async((CANARY,), link=secret.s(CANARY), link_error=secret.s(CANARY))
    created = site.jobs.create("keep_secrets", {"word": CANARY, "deep": CANARY})
    followed = chain(secret.s(CANARY), secret.s(deep=CANARY), secret.si(CANARY))()
    for result in (failed, rude, misfit):
        assert end_of(site, result.id).status is JobStatus.FAILED
    for job_id in (kept.id, retried.id, again.id, linked.id, created.id, followed.id):
        assert end_of(site, job_id).status is JobStatus.SUCCEEDED
    expected = [CANARY, {CANARY: [CANARY]}]
    assert kept.get(timeout=20) == kept.result == expected == site.jobs.result(kept.id)
    assert followed.get(timeout=20) == [CANARY, None]
    assert followed.parent.get(timeout=20) == [[CANARY, None], CANARY]
    with pytest.raises(JobFailedError, match=f"ValueError: {CANARY}"):
        failed.get(timeout=20)
    assert CANARY in site.jobs.get(failed.id).error
    time.sleep(0.5)  # the last events and log lines
    assert (site.folder / f"{worker.name}.log").read_bytes().count(b"succeeded") >= 8
    assert find_canary(site) == set()


def test_the_search_finds_what_a_plain_task_leaves(make_secret_site):
    """The control: the same canary in a plain durable task is found."""
    site = make_secret_site("redis")
    site.start_worker()
    result = site.app.tasks["keep_openly"].delay(CANARY)
    assert result.get(timeout=20) == CANARY
    places = {place for place, _ in find_canary(site)}
    assert {site.store_url, site.backend} <= places


@pytest.mark.parametrize("kind", ["redis", "files+sqlite"])
def test_a_chord_of_encrypted_tasks(make_secret_site, kind):
    """The body is given what the members returned, and nobody else sees it."""
    site = make_secret_site(kind)
    site.start_worker()
    secret = site.app.tasks["keep_secrets"]
    done = chord(group(secret.s(f"{CANARY}-{n}") for n in range(3)), secret.s(CANARY))()
    end_of(site, done.id)
    assert sorted(done.get(timeout=20)[0]) == [[f"{CANARY}-{n}", None] for n in range(3)]
    assert find_canary(site) == set()


@pytest.mark.parametrize("pool", ["solo", "threads", "gevent", "spawn"])
def test_every_pool_keeps_secrets(make_secret_site, pool):
    """Also in processes that start afresh, and get the app by pickle."""
    conf = {"worker_pool_start_method": "spawn"} if pool == "spawn" else {}
    site = make_secret_site("redis", conf=conf)
    site.start_worker(pool="prefork" if pool == "spawn" else pool, options=LOUD)
    kept = site.app.tasks["keep_secrets"].delay(CANARY)
    failed = site.app.tasks["fail_secretly"].delay(CANARY)
    assert kept.get(timeout=30) == [CANARY, None]
    with pytest.raises(JobFailedError, match=CANARY):
        failed.get(timeout=30)
    assert find_canary(site) == set()


def test_a_plain_task_behind_an_encrypted_one_gets_ciphertext(make_secret_site):
    """Who has the key may open it; nothing is leaked on the way."""
    site = make_secret_site("redis")
    site.start_worker()
    result = site.app.tasks["keep_secrets"].apply_async(
        (CANARY,), link=site.app.tasks["note"].s("linked")
    )
    (effect,) = site.wait_for(None, "linked")
    assert effect.item.startswith("mp1.")
    assert site.jobs.open(effect.item) == [CANARY, None]
    assert result.get(timeout=20) == [CANARY, None]


def test_a_killed_worker_leaves_nothing_readable_and_the_job_goes_on(make_secret_site):
    """kill -9 in the middle; another worker decrypts the checkpoint and sends nothing twice."""
    site = make_secret_site("redis", short_lease=True)
    first = site.start_worker(concurrency=1)
    result = site.app.tasks["count_secretly"].delay(CANARY, 30)
    site.wait_for_item(result.id, 5)
    first.kill()
    site.start_worker(concurrency=1, options=LOUD)
    assert end_of(site, result.id).status is JobStatus.SUCCEEDED
    assert result.get(timeout=20) == [CANARY, sum(range(30))]
    assert site.redone(result.id) <= 1
    assert find_canary(site) == set()


def test_hard_ends_leave_nothing_readable(make_secret_site, events):
    """Time limits, a dead process, what is no error, a replacement, and what inspect shows."""
    site = make_secret_site("redis", short_lease=True)
    events(site)
    site.start_worker(options=LOUD, concurrency=1)
    ends = {
        "soft": {"soft_time_limit": 1},
        "hard": {"time_limit": 1},
        "exit": {},
        "replace": {},
    }
    send = site.app.tasks["end_secretly"].apply_async
    jobs = {how: send((CANARY, how), **limits) for how, limits in ends.items()}
    seen = []

    def is_over():
        inspect = site.app.control.inspect(timeout=0.2)
        seen.extend([inspect.active(), inspect.reserved(), inspect.query_task(jobs["soft"].id)])
        return all(site.jobs.get(job.id).status.is_terminal for job in jobs.values())

    wait_until(is_over, "all ends")
    assert "mp1." in repr(seen)
    assert CANARY not in repr(seen)
    errors = {how: site.jobs.get(job.id).error or "" for how, job in jobs.items()}
    assert "SoftTimeLimitExceeded" in errors["soft"]
    assert "TimeLimitExceeded" in errors["hard"]
    assert "CrashLimitError" in errors["exit"]
    assert find_canary(site) == set()


def test_a_group_of_what_ends_processes_leaves_nothing_readable(make_secret_site):
    """It is no error, and goes up through the pool, which prints it."""
    site = make_secret_site("redis", short_lease=True)
    worker = site.start_worker(options=LOUD, concurrency=1)
    result = site.app.tasks["end_secretly"].delay(CANARY, "group")
    site.wait_for(result.id, "body", times=2)
    assert "BaseException" in worker.text()
    assert find_canary(site) == set()


def send_as_stranger(site, *args):
    """Send an encrypted task as a process does that has its name only, and no milepost."""
    app = Celery("stranger", broker=site.broker, set_as_current=False)
    app.conf.task_default_queue = "work"
    return app.send_task("keep_secrets", args)


def test_plaintext_is_refused(make_secret_site):
    """What is sent in the clear, by who does not know that it must not be, fails and says so."""
    site = make_secret_site("redis")
    site.start_worker()
    job = end_of(site, send_as_stranger(site, "in the clear").id)
    assert job.status is JobStatus.FAILED
    assert "found in the clear" in job.error


def test_arguments_of_another_job_are_refused(make_secret_site):
    """A message that was copied to another id opens nothing."""
    site = make_secret_site("redis")
    site.start_worker()
    (token,), _ = site.app.tasks["keep_secrets"].milepost_outgoing((CANARY,), {}, "its-own-id")
    job = end_of(site, send_as_stranger(site, token).id)
    assert job.status is JobStatus.FAILED
    assert "TamperedError" in job.error


@pytest.mark.parametrize("kind", ["redis", "redis+postgres", "files+sqlite"])
def test_signatures_by_name_behind_plain_tasks_are_readable_nowhere(make_secret_site, kind):
    """By name, in every place of a canvas; each runs, with the arguments it was given."""
    site = make_secret_site(kind)
    plain, secret = site.app.tasks["pass_on"], "keep_secrets"
    sealed = {
        "by name": site.app.send_task(secret, [f"{CANARY}-name"]).id,
        "chain": chain(plain.s(), plain.s(), by_name(site, "chain"))().id,
        "group": chain(plain.s(), group(by_name(site, "in"), by_name(site, "group")))()[1].id,
        "body": chord([plain.s(), plain.s()], by_name(site, "body"))().id,
    }
    plain.apply_async(link=[plain.s().set(link=by_name(site, "link"))])
    plain.apply_async(("fail",), link_error=by_name(site, "error"))
    plain.delay("send", {"then": [by_name(site, "argument")]})
    assert find_canary(site) == set()
    site.start_worker(options=LOUD)
    for how, job_id in sealed.items():
        assert end_of(site, job_id).status is JobStatus.SUCCEEDED
        value = site.jobs.result(job_id)[0]
        assert value.startswith(CANARY), how
    query = {"status": JobStatus.SUCCEEDED, "limit": 50}
    wait_until(lambda: len(site.jobs.find(**query).jobs) == 8, "links, errors and the rest")
    words = {site.jobs.result(job.id)[0] for job in site.jobs.find(**query).jobs}
    ends = ("name", "chain", "in", "group", "body", "link", "error", "argument")
    assert words == {f"{CANARY}-{end}" for end in ends}
    time.sleep(0.5)
    assert find_canary(site) == set()


def by_name(site, word):
    """Return a signature of an encrypted task that nothing has sealed yet."""
    args = (f"{CANARY}-{word}",)
    return Signature("keep_secrets", args=args, immutable=True, app=site.app)


def test_flower_shows_nothing(make_secret_site, flower):
    """Its lists and pages, for every task that it knows; it does know them, and their ends."""
    site = make_secret_site("redis", short_lease=True)
    seen = flower(site)
    site.start_worker(options=LOUD)
    secret, failing = site.app.tasks["keep_secrets"], site.app.tasks["fail_secretly"]
    kept = secret.apply_async((CANARY,), link=by_name(site, "link"))
    failed = failing.delay(CANARY)
    retried = site.app.tasks["retry_secretly"].delay(CANARY, how="retry")
    followed = chain(site.app.tasks["pass_on"].s(), by_name(site, "chain"))()
    ends = {kept.id: "SUCCESS", failed.id: "FAILURE", retried.id: "SUCCESS"}
    ends[followed.id] = "SUCCESS"
    wait_until(
        lambda: ends.items() <= {i: state for i, (_, state) in seen.states().items()}.items(),
        "Flower to have seen all ends",
    )
    pages = dict(seen.pages())
    assert f"/task/{failed.id}" in pages
    assert "EncryptedFailureError" in pages[f"/task/{failed.id}"]
    assert "&lt;encrypted&gt;" in pages[f"/task/{kept.id}"]
    assert [path for path, text in pages.items() if CANARY in text] == []
    assert CANARY not in repr(seen.get("/api/workers?refresh=1").json())
    assert find_canary(site) == set()


def test_flower_does_show_what_is_plain(make_secret_site, flower):
    """The control: the same search finds a plain task's arguments and result."""
    site = make_secret_site("redis")
    seen = flower(site)
    site.start_worker()
    result = site.app.tasks["keep_openly"].delay(CANARY)
    wait_until(lambda: seen.states().get(result.id, ("", ""))[1] == "SUCCESS", "Flower")
    found = {path.split("/")[1] for path, text in seen.pages() if CANARY in text}
    assert {"api", "task"} <= found


def test_a_job_whose_key_is_not_here_yet_waits_for_it(make_secret_site):
    """It is parked with its reason; resumed once the key is there, it runs."""
    site = make_secret_site("redis")
    text = site.key_file.read_text()
    keys = json.loads(text)
    result = site.app.tasks["keep_secrets"].delay(CANARY)
    other = {"keys": [{**new_entry("key-2", current=True)}]}
    site.key_file.write_text(json.dumps(other))
    worker = site.start_worker()
    job = wait_until(
        lambda: (j := site.jobs.get(result.id)).status is JobStatus.PAUSED and j, "parked"
    )
    assert job.reason.startswith("needs-key: ")
    assert "'key-1'" in job.reason
    worker.stop()
    keys["keys"] += [{**other["keys"][0], "use": "read"}]
    site.key_file.write_text(json.dumps(keys))
    site.start_worker()
    site.jobs.resume(result.id)
    assert end_of(site, result.id).status is JobStatus.SUCCEEDED


def test_keys_are_rotated_while_tasks_run_and_workers_die(make_secret_site):
    """Afterwards the old key can go: every record opens, and the running job ends right."""
    site = make_secret_site("redis", short_lease=True)
    first = site.start_worker(concurrency=1)
    ended = [site.app.tasks["keep_secrets"].delay(f"{CANARY}-{n}").id for n in range(60)]
    for job_id in ended:
        end_of(site, job_id)
    running = site.app.tasks["count_secretly"].delay(CANARY, 100)
    site.wait_for_item(running.id, 3)
    keys = json.loads(site.key_file.read_text())["keys"]
    keys = [{**keys[0], "use": "read"}, new_entry("key-2", current=True)]
    site.key_file.write_text(json.dumps({"keys": keys}))
    first.kill()
    site.start_worker(concurrency=1)
    second = site.start_worker(concurrency=1)
    site.milepost.runtime.cipher.keys.reread()
    rotation = site.jobs.create("milepost.rotate_keys")
    wait_until(lambda: site.jobs.get(rotation.id).status is not JobStatus.PENDING, "its start")
    second.kill()
    site.start_worker(concurrency=2)
    assert end_of(site, rotation.id).status is JobStatus.SUCCEEDED
    assert end_of(site, running.id).status is JobStatus.SUCCEEDED
    again = site.jobs.create("milepost.rotate_keys")
    assert end_of(site, again.id).status is JobStatus.SUCCEEDED
    site.key_file.write_text(json.dumps({"keys": keys[1:]}))
    site.milepost.runtime.cipher.keys.reread()
    assert site.jobs.result(running.id) == [CANARY, sum(range(100))]
    assert site.redone(running.id) <= 2
    for number, job_id in enumerate(ended):
        assert site.jobs.result(job_id) == [f"{CANARY}-{number}", None]
        assert site.jobs.checkpoint(job_id)["data"] == {"word": f"{CANARY}-{number}"}
    assert find_canary(site) == set()


def test_a_worker_without_keys_does_not_start(make_site):
    """A project with encrypted tasks and no keys fails at boot, not at its first job."""
    site = make_site("redis", settings={"keys": "env:NOWHERE"})
    worker = site.start_worker(ready=False)
    wait_until(lambda: worker.process.poll() is not None, "its end")
    assert "the environment variable NOWHERE is not set" in worker.text()
