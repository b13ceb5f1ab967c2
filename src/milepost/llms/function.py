"""A callable as a model: for tests, and for whatever has no client of its own."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from milepost.errors import LLMTimeoutError
from milepost.llm import LLMRequest, LLMResponse, estimated_usage


class FunctionClient:
    """Asks a function. Implements :class:`milepost.llm.LLMClient`.

    Args:
        function: gets the :class:`~milepost.llm.LLMRequest`; returns the text of the answer, or
            an :class:`~milepost.llm.LLMResponse` where it knows more. ``async def`` runs in the
            event loop, anything else in a thread, which nothing can stop: it has to keep the
            request's timeout by itself. What it raises goes through as it is.
        provider: the name that keys limits, prices and hashes.
    """

    def __init__(self, function: Callable[[LLMRequest], Any], provider: str = "function") -> None:
        self.provider = provider
        self._function = function

    async def complete(self, request: LLMRequest) -> LLMResponse:
        """Return what the function answers.

        Raises:
            LLMTimeoutError: a coroutine has not answered within the request's timeout.
        """
        began = time.monotonic()
        if inspect.iscoroutinefunction(self._function):
            answer = await _in_time(self._function(request), request)
        else:
            answer = await asyncio.to_thread(self._function, request)
        latency = time.monotonic() - began
        if isinstance(answer, LLMResponse):
            return replace(answer, latency=answer.latency or latency)
        usage = estimated_usage(request, str(answer))
        return LLMResponse(str(answer), usage, model=request.model, latency=latency)


async def _in_time(answer: Awaitable[Any], request: LLMRequest) -> Any:
    try:
        async with asyncio.timeout(request.timeout) as limit:
            return await answer
    except TimeoutError:
        if not limit.expired():
            raise  # the function's own
        problem = f"no answer within {request.timeout:g} s"
        raise LLMTimeoutError(request.provider, request.model, problem) from None
