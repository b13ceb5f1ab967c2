"""The way out of every message: what is an encrypted task's in it leaves sealed.

Celery builds all messages of an app with one function of that app, whoever sends them: a
caller, a chain, a chord, a link, a retry, beat, a worker. This stands before that function. A
job's record is a message that is kept, and what it holds is sealed by the same code.
"""

from collections.abc import Mapping
from typing import Any

from celery._state import get_current_worker_task

from milepost.errors import ConfigurationError, PlaintextError

ATTRIBUTE = "milepost_departures"
"""Where a Celery app keeps what stands before its messages."""
SHOWN = "<encrypted>"
"""What Celery shows in place of arguments."""
REPRS = {"argsrepr": SHOWN, "kwargsrepr": SHOWN}

PLACES = (
    *("countdown", "eta", "group_id", "group_index", "expires", "retries", "chord"),
    *("callbacks", "errbacks", "reply_to", "time_limit", "soft_time_limit"),
    *("create_sent_event", "root_id", "parent_id", "shadow", "chain"),
)
"""What Celery hands to the function by place, after a job's id, task and arguments."""
IN_MESSAGES = ("chord", "callbacks", "errbacks", "chain")
IN_OPTIONS = ("chord", "link", "link_error", "chain")
"""Where the signatures of what follows a job stand."""

IN_ONE_TASK = frozenset({"celery.map", "celery.starmap", "celery.chunks"})
"""Tasks of Celery's that call another one, item by item, in their own job."""
CANVASES = frozenset({"celery.chain", "celery.group", "celery.chord"})
SIGNATURE = frozenset({"task", "args", "kwargs", "options"})
"""What a dict among a task's arguments has if it is a signature."""
SINGLE = frozenset({str, int, float, bool, bytes, type(None)})


class Departures:
    """Builds an app's messages as Celery does, once what must not be read is sealed.

    Args:
        app: the Celery app.

    Attributes:
        is_needed: whether the app has an encrypted task; without one nothing is looked at.
    """

    __slots__ = ("_app", "_build", "is_needed")

    def __init__(self, app: Any) -> None:
        self._app = app
        self._build: Any = None
        self.is_needed = False

    def __call__(self, task_id: str, name: str, *places: Any, **options: Any) -> Any:
        """Return a message, as in Celery.

        Raises:
            NoKeysError: there is no key to encrypt with; nothing was sent.
            ConfigurationError: it would run an encrypted task where it cannot be encrypted.
            EncodeError, InvalidInputError, TypeError: the task does not take its arguments.
        """
        if self._build is None or not self._app.finalized:
            self._get_ready()
        if self.is_needed:
            return self._sealed(task_id, name, *places, **options)
        return self._build(task_id, name, *places, **options)

    def _get_ready(self) -> None:
        """Make the tasks that are only promised: one that is sent by name may be encrypted."""
        app = self._app
        if not app.finalized and app.autofinalize:
            app.finalize(auto=True)
        self._build = app.amqp.task_protocols[app.conf.task_protocol]

    def _sealed(
        self,
        task_id: str,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        *places: Any,
        **by_name: Any,
    ) -> Any:
        options = {**dict(zip(PLACES, places, strict=False)), **by_name}
        options = sealed_followers(self._app, options, IN_MESSAGES)
        task = encrypted_task(self._app, name)
        is_secret = task is not None and task.milepost_is_encrypted
        if is_secret:
            _check_shown(name, options)
            options |= REPRS
        if task is not None:
            args, kwargs = task.milepost_outgoing(args, kwargs, task_id, options.get("parent_id"))
        if not is_secret:
            args, kwargs = sealed_arguments(self._app, name, args, kwargs)
        return self._build(task_id, name, args, kwargs, **options)


def departures_of(app: Any) -> Departures:
    """Return what stands before the messages of a Celery app; put it there the first time."""
    found: Departures | None = getattr(app, ATTRIBUTE, None)
    if found is None:
        found = Departures(app)
        setattr(app, ATTRIBUTE, found)
        app.amqp.create_task_message = found
    return found


def encrypted_task(app: Any, name: Any) -> Any:
    """Return the task of that name that encrypts its arguments, or single values in them.

    None where the app knows of none.
    """
    task = app._tasks.get(name)
    return task if getattr(task, "milepost_encrypts", False) else None


def sealed_followers(
    app: Any, options: Mapping[str, Any], names: tuple[str, ...] = IN_OPTIONS
) -> dict[str, Any]:
    """Return the options of a message with the signatures in them sealed.

    Args:
        app: the Celery app.
        options: of ``apply_async``, or what a message is built from.
        names: those that are signatures.

    Raises:
        NoKeysError: there is no key to encrypt with.
        ConfigurationError: one of them cannot be encrypted.
    """
    found = {name: options[name] for name in names if options.get(name)}
    if not found or not departures_of(app).is_needed:
        return {**options}
    sealing = _Sealing(app)
    return {**options, **{name: sealing.follower(one) for name, one in found.items()}}


def check_followers(app: Any, request: Any) -> None:
    """Refuse what was put behind an encrypted task by somebody who has no key.

    Whoever has one has sealed what follows; the worker would seal it when it sends it on.

    Args:
        app: the Celery app.
        request: of the encrypted task that is about to run.

    Raises:
        PlaintextError: the arguments of an encrypted task that follows are in the clear.
    """
    sealing = _Sealing(app, refuses=True)
    for name in IN_MESSAGES:
        if found := getattr(request, name, None):
            sealing.follower(found)


