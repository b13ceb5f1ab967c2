"""The rules of :class:`milepost.llm.LLMClient` as tests that any client can run.

Subclass it in a pytest suite, against a server of your own, and say which model to ask::

    class TestMyClient(LLMClientContract):
        MODEL = "small"

        @pytest.fixture
        def client(self):
            return MyClient("http://127.0.0.1:8080")

        def unreachable(self):
            return MyClient("http://127.0.0.1:9")
"""

import asyncio
import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from milepost import extras
from milepost.errors import LLMError, LLMPassingError
from milepost.llm import Finish, LLMClient, LLMRequest, LLMResponse

pytest: Any = extras.find("pytest")

SECRET = "s3cret-pr0mpt"


class LLMClientContract:
    """What every client keeps, as far as it shows without a fault of the provider's."""

    MODEL = "test"
    """The model to ask."""

    def request(self, client: LLMClient, text: str = SECRET, **how: Any) -> LLMRequest:
        """Return a request for *client*."""
        messages = ({"role": "user", "content": text},)
        return LLMRequest(client.provider, self.MODEL, messages, timeout=30.0, **how)

    def unreachable(self) -> LLMClient | None:
        """Return a client whose other side is not there; None where that cannot be."""
        return None

    def test_a_provider_is_one_word(self, client: LLMClient) -> None:
        assert client.provider
        assert not set(client.provider) & set("/ ")

    def test_an_answer_is_whole(self, client: LLMClient) -> None:
        response = asyncio.run(client.complete(self.request(client)))
        assert isinstance(response, LLMResponse)
        assert response.text
        assert response.finish is Finish.STOP
        assert response.usage.input_tokens > 0
        assert response.usage.output_tokens > 0
        assert response.latency > 0

    def test_many_at_once(self, client: LLMClient) -> None:
        async def ask_all() -> list[LLMResponse]:
            asked = [client.complete(self.request(client, f"n {n}")) for n in range(20)]
            return await asyncio.gather(*asked)

        assert all(response.text for response in asyncio.run(ask_all()))

    def test_it_works_in_any_loop_of_any_thread(self, client: LLMClient) -> None:
        def ask(text: str) -> str:
            return asyncio.run(client.complete(self.request(client, text))).text

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(ask, map(str, range(8))))
        assert ask("and once more")

    def test_it_works_after_a_fork(self, client: LLMClient) -> None:
        asyncio.run(client.complete(self.request(client)))
        child = os.fork()
        if not child:  # no exception may leave the child: pytest would go on in it
            try:
                os._exit(0 if asyncio.run(client.complete(self.request(client))).text else 1)
            except BaseException:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_an_error_is_one_of_ours(self) -> None:
        client = self.unreachable()
        if client is None:
            pytest.skip("this client's other side is always there")
        assert client is not None
        with pytest.raises(LLMPassingError) as caught:
            asyncio.run(client.complete(self.request(client)))
        error: LLMError = caught.value
        assert str(pickle.loads(pickle.dumps(error))) == str(error)
        assert SECRET not in str(error)
        assert (error.provider, error.model) == (client.provider, self.MODEL)
        assert error.__context__ is None
