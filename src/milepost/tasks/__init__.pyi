from milepost.tasks.base import BaseTask
from milepost.tasks.checkpointable import CheckpointableTask
from milepost.tasks.encrypted import EncryptedTask
from milepost.tasks.llm import LLMTask
from milepost.tasks.sensitive import Sensitive

__all__ = [
    "BaseTask",
    "CheckpointableTask",
    "EncryptedTask",
    "LLMTask",
    "Sensitive",
]
