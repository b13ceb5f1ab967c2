"""Models behind OpenAI's chat completions, wherever they are."""

from collections.abc import Mapping
from typing import Any

from milepost.errors import LLMStreamEndedError
from milepost.llm import Finish, LLMRequest, LLMResponse, Usage
from milepost.llms.sdk import SDKClient, split

FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.REFUSED}


class OpenAIClient(SDKClient):
    """Asks OpenAI, or anything that speaks its chat completions: vLLM, Ollama, llama.cpp, …

    Needs the extra ``openai``. Implements :class:`milepost.llm.LLMClient`.

    Args:
        base_url: where the API is. None: the environment variable ``OPENAI_BASE_URL``, else
            OpenAI's own.
        api_key: None: the environment variable ``OPENAI_API_KEY``.
        provider: the name that keys limits, prices and hashes.
        stream: read the answer part by part, so that a stall is noticed early.
        stall_timeout: seconds between two parts of a stream.
        options: more of ``openai.AsyncOpenAI``.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        provider: str = "openai",
        stream: bool = False,
        stall_timeout: float = 60.0,
        **options: Any,
    ) -> None:
        super().__init__(
            provider,
            "openai",
            "openai",
            stream=stream,
            stall_timeout=stall_timeout,
            options={"base_url": base_url, "api_key": api_key, **options},
        )

    def _open(self, sdk: Any, options: Mapping[str, Any]) -> Any:
        return sdk.AsyncOpenAI(**options)

    async def _ask(self, client: Any, request: LLMRequest, timeout: float) -> LLMResponse:
        create = client.chat.completions.create
        asked: dict[str, Any] = {
            "model": request.model,
            "messages": list(request.messages),
            "timeout": timeout,
            **split(create, request.parameters),
        }
        if request.schema is not None:
            wanted = {"name": "answer", "schema": request.schema}
            asked["response_format"] = {"type": "json_schema", "json_schema": wanted}
        if self._stream:
            return await _gather(create, asked, request)
        answer = await create(**asked)
        if not answer.choices:
            raise LLMStreamEndedError(request.provider, request.model, "an answer without choices")
        choice = answer.choices[0]
        finish = Finish.REFUSED if choice.message.refusal else _finish(choice.finish_reason)
        text = choice.message.content or ""
        return LLMResponse(text, _usage(answer.usage), finish or Finish.OTHER, answer.model or "")


async def _gather(create: Any, asked: dict[str, Any], request: LLMRequest) -> LLMResponse:
    """Put a stream together; one that ends without a finish reason is no answer."""
    stream = await create(**asked, stream=True, stream_options={"include_usage": True})
    parts: list[str] = []
    finish, usage, model = None, Usage(), ""
    async with stream:
        async for chunk in stream:
            model = chunk.model or model
            usage = _usage(chunk.usage) if chunk.usage else usage
            for choice in chunk.choices[:1]:
                parts.append(choice.delta.content or "")
                refused = Finish.REFUSED if choice.delta.refusal else None
                finish = refused or finish or _finish(choice.finish_reason)
    if finish is None:
        raise LLMStreamEndedError(request.provider, request.model, "its stream ended too early")
    return LLMResponse("".join(parts), usage, finish, model)


def _finish(reason: str | None) -> Finish | None:
    return None if reason is None else FINISHES.get(reason, Finish.OTHER)


def _usage(usage: Any) -> Usage:
    if usage is None:
        return Usage()
    details = getattr(usage, "prompt_tokens_details", None)
    cached = (getattr(details, "cached_tokens", None) or 0) if details else 0
    return Usage(usage.prompt_tokens or 0, usage.completion_tokens or 0, cached)
