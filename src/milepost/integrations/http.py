"""A client for any HTTP service: guarded, retried, and safe to call from a job."""

import asyncio
import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)

from milepost import extras
from milepost.clock import Clock, SystemClock
from milepost.engine.steps import RUNNING
from milepost.errors import (
    ConfigurationError,
    RateLimitedError,
    ServiceError,
    ServiceResponseError,
    ServiceUnreachableError,
)
from milepost.guard import Guard
from milepost.guards.breaker import BreakerGuard
from milepost.guards.rate import RateGuard
from milepost.retry_after import seconds_to_wait
from milepost.tasks.current import CURRENT

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"})
"""Methods that mean the same when they are sent twice."""
PASSING = frozenset({500, 502, 503, 504})
"""Statuses that may be gone at the next try."""
CAP = 3600.0
"""The longest Retry-After that is believed, in seconds."""
EXCERPT = 300
"""Characters of an answer's body that an error keeps."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How often, and after how long, a call is made again.

    Attributes:
        attempts: how often it is made at most; 1: once.
        backoff: the first wait is anything up to so many seconds, each later one up to
            twice that of the one before.
        longest: the longest single wait in seconds. A service that asks for more is not
            waited for: the error says how long it wants.
        total: seconds after which no further wait begins.
    """

    attempts: int = 4
    backoff: float = 0.5
    longest: float = 30.0
    total: float = 60.0


