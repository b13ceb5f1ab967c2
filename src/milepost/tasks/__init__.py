"""The bases that tasks are made of."""

from milepost.tasks.base import BaseTask
from milepost.tasks.checkpointable import CheckpointableTask

__all__ = ["BaseTask", "CheckpointableTask"]
