"""The clients that come with milepost, held to the contract."""

import asyncio

import pytest

from milepost.llm import LLMRequest
from milepost.llms import AnthropicClient, FunctionClient, OpenAIClient
from milepost.testing import LLMClientContract

NOWHERE = "http://127.0.0.1:9/v1"


class TestFunction(LLMClientContract):
    @pytest.fixture
    def client(self):
        async def respond(request: LLMRequest):
            await asyncio.sleep(0.001)
            return f"answer to {request.messages[-1]['content']}"

        return FunctionClient(respond)


class TestPlainFunction(LLMClientContract):
    @pytest.fixture
    def client(self):
        return FunctionClient(lambda request: "answer", provider="plain")


class TestOpenAI(LLMClientContract):
    MODEL = "gpt-4o-mini"
    stream = False

    @pytest.fixture
    def client(self, llmock):
        return OpenAIClient(llmock.base_url("openai"), "key", stream=self.stream)

    def unreachable(self):
        return OpenAIClient(NOWHERE, "key", stream=self.stream)


class TestOpenAIStream(TestOpenAI):
    stream = True


class TestAnthropic(LLMClientContract):
    MODEL = "claude-sonnet-4-6"
    stream = False

    @pytest.fixture
    def client(self, llmock):
        return AnthropicClient(llmock.base_url("anthropic"), "key", stream=self.stream)

    def unreachable(self):
        return AnthropicClient(NOWHERE, "key", stream=self.stream)


class TestAnthropicStream(TestAnthropic):
    stream = True
