"""What the SDKs of OpenAI and Anthropic have in common, and what is wrong with it set right.

Their retries are off: one of them would sleep in the worker's slot for as long as a header
says. Their errors, which quote requests and do not all survive pickle, become milepost's. Their
connections belong to one event loop each.
"""

import asyncio
import inspect
import json
import logging
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from milepost import extras
from milepost.errors import LLMError
from milepost.llm import LLMRequest, LLMResponse
from milepost.llms.failures import Failure, error_of

NOT_SENT = ("ConnectError", "ConnectTimeout", "PoolTimeout")
"""The transport's errors that come before the request has left."""


class SDKClient(ABC):
    """A client that asks through a provider's SDK.

    Args:
        provider: the name that keys limits, prices and hashes.
        module: the SDK's module.
        extra: the extra of milepost that brings it.
        stream: read the answer part by part, so that a stall is noticed after
            ``stall_timeout`` seconds and not only at the end of the request's timeout.
        stall_timeout: seconds between two parts of a stream.
        options: of the SDK's own client.
    """

    def __init__(
        self,
        provider: str,
        module: str,
        extra: str,
        *,
        stream: bool,
        stall_timeout: float,
        options: Mapping[str, Any],
    ) -> None:
        self.provider = provider
        self._module, self._extra = module, extra
        self._stream, self._stall_timeout = stream, stall_timeout
        self._options = {name: value for name, value in options.items() if value is not None}
        self._clients: WeakKeyDictionary[Any, tuple[int, Any]] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(provider={self.provider!r})"

    @abstractmethod
    def _open(self, sdk: Any, options: Mapping[str, Any]) -> Any:
        """Return the SDK's asynchronous client."""

    @abstractmethod
    async def _ask(self, client: Any, request: LLMRequest, timeout: float) -> LLMResponse:
        """Send a request, read the whole answer."""

    async def complete(self, request: LLMRequest) -> LLMResponse:
        """Send a request once; see :meth:`milepost.llm.LLMClient.complete`."""
        client = self._client()
        began = time.monotonic()
        step = min(self._stall_timeout, request.timeout) if self._stream else request.timeout
        try:
            async with asyncio.timeout(request.timeout):
                response = await self._ask(client, request, step)
            return replace(response, latency=time.monotonic() - began)
        except Exception as exc:
            error = self._translated(exc, request)
        # Raised outside of the handler: the SDK's error, which would stay attached as context,
        # holds the request.
        raise error

    def _client(self) -> Any:
        """Return the SDK's client for this process and event loop."""
        loop, pid = asyncio.get_running_loop(), os.getpid()
        made_in, client = self._clients.get(loop, (None, None))
        if made_in != pid:
            sdk = extras.load(self._module, self._extra)
            _hush(self._module)
            client = self._open(sdk, {**self._options, "max_retries": 0})
            self._clients[loop] = pid, client
        return client

    def _translated(self, exc: Exception, request: LLMRequest) -> Exception:
        if isinstance(exc, LLMError):
            return exc
        failure = self._failure(exc)
        return exc if failure is None else error_of(failure, request)

    def _failure(self, exc: Any) -> Failure | None:
        """Return what is known of a failure of the SDK's, or None where it is none of it."""
        sdk = extras.load(self._module, self._extra)
        transport = extras.load("httpx2", self._extra)
        if isinstance(exc, sdk.APIStatusError):
            return _refusal(exc)
        if isinstance(exc, sdk.APITimeoutError | TimeoutError | transport.TimeoutException):
            return Failure(timed_out=True, was_sent=_was_sent(exc))
        if isinstance(exc, sdk.APIConnectionError | transport.TransportError):
            return Failure(disconnected=True, was_sent=_was_sent(exc))
        if isinstance(exc, json.JSONDecodeError | sdk.APIResponseValidationError):
            return Failure(unreadable=True)
        # What is left of the SDK's own are error events within a stream.
        return Failure(disconnected=True) if isinstance(exc, sdk.APIError) else None


def _hush(module: str) -> None:
    """Keep an SDK from logging whole requests, as it does at the level of debugging."""
    logger = logging.getLogger(module)
    if logger.getEffectiveLevel() < logging.INFO:
        logger.setLevel(logging.INFO)


def _was_sent(exc: Exception) -> bool:
    names = {type(error).__name__ for error in (exc, exc.__cause__, exc.__context__)}
    return names.isdisjoint(NOT_SENT)


def _refusal(exc: Any) -> Failure:
    body = exc.body if isinstance(exc.body, dict) else {}
    told = body.get("error")
    told = told if isinstance(told, dict) else body
    headers = exc.response.headers
    return Failure(
        status=exc.status_code,
        code=str(told.get("code") or told.get("type") or ""),
        words=str(told.get("message") or ""),
        retry_after=headers.get("retry-after"),
        retry_after_ms=headers.get("retry-after-ms"),
    )


def split(create: Any, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as the SDK's method takes them; those it does not know go beside."""
    known = inspect.signature(create).parameters
    taken = {name: value for name, value in parameters.items() if name in known}
    beside = {name: value for name, value in parameters.items() if name not in known}
    if beside:
        taken["extra_body"] = {**taken.get("extra_body", {}), **beside}
    return taken
