"""The bases that tasks are made of."""

from milepost.face import face

_HOMES = {
    "base": ("BaseTask",),
    "checkpointable": ("CheckpointableTask",),
    "encrypted": ("EncryptedTask",),
    "llm": ("LLMTask",),
    "sensitive": ("Sensitive",),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
