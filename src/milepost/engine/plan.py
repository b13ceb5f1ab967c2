"""What the engine must know of a task: declared once, handed down as a frozen value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from milepost.engine.drain import never
from milepost.model import Settlement

Checkpoint: TypeAlias = dict[str, Any]
"""A checkpoint as people see it: ``{"steps": {…}, "loops": {…}, "state": {…}}``."""

Judge: TypeAlias = Callable[[BaseException], Settlement]
"""Says how an error that left the body settles the job: failed, or on again later."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to carry a job of one task.

    Attributes:
        owner: who claims: ``<worker incarnation>:<process>``.
        judge: what an error of the body means for the job.
        lease_seconds: base length of the lease.
        checkpoint_every: seconds between checkpoints where a loop does not say.
        max_crashes: deaths in a row without a checkpoint that fail the job.
        version: version of the checkpoint that this code writes.
        fingerprint: changes when the task's code does.
        migrate: turns a checkpoint of another version into this one's; None where the task
            declares no migration.
        finishing: whether anything must follow the settlement (callbacks, a stored result).
        keep_result: whether to keep the return value in the record.
        is_draining: whether the worker is shutting down, so that jobs are to step aside.
    """

    owner: str
    judge: Judge
    lease_seconds: float
    checkpoint_every: float
    max_crashes: int
    version: int = 1
    fingerprint: str = ""
    migrate: Callable[[Checkpoint, int], Mapping[str, Any]] | None = None
    finishing: bool = False
    keep_result: bool = True
    is_draining: Callable[[], bool] = never
