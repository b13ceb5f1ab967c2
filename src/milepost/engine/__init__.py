"""What carries a job: claim, run, checkpoint, settle, recover. Knows no Celery and no Redis."""

from milepost.face import face

_HOMES = {
    "attempt": ("begin", "run_attempt"),
    "drain": ("DrainFlag", "never"),
    "endings": ("Completed", "Dropped", "Ending", "RESULT_NOT_KEPT", "Stopped", "Unclaimed"),
    "lease": ("outwait",),
    "loops": ("CursorLoop", "Every", "KeyLoop", "PositionLoop", "pace_of"),
    "mapping": ("run_map",),
    "plan": ("Plan",),
    "recovery": ("Keeper", "RETRY"),
    "scope": ("EXPLICIT",),
    "steps": ("call_step",),
    "stored": ("parked",),
    "throwaway": ("ThrowawayStore",),
    "work": ("Attempt",),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
