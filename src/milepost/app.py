"""The composition root: the one file that names every collaborator."""

import os
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from celery._state import _get_active_apps, connect_on_app_finalize  # type: ignore[attr-defined]

from milepost.clock import Clock, SystemClock
from milepost.codec import Codec
from milepost.codecs.encrypted import Cipher
from milepost.codecs.json import JsonCodec
from milepost.codecs.keyring import Source, open_keys
from milepost.errors import ConfigurationError
from milepost.jobs import CeleryJobManager, rotation
from milepost.observer import Emitter, Observer
from milepost.runtime import ATTRIBUTE, CIPHER, Runtime
from milepost.settings import Settings, read_settings
from milepost.store import Store
from milepost.stores import open_store

REDIS = ("redis", "rediss")
SPAWNED = "FORKED_BY_MULTIPROCESSING"
"""Environment variable of Celery's: pool processes start afresh, by import instead of fork."""


class Milepost:
    """Wires milepost to one Celery app. Several may live in one process, each for its app.

    Args:
        app: the Celery app.
        store: URL of the store, or a store. None: the Redis that Celery uses.
        codec: how values become bytes. None: JSON.
        keys: where the keys of encrypted tasks are; see
            :func:`milepost.codecs.keyring.open_keys`.
        observers: called with every event; see :mod:`milepost.events`.
        clock: for tests.
        settings: any of :class:`milepost.settings.Settings`.

    Raises:
        ConfigurationError: an unknown setting, an unusable value, an unknown store URL, or
            an app that has a milepost already.
        MissingExtraError: the store's driver is not installed; the message has the pip line.
    """

    def __init__(
        self,
        app: Any,
        *,
        store: str | Store | None = None,
        codec: Codec | None = None,
        keys: Source | None = None,
        observers: Sequence[Observer] = (),
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        if getattr(app, ATTRIBUTE, None) is not None:
            raise ConfigurationError(f"the Celery app {app.main!r} has a milepost already")
        self.app = app
        self.jobs = CeleryJobManager(app)
        self._given = {**settings, "store": store if isinstance(store, str) else None}
        self._keys = keys
        self._store = None if isinstance(store, str) else store
        self._codec = codec or JsonCodec()
        self._emit = Emitter(observers)
        self._clock = clock or SystemClock()
        self._cipher: Cipher | None = None
        self._runtime: Runtime | None = None
        self._lock = threading.Lock()
        self._check_what_was_given()
        self._serve(app)
        app.steps["worker"].add("milepost.integrations.worker:KeeperStep")
        if app.configured:
            take_whole_files(app)
        else:
            app.on_after_configure.connect(take_whole_files, sender=app)
        if os.environ.get(SPAWNED):
            self._serve_twins()

    @property
    def runtime(self) -> Runtime:
        """The bundle that everything below works with; made on first use, connected later."""
        return self._provide()

    @property
    def store(self) -> Store:
        """The store in use."""
        return self._provide().store

    def _check_what_was_given(self) -> None:
        """Fail where the mistake is made; what Celery's configuration adds is read later."""
        settings = read_settings(self._given, {})
        if settings.store is not None:
            open_store(settings.store, settings)
        self._make_cipher(settings)

    def _serve_twins(self) -> None:
        """In a spawned pool process, serve the app that Celery brings there by pickle too.

        The project's modules are imported there once more and make the app, and this
        milepost, anew; the tasks that run are bound to the pickled one.
        """
        connect_on_app_finalize(self._serve_twin)
        for app in list(_get_active_apps()):
            self._serve_twin(app)

    def _serve_twin(self, app: Any) -> None:
        if app.main == self.app.main and getattr(app, ATTRIBUTE, None) is None:
            self._serve(app)

    def _serve(self, app: Any) -> None:
        declare = partial(self._declare_rotation, app)
        if app.finalized:
            declare()
        else:
            app.on_after_finalize.connect(declare, weak=False)
        setattr(app, ATTRIBUTE, self._provide)
        setattr(app, CIPHER, self._provide_cipher)
        app.milepost_codec = self._codec

    def _declare_rotation(self, app: Any, **_: Any) -> None:
        rotation.declare(app, lambda: self._provide_cipher() is not None)

    def _provide_cipher(self) -> Cipher | None:
        if self._cipher is None:
            self._cipher = self._make_cipher(read_settings(self._given, self.app.conf))
        return self._cipher

    def _make_cipher(self, settings: Settings) -> Cipher | None:
        source = settings.keys if self._keys is None else self._keys
        if source is None:
            return None
        compression = None if settings.compression == "none" else settings.compression
        return Cipher(open_keys(source), compression)

    def _provide(self) -> Runtime:
        if self._runtime is None:
            with self._lock:
                if self._runtime is None:
                    self._runtime = self._make()
        return self._runtime

    def _make(self) -> Runtime:
        settings = read_settings(self._given, self.app.conf)
        store = self._store
        if store is None:
            store = open_store(settings.store or redis_of(self.app), settings)
        return Runtime(
            settings, store, self._codec, self._clock, self._emit, self._provide_cipher()
        )


def take_whole_files(sender: Any, **_: Any) -> None:
    """Let an app whose broker is a folder use the transport that never shows half a message."""
    conf = sender.conf
    if not conf.broker_transport and str(conf.broker_url or "").startswith("filesystem://"):
        conf.broker_transport = "milepost.integrations.filesystem:Transport"


def redis_of(app: Any) -> str:
    """Return the URL of the Redis that a Celery app uses, as broker or for results.

    Raises:
        ConfigurationError: it uses none.
    """
    conf = app.conf
    for url in (conf.broker_write_url, conf.broker_url, conf.result_backend):
        for candidate in (url or "").split(";") if isinstance(url, str) else ():
            if urlsplit(candidate).scheme in REDIS:
                return str(candidate)
    raise ConfigurationError(
        f"the Celery app {app.main!r} uses no Redis to keep jobs in. Say where: "
        'Milepost(app, store="sqlite:///jobs.db") or "postgresql://…" or "redis://…"'
    )
