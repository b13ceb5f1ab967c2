"""Keeps what Celery has stored of chords for as long as a durable member of them is not done.

Celery lets the results that a chord collects expire after ``result_chord_expires`` (by default
``result_expires``, a day). A member that is paused, snoozes or works for longer than that would
find them gone, and the chord would never complete.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from celery.backends.base import BaseKeyValueStoreBackend
from celery.canvas import Signature
from celery.result import GroupResult

from milepost.errors import ConfigurationError
from milepost.model import Job, JobStatus
from milepost.query import Query
from milepost.runtime import Runtime
from milepost.tasks import message

ALIVE = frozenset(status for status in JobStatus if not status.is_terminal)
PARTS = ("", ".j", ".t", ".s", ".d")
"""What the keys of one chord end with; ``.c`` is a claim of seconds and none of ours."""
BATCH = 500
SLICE = 0.1
"""Seconds for which one call looks through jobs; the recovery must not wait for the rest."""


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
        self._next: Query | None = None  # the page to go on with; None: no round is under way
        self._renewed: set[str] = set()

    def tend(self) -> None:
        """Renew what chords of unfinished jobs have stored, four times before it would expire.

        With many jobs one call does a part, and the next goes on there.

        Raises:
            Exception: whatever the store or the backend raises; the next call tries again.
        """
        backend = self._app.backend
        expires = getattr(backend, "chord_expires", None)
        now = time.monotonic()
        if not isinstance(backend, BaseKeyValueStoreBackend) or not expires:
            return
        if self._next is None and now >= self._tend_at:
            self._tend_at = now + expires / 4
            self._next = Query(ALIVE, limit=BATCH)
            self._renewed.clear()
        try:
            self._tend_pages(backend, until=now + SLICE)
        except Exception:
            self._tend_at = now  # what was left out is not to wait for as long as a good round
            raise

    def _tend_pages(self, backend: Any, until: float) -> None:
        while self._next is not None:
            self._tend_page(backend, self._next)
            if time.monotonic() >= until:
                return

    def _tend_page(self, backend: Any, query: Query) -> None:
        page = self._runtime.store.find(query)
        # What fails below is left to the next round: it is not to keep the other pages waiting.
        self._next = Query(ALIVE, limit=BATCH, cursor=page.cursor) if page.cursor else None
        groups = {group for job in page.jobs for group in self._groups_of(job)} - self._renewed
        self._renewed |= groups
        for group in groups:
            self._renew(backend, group)

    def _groups_of(self, job: Job) -> Iterator[str]:
        """Yield the ids of the chords that a job, or what follows it in its chain, is part of."""
        try:
            signature = message.unpack(job.message, self._app)
        except (ValueError, ConfigurationError):
            return  # it has none, being in one process's hands, or one that may not be read here
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
