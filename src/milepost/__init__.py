"""Durable Celery: a task that is killed or deployed over goes on where it was.

The face of the package. Names load on first use, so that ``import milepost`` costs nothing.
"""

from milepost.face import face

_HOMES = {
    "_version": ("__version__",),
    "app": ("Milepost",),
    "errors": ("MilepostError",),
    "model": ("Job", "JobStatus", "Progress"),
    "tasks.base": ("BaseTask",),
    "tasks.checkpointable": ("CheckpointableTask",),
    "tasks.encrypted": ("EncryptedTask",),
    "tasks.llm": ("LLMTask",),
    "tasks.sensitive": ("Sensitive",),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