def refuse_in_one_task(task: Any) -> None:
    """Refuse a direct call of an encrypted task by Celery's map, starmap or chunks.

    The items came in the clear: nobody who knows the task has sent them. Those of an eager
    call never travelled.

    Raises:
        PlaintextError: the task does not take what is in the clear.
    """
    caller = get_current_worker_task()
    if caller is None or caller.name not in IN_ONE_TASK or caller.request.is_eager:
        return
    if not task.accept_plaintext:
        raise PlaintextError(f"{caller.name} of {task.name}: items")


def sealed_arguments(app: Any, name: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of a plain task with any signatures of encrypted ones sealed.

    Raises:
        NoKeysError: there is no key to encrypt with.
        ConfigurationError: it is one of Celery's that would send their items in the clear.
    """
    if not departures_of(app).is_needed:
        return args, kwargs
    if not (_holds_signature(args) or _holds_signature(kwargs) or name in IN_ONE_TASK):
        return args, kwargs
    sealing = _Sealing(app)
    sealing.check_in_one_task(name, args, kwargs)
    return sealing.value(args), sealing.value(kwargs)


def _holds_signature(found: Any) -> bool:
    """Whether there may be a signature in a value: most have none, and pay for a look only."""
    if isinstance(found, dict):
        if "task" in found and found.keys() >= SIGNATURE:
            return True
        found = found.values()
    elif not isinstance(found, list | tuple):
        return False
    return any(_holds_signature(one) for one in found if type(one) not in SINGLE)


class _Sealing:
    """Seals what is an encrypted task's in signatures, at any depth; changes none in place.

    Args:
        app: the Celery app.
        refuses: raise PlaintextError for what is not sealed yet.

    Attributes:
        met: how many signatures of encrypted tasks it has come upon.
    """

    __slots__ = ("_app", "_refuses", "met")

    def __init__(self, app: Any, *, refuses: bool = False) -> None:
        self._app, self._refuses, self.met = app, refuses, 0

    def follower(self, found: Any) -> Any:
        """Seal a signature, or a list of them; here every dict is one."""
        if isinstance(found, dict):
            return self._signature(found)
        if isinstance(found, list | tuple):
            return [self.follower(one) for one in found]
        return found

    def value(self, found: Any) -> Any:
        """Seal the signatures in a value; one that has none is returned as it is."""
        if not _holds_signature(found):
            return found
        if not isinstance(found, dict):
            return [self.value(one) for one in found]
        if found.keys() >= SIGNATURE:
            return self._signature(found)
        return {key: self.value(one) for key, one in found.items()}

    def _signature(self, found: dict[str, Any]) -> dict[str, Any]:
        name, args, kwargs = found.get("task"), found.get("args"), found.get("kwargs")
        options = found.get("options") or {}
        if any(options.get(place) for place in IN_OPTIONS):
            options = {
                place: self.follower(one) if place in IN_OPTIONS else one
                for place, one in options.items()
            }
        task = encrypted_task(self._app, name)
        if task is not None:
            self.met += 1
            args, kwargs = tuple(args or ()), dict(kwargs or {})
            sealed = task.milepost_part(args, kwargs)
            if self._refuses and sealed != (args, kwargs) and not task.accept_plaintext:
                raise PlaintextError(f"arguments of {name!r}, which follows")
            args, kwargs = sealed
            options = {**options, **{one: SHOWN for one in REPRS if one in options}}
        else:
            self.check_in_one_task(name, args, kwargs)
            before = self.met
            args, kwargs = self.value(args), self.value(kwargs)
            if name in CANVASES and self.met > before:
                _check_canvas(name, args, kwargs)
        return {**found, "args": args, "kwargs": kwargs, "options": options}

    def check_in_one_task(self, name: Any, args: Any, kwargs: Any) -> None:
        """Refuse what calls an encrypted task item by item: the items would be in the clear."""
        if name not in IN_ONE_TASK:
            return
        for one in ((kwargs or {}).get("task"), *(args or ())[:1]):
            called = one.get("task") if isinstance(one, dict) else getattr(one, "name", one)
            if isinstance(called, str) and encrypted_task(self._app, called) is not None:
                raise ConfigurationError(
                    f"{name} of {called!r} would send its items in the clear: send "
                    "group(task.s(item) for item in items), or loop over them within the task"
                )


def _check_shown(name: str, options: Mapping[str, Any]) -> None:
    """Refuse words of the sender's own for the arguments: Celery sends them a second time."""
    for one in REPRS:
        if options.get(one) not in (None, SHOWN):
            raise ConfigurationError(f"{name!r} is encrypted: {one}= would be sent in the clear")


def _check_canvas(name: str, args: Any, kwargs: Any) -> None:
    """Refuse arguments that a canvas itself has for its members, of which some are encrypted."""
    if args or (kwargs or {}).get("kwargs"):
        raise ConfigurationError(
            f"a {name.removeprefix('celery.')} with an encrypted task in it has arguments of its "
            "own, which would be sent in the clear: give them to its members"
        )
