"""The socket for models: a request on its way out, the answer on its way back.

A client sends one request once. Whether to try again, what it may cost and what is kept of it
is decided above (:mod:`milepost.tasks.llm`).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any, Protocol

MESSAGE_TOKENS = 4
"""Tokens that a message costs beside its text."""
BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class LLMRequest:
    """One request to one model. Its ``repr`` shows nothing of what is asked.

    Attributes:
        provider: whom to ask: the client's name.
        model: which model.
        messages: the conversation, each ``{"role": …, "content": …}``.
        parameters: what else the provider is told: ``temperature``, ``max_tokens``, …
        schema: the JSON schema that the answer must fit; None: any text.
        timeout: seconds until the answer counts as lost. No part of what is asked.
    """

    provider: str
    model: str
    messages: tuple[Mapping[str, Any], ...] = field(repr=False)
    parameters: Mapping[str, Any] = field(default_factory=dict, repr=False)
    schema: Mapping[str, Any] | None = field(default=None, repr=False)
    timeout: float = 120.0

    @property
    def hash(self) -> str:
        """Return what tells this request from any other: the same in every process."""
        asked = [
            self.provider,
            self.model,
            [dict(message) for message in self.messages],
            dict(self.parameters),
            self.schema,
        ]
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Finish(StrEnum):
    """Why a model stopped."""

    STOP = "stop"
    """The answer is whole."""
    LENGTH = "length"
    """It reached the most tokens allowed."""
    REFUSED = "refused"
    """It, or a filter, would not answer."""
    OTHER = "other"
    """Something of the provider's own: a tool call, say."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a call used, as its provider counts it.

    Attributes:
        input_tokens: of the prompt, cached ones included.
        output_tokens: of the answer, reasoning included.
        cached_tokens: those of the input that were read from the provider's cache.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total(self) -> int:
        """Return input and output together."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
        )


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class LLMResponse:
    """A whole answer. Its ``repr`` shows nothing of what was said.

    Attributes:
        text: the answer.
        usage: what it used.
        finish: why the model stopped.
        model: the model that answered, as the provider names it.
        latency: seconds from sending to the last byte.
        parsed: the answer as an object of the ``response_model``, where one was asked for.
    """

    text: str = field(repr=False)
    usage: Usage = NO_USAGE
    finish: Finish = Finish.STOP
    model: str = ""
    latency: float = 0.0
    parsed: Any = field(default=None, repr=False)


class LLMClient(Protocol):
    """Somebody who can ask a model.

    Rules every client keeps, those that can be tested without a fault of the provider's in
    :class:`milepost.testing.LLMClientContract`:

    * **Once.** It never tries again by itself.
    * **All or nothing.** An answer that did not come back whole is an error: of
      ``LLMAnswerLostError`` where the request may have been billed.
    * **Errors of milepost's own**, which survive pickle and quote nothing.
    * **Any loop.** It may be used from several threads, each with an event loop of its own,
      and after a fork.
    """

    @property
    def provider(self) -> str:
        """Who is asked, in one word: it keys limits, prices and hashes."""
        ...

    async def complete(self, request: LLMRequest) -> LLMResponse:
        """Send a request and return its answer.

        Raises:
            LLMError: one of its kinds; see :mod:`milepost.errors`.
        """
        ...


class Prices(Protocol):
    """Somebody who knows what models cost."""

    def cost(self, provider: str, model: str, usage: Usage) -> Decimal | None:
        """Return the money that *usage* costs, or None where the model is unknown."""
        ...


def estimated_tokens(request: LLMRequest) -> int:
    """Return about how many tokens a request's prompt has: a quarter of its bytes.

    Enough for limits and budgets, which are settled by what the provider counts.
    """
    texts = [json.dumps(m.get("content", ""), ensure_ascii=False) for m in request.messages]
    texts += [json.dumps(request.schema)] if request.schema else []
    size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    return -(-size // BYTES_PER_TOKEN) + MESSAGE_TOKENS * len(request.messages)


def estimated_usage(request: LLMRequest, text: str) -> Usage:
    """Return about what an answer has used whose provider does not say."""
    return Usage(
        estimated_tokens(request), -(-len(text.encode("utf-8", "surrogatepass")) // BYTES_PER_TOKEN)
    )


def most_output(request: LLMRequest) -> int:
    """Return the most tokens that the answer may have, or 0 where the request does not say."""
    for name in ("max_completion_tokens", "max_tokens"):
        if isinstance(most := request.parameters.get(name), int):
            return most
    return 0
