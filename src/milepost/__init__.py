"""Durable Celery: a task that is killed or deployed over goes on where it was.

The face of the package. Names load on first use, so that ``import milepost`` costs nothing.
"""

import importlib
from typing import Any

_HOME = {
    "BaseTask": "milepost.tasks.base",
    "CheckpointableTask": "milepost.tasks.checkpointable",
    "EncryptedTask": "milepost.tasks.encrypted",
    "Job": "milepost.model",
    "JobStatus": "milepost.model",
    "LLMTask": "milepost.tasks.llm",
    "Milepost": "milepost.app",
    "MilepostError": "milepost.errors",
    "Progress": "milepost.model",
    "Sensitive": "milepost.tasks.sensitive",
    "__version__": "milepost._version",
}

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


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
