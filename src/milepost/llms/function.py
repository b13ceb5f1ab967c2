"""A callable as a model: for tests, and for whatever has no client of its own."""

import asyncio
import inspect
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from milepost.llm import LLMRequest, LLMResponse, Usage, estimated_tokens


class FunctionClient:
    """Asks a function. Implements :class:`milepost.llm.LLMClient`.

    Args:
        function: gets the :class:`~milepost.llm.LLMRequest`; returns the text of the answer, or
            an :class:`~milepost.llm.LLMResponse` where it knows more. ``async def`` runs in the
            event loop, anything else in a thread. What it raises goes through as it is.
        provider: the name that keys limits, prices and hashes.
    """

    def __init__(self, function: Callable[[LLMRequest], Any], provider: str = "function") -> None:
        self.provider = provider
        self._function = function

    async def complete(self, request: LLMRequest) -> LLMResponse:
        """Return what the function answers."""
        began = time.monotonic()
        if inspect.iscoroutinefunction(self._function):
            answer = await self._function(request)
        else:
            answer = await asyncio.to_thread(self._function, request)
        latency = time.monotonic() - began
        if isinstance(answer, LLMResponse):
            return replace(answer, latency=answer.latency or latency)
        usage = Usage(estimated_tokens(request), -(-len(str(answer).encode()) // 4))
        return LLMResponse(str(answer), usage, model=request.model, latency=latency)
