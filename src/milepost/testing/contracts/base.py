"""What the tests of the store contract share: sizes, time, and short words for the verbs."""

import time
import uuid
from typing import Any

from milepost import extras
from milepost.model import (
    Claim,
    Delivery,
    Granted,
    JobStatus,
    Lease,
    NewJob,
    Refusal,
    Refused,
    Settlement,
)
from milepost.store import Store

pytest: Any = extras.find("pytest")

DONE = Settlement(JobStatus.SUCCEEDED)
LAPSED = 0.0
"""Length of a lease that has lapsed as soon as it is granted."""


def raises(error: type[BaseException]) -> Any:
    """Expect an error."""
    return pytest.raises(error)


class StoreCase:
    """One store, and how time passes on it."""

    LIMIT = 1024 * 1024
    """The ``max_value_bytes`` the store under test must be opened with."""
    RETENTION = 0.2
    """The ``retention`` in seconds the store under test must be opened with."""

    def elapse(self, seconds: float) -> None:
        """Let *seconds* pass on the store's clock; override it where the test owns the clock."""
        time.sleep(seconds)

    def new(self, store: Store, **changes: Any) -> str:
        job_id = uuid.uuid4().hex
        given: dict[str, Any] = {"task": "t", "message": b"m", "resend_after": 60.0, **changes}
        assert store.create(NewJob(id=job_id, **given))
        return job_id

    def claim(
        self, store: Store, job_id: str, *, number: int = 0, ttl: float = 60.0, owner: str = "w1:1"
    ) -> Claim:
        return store.claim(Delivery(job_id, "t", number), owner, ttl)

    def granted(self, store: Store, job_id: str, **how: Any) -> Lease:
        claim = self.claim(store, job_id, **how)
        assert isinstance(claim, Granted), claim
        return claim.lease

    def refused(self, store: Store, job_id: str, **how: Any) -> Refusal:
        claim = self.claim(store, job_id, **how)
        assert isinstance(claim, Refused), claim
        return claim.why
