"""Models behind Anthropic's messages."""

from collections.abc import Mapping
from typing import Any

from milepost.errors import LLMStreamEndedError
from milepost.llm import Finish, LLMRequest, LLMResponse, Usage
from milepost.llms.sdk import SDKClient, split

FINISHES = {
    "end_turn": Finish.STOP,
    "stop_sequence": Finish.STOP,
    "max_tokens": Finish.LENGTH,
    "model_context_window_exceeded": Finish.LENGTH,
    "refusal": Finish.REFUSED,
}


class AnthropicClient(SDKClient):
    """Asks Anthropic. Needs the extra ``anthropic``. Implements :class:`milepost.llm.LLMClient`.

    Args:
        base_url: where the API is. None: Anthropic's own.
        api_key: None: the environment variable ``ANTHROPIC_API_KEY``.
        max_tokens: the most tokens of an answer where the request does not say; the API
            wants a number.
        provider: the name that keys limits, prices and hashes.
        stream: read the answer part by part, so that a stall is noticed early.
        stall_timeout: seconds between two parts of a stream.
        options: more of ``anthropic.AsyncAnthropic``.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        max_tokens: int = 4096,
        provider: str = "anthropic",
        stream: bool = False,
        stall_timeout: float = 60.0,
        **options: Any,
    ) -> None:
        super().__init__(
            provider,
            "anthropic",
            "anthropic",
            stream=stream,
            stall_timeout=stall_timeout,
            options={"base_url": base_url, "api_key": api_key, **options},
        )
        self._max_tokens = max_tokens

    def _open(self, sdk: Any, options: Mapping[str, Any]) -> Any:
        return sdk.AsyncAnthropic(**options)

    async def _ask(self, client: Any, request: LLMRequest, timeout: float) -> LLMResponse:
        create = client.messages.create
        system = [str(m["content"]) for m in request.messages if m["role"] == "system"]
        asked: dict[str, Any] = {
            "model": request.model,
            "messages": [m for m in request.messages if m["role"] != "system"],
            "max_tokens": self._max_tokens,
            "timeout": timeout,
            **split(create, request.parameters),
        }
        if system:
            asked["system"] = "\n\n".join(system)
        if request.schema is not None:
            wanted = {"type": "json_schema", "schema": request.schema}
            asked["output_config"] = {**asked.get("output_config", {}), "format": wanted}
        if self._stream:
            return await _gather(create, asked, request)
        answer = await create(**asked)
        text = "".join(block.text for block in answer.content if block.type == "text")
        return LLMResponse(text, _usage(answer.usage), _finish(answer.stop_reason), answer.model)


async def _gather(create: Any, asked: dict[str, Any], request: LLMRequest) -> LLMResponse:
    """Put a stream together; one that ends without a stop reason is no answer."""
    stream = await create(**asked, stream=True)
    parts: list[str] = []
    reason, usage, model = None, Usage(), ""
    async with stream:
        async for event in stream:
            if event.type == "message_start":
                usage, model = _usage(event.message.usage), event.message.model
            elif event.type == "content_block_delta" and event.delta.type == "text_delta":
                parts.append(event.delta.text)
            elif event.type == "message_delta":
                reason = event.delta.stop_reason or reason
                usage = Usage(
                    usage.input_tokens, event.usage.output_tokens or 0, usage.cached_tokens
                )
    if reason is None:
        raise LLMStreamEndedError(request.provider, request.model, "its stream ended too early")
    return LLMResponse("".join(parts), usage, _finish(reason), model)


def _finish(reason: str | None) -> Finish:
    return FINISHES.get(reason or "", Finish.OTHER)


def _usage(usage: Any) -> Usage:
    """Return the usage; Anthropic counts cached input beside the rest of it."""
    cached = usage.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or 0
    return Usage(usage.input_tokens + cached + written, usage.output_tokens, cached)
