"""The clients that come with milepost. Each loads its SDK when it is first used."""

from milepost.face import face

_HOMES = {
    "anthropic": ("AnthropicClient",),
    "function": ("FunctionClient",),
    "genai_prices": ("GenAIPrices",),
    "openai": ("OpenAIClient",),
    "prices": ("Price", "PriceTable"),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
