"""What goes wrong between a task and a model.

None of these quotes a prompt or an answer: errors end up in logs and records.
"""

from milepost.errors.root import ConfigurationError, MilepostError


class LLMError(MilepostError):
    """A call to a model did not bring what was asked for.

    Args:
        provider: who was asked.
        model: which model.
        problem: what was wrong, without any of the request's or answer's text.
    """

    def __init__(self, provider: str, model: str, problem: str = "") -> None:
        super().__init__(provider, model, problem)
        self.provider, self.model, self.problem = provider, model, problem

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}: {self._what()}"

    def _what(self) -> str:
        return self.problem or "the call failed"


class LLMPassingError(LLMError):
    """It may well succeed on another try.

    Args:
        provider: who was asked.
        model: which model.
        problem: as for :class:`LLMError`.
        retry_after: seconds the provider asks to wait; 0 where it did not say.
    """

    def __init__(
        self, provider: str, model: str, problem: str = "", retry_after: float = 0.0
    ) -> None:
        MilepostError.__init__(self, provider, model, problem, retry_after)
        self.provider, self.model, self.problem = provider, model, problem
        self.retry_after = retry_after

    def _what(self) -> str:
        wait = f"; it asks to wait {self.retry_after:g} s" if self.retry_after else ""
        return (self.problem or "the call failed") + wait


class LLMRateLimitedError(LLMPassingError):
    """The provider's own limit is used up (HTTP 429). Nothing was billed."""


class LLMOverloadedError(LLMPassingError):
    """The provider cannot serve anybody just now (HTTP 500, 503 and the like)."""


class LLMUnreachableError(LLMPassingError):
    """No connection could be made: nothing was sent."""


class LLMAnswerLostError(LLMPassingError):
    """The request was sent and no whole answer came back: it may have been billed."""


class LLMTimeoutError(LLMAnswerLostError):
    """No answer within the time allowed, here or at a gateway (HTTP 408, 504, 524)."""


class LLMConnectionError(LLMAnswerLostError):
    """The connection broke in the middle, here or behind a gateway (HTTP 502, 520)."""


class LLMStreamEndedError(LLMAnswerLostError):
    """A stream ended without saying that the answer is complete."""


class LLMAuthError(LLMError):
    """The provider does not accept the credentials (HTTP 401 or 403)."""


class LLMBadRequestError(LLMError):
    """The provider does not accept the request: a parameter, the model's name, the schema."""


class LLMContextTooLongError(LLMBadRequestError):
    """Prompt and answer do not fit into the model's context."""


class LLMRefusedError(LLMError):
    """The model, or its provider's filter, would not answer. It was billed."""


class LLMTruncatedError(LLMError):
    """The answer reached ``max_tokens`` and is not whole. It was billed."""


class LLMInvalidOutputError(LLMError):
    """The answer does not fit ``response_model``, after all repair turns. It was billed."""


class LLMRequestChangedError(MilepostError):
    """A call has an answer on record that was given to another request.

    Args:
        call: the call's name.
    """

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"call {self.call!r}: its request is not the one that the recorded answer was given "
            "to (another prompt, model, schema, validator or parameter). Restart the job, give the "
            "call another key, or set llm_changed='call' to ask anew"
        )


class LLMPriceUnknownError(ConfigurationError):
    """A budget in money, and nobody knows what the model costs.

    Args:
        provider: who would be asked.
        model: which model.
    """

    def __init__(self, provider: str, model: str) -> None:
        super().__init__(provider, model)
        self.provider, self.model = provider, model

    def __str__(self) -> str:
        return (
            f"{self.provider}/{self.model}: a budget in money needs the model's price. Give "
            f"llm_prices = PriceTable({{{self.model!r}: Price(input=…, output=…)}}), or a budget "
            "in tokens"
        )
