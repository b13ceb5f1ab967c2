"""A question to a model, and what is put on record of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from milepost.errors import (
    LLMContextTooLongError,
    LLMError,
    LLMInvalidOutputError,
    LLMRefusedError,
    LLMTruncatedError,
)
from milepost.llm import NO_USAGE, Finish, LLMRequest, LLMResponse, Usage
from milepost.tasks.parsing import Misfit, Shape

OF_ONE_QUESTION: Mapping[str, type[LLMError]] = {
    kind.__name__: kind
    for kind in (LLMContextTooLongError, LLMInvalidOutputError, LLMRefusedError, LLMTruncatedError)
}
"""The errors that tell of one question and of no other."""


@dataclass(slots=True)
class Question:
    """One question on its way.

    Attributes:
        path: where in the code it is asked.
        request: what is asked first.
        shape: what the answer must be; None: any text.
        keeps_error: whether an error of this question alone is put on record as its answer.
        tries: how often this attempt has sent it.
        failures: how often it was sent in vain, by earlier attempts too.
        usage: what its turns have used.
        money: what they have cost; None: nobody knows.
        latency: seconds they took.
    """

    path: str
    request: LLMRequest
    shape: Shape | None
    keeps_error: bool = False
    mark: str = ""
    tries: int = 0
    failures: int = 0
    usage: Usage = NO_USAGE
    money: Decimal | None = None
    latency: float = 0.0

    def __post_init__(self) -> None:
        self.mark = self.request.hash

    def add(self, response: LLMResponse, money: Decimal | None) -> None:
        """Add what one turn has taken."""
        self.usage += response.usage
        self.latency += response.latency
        if money is not None:
            self.money = money + (self.money or 0)


def kept(question: Question, response: LLMResponse) -> dict[str, Any]:
    """Return what is put on record of an answer."""
    return {
        "mark": question.mark,
        "text": response.text,
        "model": response.model,
        "finish": str(response.finish),
        "usage": [
            question.usage.input_tokens,
            question.usage.output_tokens,
            question.usage.cached_tokens,
        ],
        "money": None if question.money is None else f"{question.money:f}",
        "latency": round(question.latency, 6),
        "tries": question.tries,
    }


def kept_error(question: Question, error: LLMError) -> dict[str, Any]:
    """Return what is put on record of a question that has no answer."""
    return {"mark": question.mark, "error": [type(error).__name__, *error.args]}


def replayed(answer: Mapping[str, Any], question: Question) -> LLMResponse | LLMError | None:
    """Return what :func:`kept` or :func:`kept_error` has put on record.

    None where it is no answer to this question: it was given to another request, or the
    validators of ``response_model`` have changed and refuse it now.
    """
    if answer["mark"] != question.mark:
        return None
    if "error" in answer:
        kind, *facts = answer["error"]
        return OF_ONE_QUESTION[kind](*facts)
    parsed = None if question.shape is None else question.shape.parse(answer["text"])
    if isinstance(parsed, Misfit):
        return None
    return LLMResponse(
        answer["text"],
        Usage(*answer["usage"]),
        Finish(answer["finish"]),
        answer["model"],
        answer["latency"],
        parsed,
    )
