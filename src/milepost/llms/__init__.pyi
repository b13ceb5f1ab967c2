from milepost.llms.anthropic import AnthropicClient
from milepost.llms.function import FunctionClient
from milepost.llms.genai_prices import GenAIPrices
from milepost.llms.openai import OpenAIClient
from milepost.llms.prices import Price, PriceTable

__all__ = [
    "AnthropicClient",
    "FunctionClient",
    "GenAIPrices",
    "OpenAIClient",
    "Price",
    "PriceTable",
]