class ExternalServiceClient:
    """One HTTP service, for sync and async code.

    Each attempt passes the breaker and the rate limit. An answer of 429, or 503 with
    Retry-After, keeps everybody away who shares the rate limit, for as long as the service
    asks. What may be gone at the next try is tried again: a request that was never sent, a
    429, a 503 with Retry-After, and for methods that may be sent twice every lost answer
    and 500, 502, 503 and 504.

    POST and PATCH carry an idempotency key. Inside a step of a job it is derived from the
    job, the step and the request, so that a resumed attempt sends the same one; elsewhere
    it is drawn once per call. Say ``honours_keys=True`` for a service that does: then they
    may be sent twice too.

    Connections are opened on first use, one pool per process and one per event loop.

    Args:
        name: of the service, for errors.
        base_url: ``https://api.example.com/v1``.
        breaker: stands before every attempt.
        rate: limits every attempt.
        timeout: seconds to wait for a connection, and for each piece of the answer.
        retries: how often to try.
        headers: sent with every request.
        honours_keys: whether the service does nothing twice that comes with the same
            idempotency key.
        key_header: the header's name.
        options: more for ``httpx.Client`` and ``httpx.AsyncClient``, such as ``verify``.
        clock: for tests.

    Raises:
        ConfigurationError: the URL is not one of HTTP.
        MissingExtraError: httpx is not installed.
    """

    def __init__(
        self,
        name: str,
        base_url: str,
        *,
        breaker: BreakerGuard | None = None,
        rate: RateGuard | None = None,
        timeout: float = 10.0,
        retries: Retries | None = None,
        headers: dict[str, str] | None = None,
        honours_keys: bool = False,
        key_header: str = "Idempotency-Key",
        options: dict[str, Any] | None = None,
        clock: Clock | None = None,
    ) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(
                f"the base_url of {name!r} must begin with http:// or https:// and a host"
            )
        self.name = name
        self._httpx = extras.load("httpx", "http")
        self._given = {"base_url": base_url, "timeout": timeout, "headers": headers or {}}
        self._given |= options or {}
        self._guards: Sequence[Guard] = [guard for guard in (breaker, rate) if guard is not None]
        self._rate = rate
        self._retries = retries or Retries()
        self._honours_keys, self._key_header = honours_keys, key_header
        self._clock = clock or SystemClock()
        self._client: Any = None
        self._pid = 0
        self._clients: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    def request(self, method: str, path: str, **content: Any) -> Any:
        """Send a request and return httpx's response.

        Args:
            method: ``"GET"``, ``"POST"``, …
            path: joined to the base URL.
            content: ``json``, ``params``, ``data``, ``content``, ``headers``, ``timeout``…
                as httpx takes them.

        Raises:
            ServiceUnreachableError: no answer, also after the retries.
            ServiceResponseError: a status of 400 or above.
            RateLimitedError: the service, or the limit, says not now.
            CircuitOpenError: the breaker is open.
        """
        client = self._sync_client()
        request = self._built(client, method, path, content)
        retrying = Retrying(sleep=self._clock.sleep, **self._policy(request))
        try:
            return retrying(self._attempt, client, request)
        except ServiceResponseError as exc:
            raise self._final(exc) from exc.__cause__

    async def request_async(self, method: str, path: str, **content: Any) -> Any:
        """Do what :meth:`request` does, without blocking the event loop."""
        client = self._async_client()
        request = self._built(client, method, path, content)
        retrying = AsyncRetrying(**self._policy(request))
        try:
            return await retrying(self._attempt_async, client, request)
        except ServiceResponseError as exc:
            raise self._final(exc) from exc.__cause__

    def close(self) -> None:
        """Close the connections of sync calls; later calls open new ones."""
        client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    async def close_async(self) -> None:
        """Close the connections of the running event loop."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    # -- one attempt -------------------------------------------------------------------

    def _attempt(self, client: Any, request: Any) -> Any:
        try:
            with ExitStack() as stack:
                for guard in self._guards:
                    stack.enter_context(guard.calling())
                try:
                    response = client.send(request)
                except self._httpx.RequestError as exc:
                    raise self._unreachable(request, exc) from exc
                return self._checked(request, response)
        except ServiceResponseError as exc:
            if self._rate is not None and exc.retry_after is not None:
                self._rate.push(exc.retry_after)
            raise

    async def _attempt_async(self, client: Any, request: Any) -> Any:
        try:
            async with AsyncExitStack() as stack:
                for guard in self._guards:
                    await stack.enter_async_context(guard.calling())
                try:
                    response = await client.send(request)
                except self._httpx.RequestError as exc:
                    raise self._unreachable(request, exc) from exc
                return self._checked(request, response)
        except ServiceResponseError as exc:
            if self._rate is not None and exc.retry_after is not None:
                await asyncio.to_thread(self._rate.push, exc.retry_after)
            raise

    def _checked(self, request: Any, response: Any) -> Any:
        if response.status_code < 400:
            return response
        raise ServiceResponseError(
            self.name,
            _words(request),
            response.status_code,
            response.text[:EXCERPT],
            self._retry_after(response) if response.status_code in (429, 503) else None,
        )

    def _unreachable(self, request: Any, exc: Exception) -> ServiceUnreachableError:
        httpx = self._httpx
        unsent = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
        problem = f"{type(exc).__name__}: {exc}".rstrip(": ")
        return ServiceUnreachableError(
            self.name, _words(request), problem, not isinstance(exc, unsent)
        )

    def _retry_after(self, response: Any) -> float | None:
        """Return how long the service asks to stay away, as far as it is believed."""
        asked = seconds_to_wait(response.headers.get("retry-after"), now=self._clock.now())
        return None if asked is None else min(asked, CAP)

    def _final(self, exc: ServiceResponseError) -> Exception:
        """Return what the caller gets: too many requests are no fault, whoever counted them."""
        if exc.status_code != 429:
            return exc
        return RateLimitedError(self.name, exc.retry_after or self._retries.longest)

    # -- again -------------------------------------------------------------------------

    def _policy(self, request: Any) -> dict[str, Any]:
        retries = self._retries
        return {
            "stop": stop_after_attempt(retries.attempts) | stop_before_delay(retries.total),
            "wait": self._wait,
            "retry": retry_if_exception(lambda exc: self._is_worth_another(request, exc)),
            "reraise": True,
        }

    def _wait(self, state: RetryCallState) -> float:
        drawn = wait_random_exponential(self._retries.backoff, self._retries.longest)(state)
        error = state.outcome.exception() if state.outcome else None
        return max(drawn, getattr(error, "retry_after", None) or 0.0)

    def _is_worth_another(self, request: Any, exc: BaseException) -> bool:
        if not isinstance(exc, ServiceError):
            return False
        may_repeat = request.method in REPEATABLE or self._honours_keys
        if isinstance(exc, ServiceUnreachableError):
            return may_repeat or not exc.may_have_arrived
        assert isinstance(exc, ServiceResponseError)
        if exc.retry_after is not None:
            return exc.retry_after <= self._retries.longest
        return exc.status_code == 429 or (may_repeat and exc.status_code in PASSING)

    # -- requests and clients ----------------------------------------------------------

    def _built(self, client: Any, method: str, path: str, content: dict[str, Any]) -> Any:
        request = client.build_request(method.upper(), path, **content)
        if request.method not in REPEATABLE and self._key_header not in request.headers:
            request.headers[self._key_header] = self._key(request)
        return request

    def _key(self, request: Any) -> str:
        attempt, step = CURRENT.get(), RUNNING.get()
        if attempt is None or step is None:
            return str(uuid.uuid4())
        digest = hashlib.sha256()
        for part in (attempt.job.id, step, request.method, str(request.url)):
            digest.update(part.encode() + b"\0")
        if not request.headers.get("content-type", "").startswith("multipart/"):
            digest.update(request.read())  # a multipart body has another boundary each time
        return digest.hexdigest()[:32]

    def _sync_client(self) -> Any:
        if self._client is None or self._pid != os.getpid():
            self._client, self._pid = self._httpx.Client(**self._given), os.getpid()
        return self._client

    def _async_client(self) -> Any:
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            client = self._clients[loop] = self._httpx.AsyncClient(**self._given)
        return client


def _words(request: Any) -> str:
    """Return method and path; the query may hold what is nobody's business."""
    return f"{request.method} {request.url.path}"
