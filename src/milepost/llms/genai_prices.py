"""Prices from the table of the genai-prices package."""

from decimal import Decimal

from milepost import extras
from milepost.llm import Usage


class GenAIPrices:
    """Prices as genai-prices knows them, offline. Implements :class:`milepost.llm.Prices`.

    Needs the extra ``prices``. The money is US dollars.
    """

    def cost(self, provider: str, model: str, usage: Usage) -> Decimal | None:
        """Return the dollars that *usage* costs, or None where the model is unknown.

        Raises:
            MissingExtraError: genai-prices is not installed.
        """
        prices = extras.load("genai_prices", "prices")
        counted = prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cached_tokens or None,
        )
        try:
            found = prices.calc_price(counted, model, provider_id=provider)
        except LookupError:
            return None
        return Decimal(found.total_price)
