"""The two wrappers around an encrypted task's ``run``, inside and outside of the engine.

The inner one opens the arguments once the job is claimed, so that a job whose key is missing is
parked. The outer one turns the result, and every error, into ciphertext before Celery sees it.
"""

import functools
import inspect
from threading import get_ident
from typing import Any, cast

from celery._state import get_current_worker_task
from celery.exceptions import Ignore, Reject, Retry
from celery.states import EXCEPTION_STATES, SUCCESS

from milepost.ciphertext import HIDDEN
from milepost.codecs import tokens
from milepost.codecs.encrypted import Sealer
from milepost.engine.stored import misfit, parked
from milepost.errors import (
    DecodeError,
    EncryptedDataError,
    EncryptedFailureError,
    KeyUnknownError,
    NoKeysError,
    PlaintextError,
    TamperedError,
)
from milepost.runtime import cipher_of
from milepost.tasks.carrying import is_inside, is_put_back
from milepost.tasks.current import CURRENT
from milepost.tasks.departures import check_followers, refuse_in_one_task
from milepost.tasks.disguises import Again, disguised, retry
from milepost.tasks.fingerprint import BELOW
from milepost.tasks.revealed import codec_of, decoded, sealed_failure
from milepost.tasks.tenants import is_sealed, sealer_for, sealer_here
from milepost.tasks.verdict import describe

_NOBODYS_OWN = frozenset({"builtins", "asyncio.exceptions", "celery.exceptions"})
"""Modules whose exceptions have no words but those they are given."""


class Delivered:
    """The arguments of a job as they were delivered, to be opened once it is claimed.

    Args:
        task: the job's task.
        request: Celery's request.
    """

    __slots__ = ("request", "task")

    def __init__(self, task: Any, request: Any) -> None:
        self.task, self.request = task, request

    def open(self) -> tuple[Any, Any]:
        """Return positional and keyword arguments.

        Raises:
            Suspend: the key is not here: the job is parked until it is.
            PlaintextError: they are in the clear, or those of an encrypted task that follows.
            TamperedError: they were changed, or are those of another job.
        """
        task, request = self.task, self.request
        args, kwargs = tuple(request.args or ()), dict(request.kwargs or {})
        check_followers(task.app, request)
        if not is_sealed(args, kwargs):
            if not task.accept_plaintext:
                raise PlaintextError(f"{request.id}: arguments")
            task.tenant_of(*args, **kwargs)  # what it has to say of them fails the job here
            check_key(task)
            return args, kwargs
        try:
            data = tokens.open_call(cipher_of(task.app), request.id, task.name, args[0])
            sealer_here(task)
        except (PlaintextError, TamperedError):
            raise
        except EncryptedDataError as exc:
            raise parked(exc) from None
        except NoKeysError:
            key_id = tokens.key_id_in(args[0])
            raise parked(KeyUnknownError(f"{request.id}: arguments", key_id)) from None
        try:
            given, named = codec_of(task.app, task).decode(data)
        except DecodeError as exc:
            raise misfit(f"its arguments cannot be read: {exc}") from exc
        return tuple(given), named


def opening(raw: Any) -> Any:
    """Let a ``run`` take a delivery in place of its arguments."""
    is_static = isinstance(raw, staticmethod)
    function = raw.__func__ if is_static else raw

    def opened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any, Any]:
        delivered = args[-1] if args and type(args[-1]) is Delivered else None
        if delivered is None:
            return None, args, kwargs
        given, named = delivered.open()
        return delivered.task, (*args[:-1], *given), named

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def run(*args: Any, **kwargs: Any) -> Any:
            task, args, kwargs = opened(args, kwargs)
            return _checked(task, await function(*args, **kwargs))

    else:

        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            task, args, kwargs = opened(args, kwargs)
            return _checked(task, function(*args, **kwargs))

    setattr(run, BELOW, True)
    return staticmethod(run) if is_static else run


def _checked(task: Any, value: Any) -> Any:
    """Return a result that the codec takes: nothing else could be sent encrypted."""
    if task is not None and value is not None:
        codec_of(task.app, task).encode(value)
        check_key(task)
    return value


def check_key(task: Any) -> None:
    """Park the job that runs here if nothing that it leaves could be encrypted.

    Raises:
        Suspend: its tenant has no key.
    """
    try:
        sealer_here(task)
    except NoKeysError as exc:
        raise parked(exc) from None


