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
        field: the checkpoint field, or ``"result"`` or ``"message"``.
        size: its size in bytes.
        limit: the store's limit in bytes.
        known_as: what people know the field as: ``step 'load'``, ``self.state``.
    """

    def __init__(self, field: str, size: int, limit: int, known_as: str = "") -> None:
        super().__init__(field, size, limit, known_as)
        self.field, self.size, self.limit, self.known_as = field, size, limit, known_as

    def __str__(self) -> str:
        return (
            f"{self.known_as or repr(self.field)} is {self.size:,} bytes, the limit is "
            f"{self.limit:,}: keep large data outside and store a reference to it, or raise "
            "max_value_bytes"
        )
