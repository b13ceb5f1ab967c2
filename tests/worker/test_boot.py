"""What a worker refuses to start with, and what it takes note of when it starts."""

import json

import pytest
from workers import wait_until

from milepost.versions import DOCUMENT


def seen(site):
    """Return the checkpoint versions that the store has seen."""
    return json.loads(site.milepost.store.documents.read(DOCUMENT).data or b"{}")


def start_in_vain(site, pool="prefork"):
    """Start a worker that ends by itself; return what it says."""
    worker = site.start_worker(pool, ready=False)
    wait_until(lambda: worker.process.poll() is not None, "the worker has ended")
    assert worker.process.returncode != 0
    assert "ready." not in worker.text()
    return worker.text()


def change_project(site, lines):
    """Let a worker's project be the tests' own one, and do something to it."""
    (site.folder / "project.py").write_text(
        "from importlib import util\n"
        f"spec = util.spec_from_file_location('whole', {str(site.home / 'project.py')!r})\n"
        "whole = util.module_from_spec(spec)\n"
        "spec.loader.exec_module(whole)\n"
        "app = whole.app\n" + lines
    )


@pytest.mark.parametrize("kind", ["redis", "files+sqlite", "redis+postgres"])
def test_a_version_that_went_backwards(make_site, kind):
    """A worker of older code does not touch newer jobs, unless somebody wants just that."""
    site = make_site(kind)
    site.start_worker().stop()
    assert seen(site)["count"] == 1
    document = site.milepost.store.documents.read(DOCUMENT)
    newer = json.dumps({**seen(site), "count": 7, "gone": 2}).encode()
    assert site.milepost.store.documents.write(DOCUMENT, newer, version=document.version)

    said = start_in_vain(site)
    assert "checkpoint_version went backwards: 'count' has 1, the store has seen 7" in said

    site.env["MILEPOST_ALLOW_OLDER_VERSIONS"] = "1"
    worker = site.start_worker()
    assert "checkpoint_version went backwards" in worker.text()
    assert (seen(site)["count"], seen(site)["gone"]) == (7, 2)
    job = site.send("count", 3)
    assert job.get(timeout=30) == 3


def test_event_loops_on_greenlets(make_site, monkeypatch):
    """The second job would fail; a worker that such tasks are not sent to starts."""
    monkeypatch.setenv("PROJECT_MODEL", "http://127.0.0.1:1")
    site = make_site("files+sqlite")
    assert "runs an event loop, which the gevent and eventlet pools cannot" in start_in_vain(
        site, "gevent"
    )
    site.start_worker("gevent", options=("-Q", "others"))


def test_pickle(make_site):
    """A worker that would read it does not start."""
    site = make_site("files+sqlite")
    conf = {**json.loads(site.env["PROJECT_CONF"]), "accept_content": ["json", "pickle"]}
    site.env["PROJECT_CONF"] = json.dumps(conf)
    assert "accept_content of the Celery app has pickle" in start_in_vain(site)


def test_annotations_that_undo_durability(make_site):
    """Celery would record a failure where a process dies, while the job goes on."""
    site = make_site("files+sqlite", conf={"task_annotations": {"*": {"acks_late": False}}})
    said = start_in_vain(site)
    assert "(by task_annotations?): acks_late=False contradicts durable=True" in said


def test_a_registry_that_contradicts_itself(make_site):
    """A job type whose task nobody has."""
    site = make_site("files+sqlite")
    change_project(site, "whole.milepost.registry.register('shop.import', 'shop.tasks.nowhere')\n")
    said = start_in_vain(site)
    assert "job type 'shop.import' names task 'shop.tasks.nowhere', which is not registered" in said


def test_a_milepost_that_came_too_late(make_site):
    """The worker ends with a word that says what to do, and its message goes back."""
    site = make_site("redis")
    change_project(site, "app.steps['worker'].clear()\n")
    job = site.send("count", 3)
    worker = site.start_worker(ready=False)
    wait_until(lambda: worker.process.poll() is not None, "the worker has ended")
    assert "had no milepost when it started. Write `milepost = Milepost(app)`" in worker.text()

    (site.folder / "project.py").unlink()
    site.start_worker()
    assert job.get(timeout=30) == 3
