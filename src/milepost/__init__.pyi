from milepost._version import __version__
from milepost.app import Milepost
from milepost.errors import MilepostError
from milepost.model import Job, JobStatus, Progress
from milepost.tasks.base import BaseTask
from milepost.tasks.checkpointable import CheckpointableTask
from milepost.tasks.encrypted import EncryptedTask
from milepost.tasks.llm import LLMTask
from milepost.tasks.sensitive import Sensitive

__all__ = [
    "BaseTask",
    "CheckpointableTask",
    "EncryptedTask",
    "Job",
    "JobStatus",
    "LLMTask",
    "Milepost",
    "MilepostError",
    "Progress",
    "Sensitive",
    "__version__",
]
