"""The composition root: the one file that names every collaborator."""

import os
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, cast
from urllib.parse import urlsplit

from celery._state import _get_active_apps, connect_on_app_finalize  # type: ignore[attr-defined]

import milepost.jobs
import milepost.routing
from milepost import codecs, security
from milepost.clock import Clock, SystemClock
from milepost.codec import Codec
from milepost.codecs.json import JsonCodec
from milepost.discovery import load_plugins
from milepost.errors import ConfigurationError
from milepost.observer import Emitter, Observer
from milepost.registry import ATTRIBUTE as REGISTRY
from milepost.registry import TaskRegistry
from milepost.runtime import ATTRIBUTE, CIPHER, OVERSEER, ROUTING, Runtime
from milepost.security.serializers import refuse_pickle
from milepost.settings import Settings, read_settings
from milepost.store import Store
from milepost.stores import open_store
from milepost.tasks.departures import departures_of

REDIS = ("redis", "rediss")
FROM_PLUGIN = "plugin:"
"""What the keys begin with that a plugin provides; the name that it gives to them follows."""
SPAWNED = "FORKED_BY_MULTIPROCESSING"
"""Environment variable of Celery's: pool processes start afresh, by import instead of fork."""

BEFORE_CONFIGURATION = ("blocked_plugins", "strict_plugins")
"""Settings that are needed before Celery's configuration may be read."""


