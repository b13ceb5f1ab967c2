"""For those who test with milepost, or who write a store or a manager of jobs of their own."""

from milepost.testing.clock import FakeClock
from milepost.testing.codecs import CodecContract
from milepost.testing.contracts import StoreContract
from milepost.testing.llms import LLMClientContract
from milepost.testing.managers import JobManagerContract

__all__ = [
    "CodecContract",
    "FakeClock",
    "JobManagerContract",
    "LLMClientContract",
    "StoreContract",
]
