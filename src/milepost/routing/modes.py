"""Which system runs the jobs of a type, and how that is decided for one job."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ROUTE = "route"
"""Where a routed job's metadata say how it was decided."""
CELERY_FLAG, SHADOW_FLAG = "celery_{}", "shadow_{}"
"""The two flags of a job type: run it in Celery; run it there too, for comparison."""
BUCKETS = 10_000


class Engine(StrEnum):
    """A system that runs jobs."""

    LEGACY = "legacy"
    CELERY = "celery"


class Mode(StrEnum):
    """How the jobs of a type are shared out between the two systems."""

    LEGACY = "legacy"
    """All in the legacy system."""
    SHADOW = "shadow"
    """All in the legacy system, and a second time in Celery, only to compare the results."""
    PERCENTAGE = "percentage"
    """A share in Celery, the others in the legacy system; the same key always in the same."""
    CELERY = "celery"
    """All in Celery."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one job goes.

    Attributes:
        job_type: of the job.
        engine: which system runs it.
        mode: how its type is shared out.
        share: how many of a hundred go to Celery, or are compared.
    """

    job_type: str
    engine: Engine
    mode: Mode
    share: float

    def as_metadata(self) -> dict[str, Any]:
        """Return what the job's record keeps of it."""
        return {"job_type": self.job_type, "mode": str(self.mode), "share": self.share}


def celery_flag(job_type: str) -> str:
    """Return the name of the flag that sends jobs of a type to Celery."""
    return CELERY_FLAG.format(job_type)


def shadow_flag(job_type: str) -> str:
    """Return the name of the flag that lets Celery run jobs of a type for comparison."""
    return SHADOW_FLAG.format(job_type)


def job_type_of(flag: str) -> str | None:
    """Return the job type that a flag is one of; None where it is none of any."""
    prefixes = (celery_flag(""), shadow_flag(""))
    found = next((flag.removeprefix(one) for one in prefixes if flag.startswith(one)), "")
    return found or None


def mode_of(celery: float, shadow: float) -> Mode:
    """Return the mode that the shares of a job type's two flags make."""
    if celery >= 100:
        return Mode.CELERY
    if celery > 0:
        return Mode.PERCENTAGE
    return Mode.SHADOW if shadow > 0 else Mode.LEGACY


def falls_within(share: float, flag: str, key: str) -> bool:
    """Whether a key belongs to the share of a flag that is on for so many of a hundred.

    The same key always gives the same answer, in every process and version; one that is
    within a share is within every larger one; and different flags divide keys differently.
    """
    if share >= 100 or share <= 0:
        return share > 0
    digest = hashlib.blake2b(f"{flag}\0{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BUCKETS < share * (BUCKETS / 100)


def is_shadow(metadata: Mapping[str, Any]) -> bool:
    """Whether a job with these metadata runs only to be compared: it should touch nothing."""
    return "shadow_of" in metadata.get(ROUTE, ())