class Milepost:
    """Wires milepost to one Celery app. Several may live in one process, each for its app.

    Args:
        app: the Celery app.
        store: URL of the store, or a store. None: the Redis that Celery uses.
        codec: how values become bytes, or the name that a plugin gives to it. None: JSON.
        keys: where the keys of encrypted tasks are, or ``plugin:<name>``; see
            :func:`milepost.codecs.keyring.open_keys`.
        observers: called with every event; see :mod:`milepost.events`.
        policy: who may do what, or the name that a plugin gives to it; see
            :mod:`milepost.security.permissions`. None: everybody everything.
        plugins: plugins that are not installed as such; see :mod:`milepost.hookspecs`.
        clock: for tests.
        routing: the other system that jobs are moving from, if there is one.
        settings: any of :class:`milepost.settings.Settings`.

    Raises:
        ConfigurationError: an unknown setting, an unusable value, an unknown store URL, an
            app that has a milepost already, or plugins that do not go together.
        MissingExtraError: the store's driver is not installed; the message has the pip line.
    """

    def __init__(
        self,
        app: Any,
        *,
        store: str | Store | None = None,
        codec: str | Codec | None = None,
        keys: "codecs.Source | None" = None,
        observers: Sequence[Observer] = (),
        policy: "str | security.Policy | None" = None,
        plugins: Sequence[object] = (),
        clock: Clock | None = None,
        routing: "milepost.routing.Routing | None" = None,
        **settings: Any,
    ) -> None:
        if getattr(app, ATTRIBUTE, None) is not None:
            raise ConfigurationError(f"the Celery app {app.main!r} has a milepost already")
        self.app = app
        is_store = callable(getattr(store, "claim", None))
        self._given = {**settings, "store": None if is_store else store}
        early = read_settings(self._given, {})
        self._early = {name: getattr(early, name) for name in BEFORE_CONFIGURATION}
        self.plugins = load_plugins(
            plugins, blocked=early.blocked_plugins, strict=early.strict_plugins
        )
        self._keys = keys
        self._store = cast("Store", store) if is_store else None
        if early.store is not None and self._store is None:
            open_store(early.store, early, self.plugins.stores)  # fail where the mistake is made
        self._codec = self._made("codecs", codec) or JsonCodec()
        self._policy = self._made("permission_policies", policy)
        self._observers = tuple(observers)
        self._clock = clock or SystemClock()
        self._cipher: codecs.Cipher | None = None
        self._runtime: Runtime | None = None
        self._lock = threading.Lock()
        self.registry = TaskRegistry(app)
        for brought in self.plugins.job_types:
            self.registry.bring(brought.what, brought.owner)
        self._make_cipher(early)  # fail where the mistake is made
        self._routing: milepost.routing.RoutingRuntime | None = None
        if routing is not None:  # as above
            self._routing = self._put_together(routing)
        self._serve(app)
        app.steps["worker"].add("milepost.integrations.worker:KeeperStep")
        app.steps["consumer"].add("milepost.integrations.unknown:UnknownStep")
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

    @cached_property
    def jobs(self) -> "milepost.jobs.CeleryJobManager":
        """The jobs that Celery runs: make them, find them, steer them."""
        return milepost.jobs.CeleryJobManager(self.app)

    @property
    def router(self) -> "milepost.routing.JobRouter":
        """Where jobs are created while two systems run them."""
        return self._provide_routing().router

    @property
    def flags(self) -> "milepost.routing.FeatureFlags":
        """The feature flags, which decide where jobs go."""
        return self._provide_routing().flags

    @property
    def migrations(self) -> "milepost.routing.MigrationTracker":
        """How far each job type is on its way to Celery."""
        return self._provide_routing().migrations

    @property
    def rollbacks(self) -> "milepost.routing.RollbackManager":
        """The way back."""
        return self._provide_routing().rollbacks

    def _made(self, kind: str, given: Any) -> Any:
        """Return what was given, or what a plugin makes under that name."""
        return self.plugins.make(kind, given) if isinstance(given, str) else given

    def _put_together(
        self, routing: "milepost.routing.Routing"
    ) -> "milepost.routing.RoutingRuntime":
        """Return the routing of this app, with what plugins make in place of their names."""
        sources = [self._made("flag_sources", source) for source in routing.flags]
        legacy = self._made("legacy_managers", routing.legacy)
        said = replace(routing, legacy=legacy, flags=sources)
        return milepost.routing.put_together(self.app, said, self.registry, self._provide)

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
        """Let an app find all that is its milepost's, on itself."""
        setattr(app, ATTRIBUTE, self._provide)
        setattr(app, REGISTRY, self.registry)
        setattr(app, ROUTING, self._provide_routing)
        setattr(app, OVERSEER, self._provide_overseer)
        setattr(app, CIPHER, self._provide_cipher)
        departures_of(app)
        app.milepost_codec = self._codec
        if app.finalized:
            self._make_tasks(app)
        else:
            app.on_after_finalize.connect(self._make_tasks, sender=app)

    def _make_tasks(self, sender: Any, **_: Any) -> None:
        """Make the tasks that are declared by their classes, once the app has the others."""
        self.registry.make_tasks(sender)
        if self._provide_cipher() is not None:
            milepost.jobs.rotation.declare(sender)

    def _provide_routing(self) -> "milepost.routing.RoutingRuntime":
        if self._routing is None:
            with self._lock:
                if self._routing is None:
                    self._routing = self._put_together(milepost.routing.Routing())
        return self._routing

    def _provide_overseer(self) -> Any:
        """Return who makes the rounds of a move between two systems; None where there is none."""
        return None if self._routing is None else self._routing.overseer()

    def _provide_cipher(self) -> "codecs.Cipher | None":
        if self._cipher is None:
            self._cipher = self._make_cipher(read_settings(self._given, self.app.conf))
        return self._cipher

    def _make_cipher(self, settings: Settings) -> "codecs.Cipher | None":
        source = settings.keys if self._keys is None else self._keys
        if source is None:
            return None
        compression = None if settings.compression == "none" else settings.compression
        return codecs.Cipher(self._opened(source), compression)

    def _opened(self, source: "codecs.Source") -> "codecs.KeyProvider":
        if isinstance(source, str) and source.startswith(FROM_PLUGIN):
            source = self.plugins.make("key_providers", source.removeprefix(FROM_PLUGIN))
        return codecs.open_keys(source)

    def _provide(self) -> Runtime:
        if self._runtime is None:
            with self._lock:
                if self._runtime is None:
                    self._runtime = self._make()
        return self._runtime

    def _make(self) -> Runtime:
        settings = read_settings(self._given, self.app.conf)
        self._refuse_what_comes_late(settings)
        if not settings.allow_pickle:
            refuse_pickle(self.app.conf)
        store = self._store
        if store is None:
            url = settings.store or redis_of(self.app)
            store = open_store(url, settings, self.plugins.stores)
        observers = (*self._observers, *(make() for make in self.plugins.observers.values()))
        emit = Emitter(observers)
        return Runtime(
            settings,
            store,
            self._codec,
            self._clock,
            emit,
            security.Permissions(self._policy, emit),
            self.plugins,
            self._provide_cipher(),
        )

    def _refuse_what_comes_late(self, settings: Settings) -> None:
        for name, early in self._early.items():
            if getattr(settings, name) != early:
                raise ConfigurationError(
                    f"{name} in Celery's configuration comes too late: plugins are loaded when "
                    f"Milepost(app) is made. Give it there, or as MILEPOST_{name.upper()}"
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
    conf, problem = app.conf, "uses no Redis"
    for url in (conf.broker_write_url, conf.broker_url, conf.result_backend):
        for candidate in (url or "").split(";") if isinstance(url, str) else ():
            if urlsplit(candidate).scheme in REDIS:
                return str(candidate)
            if urlsplit(candidate).scheme == "sentinel":
                problem = "uses Sentinel; the store needs the address that leads to the master"
    raise ConfigurationError(
        f"the Celery app {app.main!r} {problem}. Say where to keep jobs: "
        'Milepost(app, store="sqlite:///jobs.db") or "postgresql://…" or "redis://…"'
    )
