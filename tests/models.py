"""A model for tests: answers as it is told, and remembers what it was asked."""

import asyncio
from typing import Any

from milepost.errors import LLMOverloadedError, LLMRateLimitedError, LLMTimeoutError
from milepost.llm import LLMRequest, LLMResponse, Usage


class ScriptedModel:
    """A client whose answers are a script.

    Args:
        script: what each call gets, in order: an error to raise, a text, or a response. After
            its end the answer is ``"answer to <prompt>"``.
    """

    provider = "scripted"

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.asked: list[LLMRequest] = []
        self.at_once = 0
        self.most_at_once = 0
        self.gate: asyncio.Event | None = None
        self.opens_at: int | None = None  # so many calls at once open the gate

    @property
    def prompts(self) -> list[str]:
        """The last message of each request."""
        return [str(request.messages[-1]["content"]) for request in self.asked]

    async def complete(self, request: LLMRequest) -> LLMResponse:
        self.asked.append(request)
        given = (
            self.script.pop(0) if self.script else f"answer to {request.messages[-1]['content']}"
        )
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        if self.gate and self.at_once == self.opens_at:
            self.gate.set()
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
        finally:
            self.at_once -= 1
        if isinstance(given, BaseException):
            raise given
        if isinstance(given, LLMResponse):
            return given
        return LLMResponse(given, Usage(10, 5), model=request.model, latency=0.25)


def limited(retry_after: float = 0.0) -> LLMRateLimitedError:
    return LLMRateLimitedError("scripted", "m", "HTTP 429", retry_after)


def overloaded() -> LLMOverloadedError:
    return LLMOverloadedError("scripted", "m", "HTTP 503")


def timed_out() -> LLMTimeoutError:
    return LLMTimeoutError("scripted", "m", "no answer")
