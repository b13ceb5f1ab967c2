"""Prices that the user gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from milepost.llm import Usage

MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in money per million tokens.

    Attributes:
        input: of the prompt.
        output: of the answer.
        cached: of what the provider read from its cache; None: as ``input``.
    """

    input: Decimal | float | str
    output: Decimal | float | str
    cached: Decimal | float | str | None = None

    def cost(self, usage: Usage) -> Decimal:
        """Return what *usage* costs."""
        per_input, per_output = Decimal(str(self.input)), Decimal(str(self.output))
        per_cached = per_input if self.cached is None else Decimal(str(self.cached))
        fresh = usage.input_tokens - usage.cached_tokens
        total = fresh * per_input + usage.cached_tokens * per_cached
        return (total + usage.output_tokens * per_output) / MILLION


class PriceTable:
    """Prices by model. Implements :class:`milepost.llm.Prices`.

    Args:
        prices: model, or ``provider/model`` where two providers differ → its price.
    """

    def __init__(self, prices: Mapping[str, Price]) -> None:
        self._prices = dict(prices)

    def cost(self, provider: str, model: str, usage: Usage) -> Decimal | None:
        """Return the money that *usage* costs, or None where the table has no such model."""
        price = self._prices.get(f"{provider}/{model}") or self._prices.get(model)
        return None if price is None else price.cost(usage)
