from milepost.jobs import rotation as rotation
from milepost.jobs.fastfail import fast_fail
from milepost.jobs.manager import CeleryJobManager
from milepost.jobs.protocol import Adopting, Answering, Counting, Counts, Handover, JobManager
from milepost.jobs.report import JobReport

__all__ = [
    "Adopting",
    "Answering",
    "CeleryJobManager",
    "Counting",
    "Counts",
    "Handover",
    "JobManager",
    "JobReport",
    "fast_fail",
    "rotation",
]
