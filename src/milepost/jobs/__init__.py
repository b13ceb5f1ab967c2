"""The operator's and the caller's side of jobs."""

from milepost.face import face

_HOMES = {
    "fastfail": ("fast_fail",),
    "manager": ("CeleryJobManager",),
    "protocol": ("Adopting", "Answering", "Counting", "Counts", "Handover", "JobManager"),
    "report": ("JobReport",),
    "rotation": ("rotation",),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
