"""Keeps what Celery has stored of chords for as long as a durable member of them is not done.

Celery lets the results that a chord collects expire after ``result_chord_expires`` (by default
``result_expires``, a day). A member that is paused, snoozes or works for longer than that would
find them gone, and the chord would never complete.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from celery.backends.base import BaseKeyValueStoreBackend
from celery.canvas import Signature
from celery.result import GroupResult

from milepost.model import Job, JobStatus
from milepost.query import Query
from milepost.runtime import Runtime
from milepost.tasks import message

ALIVE = frozenset(status for status in JobStatus if not status.is_terminal)
PARTS = ("", ".j", ".t", ".s", ".d")
"""What the keys of one chord end with; ``.c`` is a claim of seconds and none of ours."""
BATCH = 500


class Chords:
    """Puts off the expiry of chords that wait for a job.

    Args:
        app: the Celery app.
        runtime: the application's.
    """

    def __init__(self, app: Any, runtime: Runtime) -> None:
        self._app = app
        self._runtime = runtime
        self._tend_at = 0.0
        self._rest: Query | None = None

    def tend(self) -> None:
        """Renew what chords of unfinished jobs have stored, four times before it would expire.

        It looks at one page of jobs a call: with a hundred thousand that wait, going through
        them at once would keep the recovery from its own work.

        Raises:
            StoreError: the store did not answer.
        """
        backend = self._app.backend
        expires = getattr(backend, "chord_expires", None)
        if not isinstance(backend, BaseKeyValueStoreBackend) or not expires:
            return
        now = time.monotonic()
        if self._rest is None and now >= self._tend_at:
            self._tend_at = now + expires / 4
            self._rest = Query(ALIVE, limit=BATCH)
        if self._rest is None:
            return
        page = self._runtime.store.find(self._rest)
        self._rest = replace(self._rest, cursor=page.cursor) if page.cursor else None
        for group in {group for job in page.jobs for group in self._groups_of(job)}:
            self._renew(backend, group)

    def _groups_of(self, job: Job) -> Iterator[str]:
        """Yield the ids of the chords that a job, or what follows it in its chain, is part of."""
        signature = message.unpack(job.message, self._app)
        for one in (signature, *_chain_of(signature)):
            chord = chord_of(one)
            if chord is not None:
                yield chord

    def _renew(self, backend: Any, group: str) -> None:
        for part in PARTS:
            backend.expire(backend.get_key_for_group(group, part), backend.chord_expires)
        saved = GroupResult.restore(group, backend=backend, app=self._app)
        for result in (saved.results or ()) if saved is not None else ():
            backend.expire(backend.get_key_for_task(result.id), backend.chord_expires)


def chord_of(signature: Mapping[str, Any]) -> str | None:
    """Return the id of the chord that a signature is a member of, or None."""
    options = signature.get("options") or {}
    return options.get("group_id") if options.get("chord") else None


def _chain_of(signature: Signature[Any]) -> list[Any]:
    """Return the signatures that follow one in its chain; a member of a chord may be a chain."""
    return list(signature.options.get("chain") or ())
