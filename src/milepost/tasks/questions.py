"""A question to a model, and what is put on record of its answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from milepost.llm import NO_USAGE, Finish, LLMRequest, LLMResponse, Usage
from milepost.tasks.parsing import Shape


@dataclass(slots=True)
class Question:
    """One question on its way.

    Attributes:
        path: where in the code it is asked.
        request: what is asked first.
        shape: what the answer must be; None: any text.
        tries: how often this attempt has sent it.
        failures: how often it was sent in vain, by earlier attempts too.
        usage: what its turns have used.
        money: what they have cost; None: nobody knows.
        latency: seconds they took.
    """

    path: str
    request: LLMRequest
    shape: Shape | None
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


def replayed(answer: Mapping[str, Any], shape: Shape | None) -> LLMResponse:
    """Return the answer that :func:`kept` has put on record."""
    return LLMResponse(
        answer["text"],
        Usage(*answer["usage"]),
        Finish(answer["finish"]),
        answer["model"],
        answer["latency"],
        None if shape is None else shape.parse(answer["text"]),
    )
