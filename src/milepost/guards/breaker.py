"""The guard before what may be down: after enough failures it lets nobody try but one."""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import astuple, dataclass
from types import TracebackType

from celery.exceptions import SoftTimeLimitExceeded, TaskPredicate
from pybreaker import STATE_CLOSED

from milepost.documents import Documents
from milepost.errors import (
    CallRefusedError,
    CircuitOpenError,
    ConfigurationError,
    LLMAnswerLostError,
    LLMError,
    LLMOverloadedError,
    LLMUnreachableError,
    StoreError,
)
from milepost.events import CircuitChanged
from milepost.guards.circuit import CallEnding, Circuit, Policy
from milepost.observer import Emitter

logger = logging.getLogger("milepost")

TRIES = 10
"""How often the end of a call is written anew because somebody else wrote in between."""
BLIND = 10.0
"""Seconds the store is left alone after it could not be reached."""
SECOND_LOOK = 0.5
"""Seconds that whoever comes during a probe is told to stay away, at least."""


MODEL_DOWN = (LLMOverloadedError, LLMUnreachableError, LLMAnswerLostError)
"""Errors of a call to a model that say that its provider is down."""


def is_failure(error: BaseException) -> bool:
    """Whether an error says that the other side is down: any but the neutral ones.

    Neutral are what stops a call from our side (cancellation, the end of the process,
    Celery's Retry, Ignore, Reject and its soft time limit), what another guard refused, and
    an answer with an HTTP status below 500 other than 408: who answers that, is up. 429 is
    among them, and so are the errors that stand for such answers of a model's provider.
    """
    if not isinstance(error, Exception):
        return False
    if isinstance(error, TaskPredicate | SoftTimeLimitExceeded | CallRefusedError):
        return False
    if isinstance(error, LLMError):
        return isinstance(error, MODEL_DOWN)
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    return not isinstance(status, int) or status >= 500 or status == 408


def check_breaker(name: str, policy: Policy, refresh: float) -> None:
    """Refuse a breaker that cannot work.

    Raises:
        ConfigurationError: a number that makes no sense, or no name.
    """
    if not name or not all(number > 0 for number in astuple(policy)) or not refresh >= 0:
        raise ConfigurationError(
            f"breaker {name!r}: it needs a name, and numbers above 0 (refresh from 0)"
        )


@dataclass(frozen=True, slots=True)
class _Known:
    """What one process knows of the circuit, and until when it relies on it."""

    circuit: Circuit
    read_at: float
    fetched: float


