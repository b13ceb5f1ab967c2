"""The words of milepost as frozen values: what travels, never what acts."""

from milepost.face import face

_HOMES = {
    "attempts": (
        "Claim",
        "Delivery",
        "Delta",
        "Granted",
        "Lease",
        "NOTHING",
        "RECORDED",
        "Recovery",
        "Refusal",
        "Refused",
        "Settlement",
        "Swap",
        "Unknown",
    ),
    "jobs": (
        "Job",
        "JobStatus",
        "NewJob",
        "Progress",
        "Signal",
    ),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