def closing(run: Any) -> Any:
    """Let a delivered ``run`` return, and raise, nothing but ciphertext."""

    @functools.wraps(run)
    def closed(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        request = self.request_stack.top
        if request is None or request.called_directly or is_inside(self, request):
            refuse_in_one_task(self)
            return run(self, *args, **kwargs)
        outcome = _outcome(self, request, run)
        # Raised here, where no frame and no context holds anything readable.
        if isinstance(outcome, Again):
            retry(self, outcome.failure)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return closed


def _outcome(task: Any, request: Any, run: Any) -> Any:
    """Run a delivered job; return its result as text, or an exception that says nothing."""
    try:
        value = run(task, Delivered(task, request))
        return None if value is None else _told(task, sealer_here(task), request.id, value)
    except BaseException as exc:
        return _concealed(task, request, exc, exc)


def sealed_state(task: Any, job_id: str | None, state: Any, meta: Any) -> Any:
    """Return what a task tells Celery's backend of a job's state, encrypted.

    That is text, or an error for a state that Celery's backend wants one with.

    Args:
        task: the task.
        job_id: which job; None: the one that runs here.
        state: which state.
        meta: what it tells.

    Raises:
        NoKeysError: there is no key to encrypt it with.
        Suspend: as before, and the job is the one that runs here.
        JobNotFoundError: it is another one, and not on record.
    """
    job_id, running = job_id or task.request.id, CURRENT.get()
    try:
        sealer = sealer_for(task, job_id)
    except NoKeysError as exc:
        if running is not None and running.job.id == job_id and running.thread == get_ident():
            running.journal.stop(parked(exc))
        raise
    if state not in EXCEPTION_STATES:
        return _told(task, sealer, job_id, meta, is_final=state == SUCCESS)
    return sealed_failure(sealer, job_id or "", task.name, *_error_in(meta))


def _error_in(meta: Any) -> tuple[str, str]:
    """Return class and text of an error that a task tells Celery's backend, in whatever form."""
    if isinstance(meta, dict):  # as the backend itself would write one
        kind, said = str(meta.get("exc_type", "")), meta.get("exc_message", "")
        words = ", ".join(map(str, said)) if isinstance(said, list | tuple) else str(said)
        return (kind, words) if kind.isidentifier() else (Exception.__name__, f"{kind}: {words}")
    kind = type(meta).__name__
    return kind, describe(meta)[len(kind) + 2 :]


def _told(
    task: Any, sealer: Sealer, job_id: str | None, value: Any, *, is_final: bool = True
) -> str:
    """Return what a job has to tell Celery's backend, as text: of a state, or its result."""
    request = task.request
    group = request.group if job_id == request.id else None
    data = codec_of(task.app, task).encode(value)
    told = tokens.Returned(job_id or "", task.name, group or "", data)
    return tokens.seal_result(sealer, told, is_final=is_final)


def _concealed(task: Any, request: Any, exc: BaseException, facts: Any) -> BaseException | Again:
    """Return what is raised, or done, in place of an exception that left a job's body.

    Args:
        task: its task.
        request: Celery's request.
        exc: the exception.
        facts: the same, for what Celery's types do not say.
    """
    if isinstance(exc, Retry):
        cause = None if facts.exc is None else _said(task, request, facts.exc)
        return Retry(None, cause, facts.when, facts.is_eager, facts.sig)
    if is_put_back(exc):
        return exc.with_traceback(None)  # nothing has run, and it tells of the store only
    if isinstance(exc, Reject):
        return Reject("rejected", requeue=facts.requeue)
    if isinstance(exc, Ignore):
        return Ignore(f"job {request.id} stopped")
    if isinstance(exc, Exception):
        return disguised(task, request, exc, *_said(task, request, exc).args)
    return _bare(exc)


def _bare(exc: BaseException) -> BaseException:
    """Return what ends the process as an exception would, without a word of it.

    It is of the nearest class that Python or Celery has; an exit keeps its code.
    """
    kind: Any = next(cls for cls in type(exc).__mro__ if cls.__module__ in _NOBODYS_OWN)
    if isinstance(exc, SystemExit):
        return cast(SystemExit, kind(exc.code if isinstance(exc.code, int | None) else 1))
    return BaseException() if kind is BaseExceptionGroup else cast(BaseException, kind())


def _said(task: Any, request: Any, exc: Any) -> EncryptedFailureError:
    """Return an error that says what another one said, in ciphertext."""
    kind = type(exc).__name__
    try:
        words = describe(exc)[len(kind) + 2 :]
        return sealed_failure(sealer_here(task), request.id, task.name, kind, words)
    except Exception:  # no key, or an exception that cannot even say what it is
        return EncryptedFailureError(request.id, task.name, kind, HIDDEN)


def of_the_canvas(app: Any, value: Any, parent_id: str | None) -> Any:
    """Open a result that the task before this one in a chain, or before a chord's body, sent.

    Any other stays ciphertext: somebody who has seen it must not have it opened by passing
    it on as text of his own.
    """
    if isinstance(value, list | tuple):
        return type(value)([of_the_canvas(app, one, parent_id) for one in value])
    if not tokens.is_token(value):
        return value
    try:
        found = tokens.open_result(cipher_of(app), value)
    except EncryptedDataError:  # of a key that is not here, or somebody's text that looks so
        return value
    if found is None or not (found.job_id == parent_id or found.group in _groups_here()):
        return value
    return decoded(app, found)


def hands_on_secrets(args: Any) -> bool:
    """Whether Celery itself sends these arguments, with what an encrypted task has returned.

    That is after a body, whose own errors are its own: what follows it in a chain, a link, or
    the body of a chord.
    """
    task = get_current_worker_task()
    if task is None or CURRENT.get() is not None:
        return False
    return getattr(task, "milepost_is_encrypted", False) or _holds_token(args)


def _holds_token(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(map(_holds_token, value))
    return tokens.is_token(value)


def _groups_here() -> set[Any]:
    """Return the groups whose results Celery may be collecting right now for a chord."""
    task = get_current_worker_task()
    if task is None:
        return set()
    groups: set[Any] = {task.request.group}
    if task.name == "celery.chord_unlock":
        groups |= set((task.request.args or ())[:1])
    return groups - {None, ""}
