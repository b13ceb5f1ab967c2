"""For those who test with milepost, or who write a store of their own."""

from milepost.testing.clock import FakeClock
from milepost.testing.codecs import CodecContract
from milepost.testing.contracts import StoreContract
from milepost.testing.llms import LLMClientContract

__all__ = ["CodecContract", "FakeClock", "LLMClientContract", "StoreContract"]