class BreakerGuard:
    """A circuit breaker whose state all workers share through the store.

    Closed, it lets every call pass. After ``fail_max`` failures in a row, whoever had them,
    it opens: calls are refused at once. After ``reset_timeout`` seconds exactly one call, in
    all processes together, is let through as a probe; its success closes the circuit, its
    failure opens it anew. A prober that dies, or takes longer than ``probe_seconds``, loses
    its turn to the next. A call that ends in a neutral way (see :func:`is_failure`) counts
    neither way.

    Each process relies on what it knows for ``refresh`` seconds, so that a call through a
    closed circuit usually costs no command at all. While the store is away every call
    passes: a breaker must not become the outage it is there to soften.

    Args:
        documents: ``store.documents``.
        name: what it stands before.
        fail_max: failures in a row that open it.
        reset_timeout: seconds it stays open before one call may probe.
        success_threshold: successful probes in a row that close it.
        probe_seconds: how long a probe may take.
        refresh: seconds a process relies on what it has read.
        is_failure: which errors count.
        emit: told each change of state, once in all processes.

    Raises:
        ConfigurationError: a number that makes no sense, or no name.
    """

    def __init__(
        self,
        documents: Documents,
        name: str,
        *,
        fail_max: int = 5,
        reset_timeout: float = 30.0,
        success_threshold: int = 1,
        probe_seconds: float = 60.0,
        refresh: float = 1.0,
        is_failure: Callable[[BaseException], bool] = is_failure,
        emit: Emitter | None = None,
    ) -> None:
        policy = Policy(fail_max, reset_timeout, success_threshold, probe_seconds)
        check_breaker(name, policy, refresh)
        self.name = name
        self._documents = documents
        self._document = f"breakers/{name}"
        self._policy = policy
        self._refresh = refresh
        self._is_failure = is_failure
        self._emit = emit or Emitter()
        self._known: _Known | None = None
        self._asking = threading.Lock()
        self._blind_until = 0.0

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``, read from the store now.

        Raises:
            StoreUnavailableError: the store is away.
        """
        return Circuit.read(self._documents.read(self._document).data).state

    def calling(self) -> "BreakerPassage":
        """Return the passage for one call.

        Entering it raises :class:`~milepost.errors.CircuitOpenError` while the circuit is
        open, or while somebody else's probe is under way.
        """
        return BreakerPassage(self)

    # -- before a call -----------------------------------------------------------------

    def pass_known(self) -> bool:
        """Whether a call may pass by what this process knows; False: the store must be asked.

        Raises:
            CircuitOpenError: it must not, by what this process knows.
        """
        moment = time.monotonic()
        if moment < self._blind_until:
            return True
        known = self._known
        if known is None or moment - known.fetched >= self._refresh:
            return False
        if known.circuit.state == STATE_CLOSED:
            return True
        now = known.read_at + moment - known.fetched
        self._refuse(known.circuit.closed_for(now, self._policy))
        return False

    def admit(self) -> str:
        """Ask the store whether a call may pass; who comes meanwhile is told what it said.

        Returns:
            What the call probes as; empty: it is no probe.

        Raises:
            CircuitOpenError: it must not pass.
        """
        with self._asking:
            return "" if self.pass_known() else self._asked()

    def _asked(self) -> str:
        try:
            while True:
                document = self._documents.read(self._document)
                circuit = Circuit.read(document.data)
                self._learn(circuit, document.read_at)
                if circuit.state == STATE_CLOSED:
                    return ""
                self._refuse(circuit.closed_for(document.read_at, self._policy))
                prober = secrets.token_hex(6)
                probed = circuit.probed_by(prober, document.read_at, self._policy)
                if self._write(circuit, probed, document.version, document.read_at):
                    return prober
        except StoreError as exc:
            self._go_blind(exc)
            return ""

    def give_back(self, asked: "asyncio.Future[str]") -> None:
        """Let the next one probe, where whoever asked is no longer there."""
        if not asked.cancelled() and asked.exception() is None and asked.result():
            work = asked.get_loop().run_in_executor
            work(None, self.report, CallEnding.NEUTRAL, asked.result())

    def _refuse(self, seconds: float) -> None:
        if seconds > 0:
            raise CircuitOpenError(self.name, max(seconds, SECOND_LOOK))

    # -- after a call ------------------------------------------------------------------

    def ending(self, error: BaseException | None) -> CallEnding:
        """Return what the end of a call says about the other side."""
        if error is None:
            return CallEnding.SUCCESS
        return CallEnding.FAILURE if self._is_failure(error) else CallEnding.NEUTRAL

    def matters(self, ending: CallEnding, prober: str) -> bool:
        """Whether the store has to know of a call's end."""
        if prober or ending is CallEnding.FAILURE:
            return True
        known = self._known
        has_failed = known is not None and known.circuit.failures > 0
        return ending is CallEnding.SUCCESS and has_failed

    def report(self, ending: CallEnding, prober: str) -> None:
        """Tell the store how a call ended."""
        if not prober and time.monotonic() < self._blind_until:
            return
        try:
            for _ in range(TRIES):
                document = self._documents.read(self._document)
                circuit = Circuit.read(document.data)
                after = circuit.after(ending, prober, document.read_at, self._policy)
                if after == circuit:
                    self._learn(circuit, document.read_at)
                    return
                if self._write(circuit, after, document.version, document.read_at):
                    return
        except StoreError as exc:
            self._go_blind(exc)

    def _write(self, before: Circuit, after: Circuit, version: int, now: float) -> bool:
        if not self._documents.write(self._document, after.written(), version=version):
            return False
        self._learn(after, now)
        if before.state != after.state:
            self._emit(CircuitChanged(self.name, before.state, after.state))
        return True

    def _learn(self, circuit: Circuit, now: float) -> None:
        self._known = _Known(circuit, now, time.monotonic())

    def _go_blind(self, exc: StoreError) -> None:
        """Leave the store alone for a while: asking costs each call its whole timeout."""
        self._blind_until = time.monotonic() + BLIND
        self._known = None
        logger.warning("the circuit %r lets every call pass: %s", self.name, exc)


class BreakerPassage:
    """One call through a breaker; see :class:`~milepost.guard.Passage`."""

    def __init__(self, guard: BreakerGuard) -> None:
        self._guard = guard
        self._prober = ""

    def __enter__(self) -> "BreakerPassage":
        if not self._guard.pass_known():
            self._prober = self._guard.admit()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ending = self._guard.ending(exc)
        if self._guard.matters(ending, self._prober):
            self._guard.report(ending, self._prober)

    async def __aenter__(self) -> "BreakerPassage":
        if not self._guard.pass_known():
            asking = asyncio.ensure_future(asyncio.to_thread(self._guard.admit))
            try:
                self._prober = await asyncio.shield(asking)
            except asyncio.CancelledError:
                asking.add_done_callback(self._guard.give_back)
                raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ending = self._guard.ending(exc)
        if self._guard.matters(ending, self._prober):
            await asyncio.to_thread(self._guard.report, ending, self._prober)
