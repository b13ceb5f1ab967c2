"""What a store says no to."""

from milepost.errors.root import MilepostError


class StoreError(MilepostError):
    """The store could not do what was asked."""


class StoreUnavailableError(StoreError):
    """The store did not answer within its timeout. Nothing is known to be written.

    Args:
        store: the store, without its password.
        problem: what the driver said.
    """

    def __init__(self, store: str, problem: str) -> None:
        super().__init__(store, problem)
        self.store, self.problem = store, problem

    def __str__(self) -> str:
        return f"store {self.store} is not available: {self.problem}"


class LeaseLostError(StoreError):
    """A write was refused: another attempt has taken the job, or the job has ended.

    Args:
        job_id: which job.
        fence: the fence of the refused write.
    """

    def __init__(self, job_id: str, fence: int) -> None:
        super().__init__(job_id, fence)
        self.job_id, self.fence = job_id, fence

    def __str__(self) -> str:
        return f"job {self.job_id!r}: the lease with fence {self.fence} is no longer valid"


class ValueTooLargeError(StoreError):
    """One value of a checkpoint is larger than the store accepts.

    Args:
        field: what it is: ``step 'load'``, ``self.state``, ``result``, ``message``, or the
            checkpoint's field of that name.
        size: its size in bytes.
        limit: the store's limit in bytes.
    """

    def __init__(self, field: str, size: int, limit: int) -> None:
        super().__init__(field, size, limit)
        self.field, self.size, self.limit = field, size, limit

    def __str__(self) -> str:
        return (
            f"{self.field} is {self.size:,} bytes, the limit is {self.limit:,}: keep large data "
            "outside and store a reference to it, or raise max_value_bytes"
        )
