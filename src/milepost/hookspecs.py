"""The hooks: what a plugin may bring, and in which form.

A plugin is a module, or any object, with functions that carry the names below and the mark
:data:`hookimpl`. A distribution announces it as an entry point of the group ``milepost``; an
application can hand one over as well: ``Milepost(app, plugins=[module])``.

Hooks are called once, when ``Milepost(app)`` is made, and take no arguments. They return names
and factories and do nothing else: at that moment the application's modules are still being
imported, and processes are yet to be forked. A factory is called when what it makes is first
needed, and what it makes connects on first use only. It gets what its hook says and nothing
else: one that has to be told more reads it from the environment, or the application makes the
thing itself and gives it in place of a name.

A name stands for one thing: two plugins that bring one of the same kind and name are refused.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pluggy

from milepost.codec import Codec
from milepost.jobtype import JobType
from milepost.observer import Observer
from milepost.plugins import PROJECT
from milepost.security.permissions import Policy
from milepost.settings import Settings
from milepost.store import Store
from milepost.tasks.base import BaseTask

hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function of a plugin as the implementation of the hook that it is called as."""

_spec = pluggy.HookspecMarker(PROJECT)


@_spec
def milepost_job_types() -> Iterable[JobType | type[BaseTask]]:
    """Return job types, each as the class of a durable task or as a ``JobType``.

    A class is registered with Celery as ``app.register_task(cls())`` would; its ``job_type``
    is its name, or else the task's. A ``JobType`` names a task that is registered otherwise:
    by ``@shared_task`` in a module that the plugin imports. Write its name as a text: to ask
    a shared task for it would finalize the app too early.
    """
    raise NotImplementedError


@_spec
def milepost_stores() -> Mapping[str, Callable[[str, Settings], Store]]:
    """Return URL scheme → ``factory(url, settings)`` that returns a store.

    Without ``://``; a scheme of milepost's own is refused. In use with
    ``Milepost(app, store="<scheme>://…")``, the setting ``store`` or its variable. The store
    keeps the rules of ``milepost.testing.StoreContract``.
    """
    raise NotImplementedError


@_spec
def milepost_codecs() -> Mapping[str, Callable[[], Codec]]:
    """Return name → ``factory()`` that returns a codec.

    In use with ``Milepost(app, codec="<name>")``. It keeps the rules of
    ``milepost.testing.CodecContract``.
    """
    raise NotImplementedError


@_spec
def milepost_key_providers() -> Mapping[str, Callable[[], Any]]:
    """Return name → ``factory()`` that returns a provider of encryption keys.

    In use with ``Milepost(app, keys="plugin:<name>")``, or the setting. What it returns is a
    :class:`milepost.codecs.keyring.KeyProvider`, or any other source of keys.
    """
    raise NotImplementedError


@_spec
def milepost_observers() -> Mapping[str, Callable[[], Observer]]:
    """Return name → ``factory()`` that returns an observer of events.

    Every observer is in use once its plugin is installed, beside those that the application
    gives. It is made in the process that makes the runtime, and forked with it.
    """
    raise NotImplementedError


@_spec
def milepost_guards() -> Mapping[str, Callable[..., Any]]:
    """Return name → ``factory(store, emit)`` that returns a :class:`milepost.guard.Guard`.

    In use before the body of a durable task that names it: ``guards = ("<name>",)``. Made
    once in each process that runs such a task.
    """
    raise NotImplementedError


@_spec
def milepost_llm_clients() -> Mapping[str, Callable[[], Any]]:
    """Return name → ``factory()`` that returns a :class:`milepost.llm.LLMClient`.

    In use in an ``LLMTask`` with ``llm_client = "<name>"``. It keeps the rules of
    ``milepost.testing.LLMClientContract``. Made once in each process that runs such a task.
    """
    raise NotImplementedError


@_spec
def milepost_permission_policies() -> Mapping[str, Callable[[], Policy]]:
    """Return name → ``factory()`` that returns a policy.

    In use with ``Milepost(app, policy="<name>")``: to install a plugin neither grants nor
    takes away anything.
    """
    raise NotImplementedError


@_spec
def milepost_flag_sources() -> Mapping[str, Callable[[], Any]]:
    """Return name → ``factory()`` that returns a source of feature flags.

    In use with ``Milepost(app, routing=Routing(flags=["<name>"]))``: a
    :class:`milepost.routing.FlagSource`.
    """
    raise NotImplementedError


@_spec
def milepost_legacy_managers() -> Mapping[str, Callable[[], Any]]:
    """Return name → ``factory()`` that returns a manager of the host's own jobs.

    In use with ``Milepost(app, routing=Routing(legacy="<name>"))``: a
    :class:`milepost.jobs.JobManager`.
    """
    raise NotImplementedError
