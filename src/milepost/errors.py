"""Everything milepost raises.

::

    MilepostError
    ├── ConfigurationError          wrong before any job ran
    │   └── MissingExtraError
    ├── JobNotFoundError
    ├── InvalidTransitionError
    ├── CrashLimitError             the job's worker died too often
    ├── JobFailedError              a recorded failure, told again
    ├── StoreError
    │   ├── StoreUnavailableError   nobody answered in time
    │   ├── LeaseLostError          another attempt has the job
    │   └── ValueTooLargeError
    ├── CodecError
    │   ├── EncodeError
    │   └── DecodeError
    └── CheckpointError             the task uses its checkpoint wrongly
        ├── NameInUseError
        ├── ItemKeyError
        ├── StepResultError
        └── NotTransactionalError

Each takes its facts as arguments and builds its message from them, so that every one of
them survives pickle and Celery's JSON result backends.
"""


class MilepostWarning(UserWarning):
    """Something works, but probably not as meant."""


class MilepostError(Exception):
    """Base of all errors of milepost."""


class ConfigurationError(MilepostError):
    """A setting, an URL or a declaration is wrong."""


class MissingExtraError(ConfigurationError):
    """An optional part is needed that is not installed.

    Args:
        module: what could not be imported.
        extra: the extra of milepost that brings it.
    """

    def __init__(self, module: str, extra: str) -> None:
        super().__init__(module, extra)
        self.module, self.extra = module, extra

    def __str__(self) -> str:
        return f"{self.module} is not installed. Run: pip install 'milepost[{self.extra}]'"


class JobNotFoundError(MilepostError):
    """No job of that id is on record: it never was, or its retention is over."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return f"no job {self.job_id!r} on record: it was never recorded, or its retention is over"


class InvalidTransitionError(MilepostError):
    """A control act does not fit the status the job is in.

    Args:
        job_id: which job.
        status: the status it is in.
        wanted: the status that was asked for.
        advice: what to do instead.
    """

    def __init__(self, job_id: str, status: str, wanted: str, advice: str = "") -> None:
        super().__init__(job_id, status, wanted, advice)
        self.job_id, self.status, self.wanted, self.advice = job_id, status, wanted, advice

    def __str__(self) -> str:
        hint = f": {self.advice}" if self.advice else ""
        return f"job {self.job_id!r} is {self.status} and cannot become {self.wanted}{hint}"


class CrashLimitError(MilepostError):
    """A job's worker died too many times in a row without any progress in between.

    Args:
        job_id: which job.
        strikes: deaths since its last checkpoint.
        limit: the task's ``max_crashes``.
    """

    def __init__(self, job_id: str, strikes: int, limit: int) -> None:
        super().__init__(job_id, strikes, limit)
        self.job_id, self.strikes, self.limit = job_id, strikes, limit

    def __str__(self) -> str:
        return (
            f"job {self.job_id!r}: its worker died {self.strikes} times in a row without a "
            f"checkpoint in between (max_crashes={self.limit})"
        )


class JobFailedError(MilepostError):
    """A job failed in an attempt whose exception is gone with its process.

    Args:
        job_id: which job.
        error: type and text of the exception, as recorded.
    """

    def __init__(self, job_id: str, error: str) -> None:
        super().__init__(job_id, error)
        self.job_id, self.error = job_id, error

    def __str__(self) -> str:
        return f"job {self.job_id!r} failed: {self.error}"


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
    """

    def __init__(self, field: str, size: int, limit: int) -> None:
        super().__init__(field, size, limit)
        self.field, self.size, self.limit = field, size, limit

    def __str__(self) -> str:
        return (
            f"{self.field!r} is {self.size:,} bytes, the limit is {self.limit:,}: keep large data "
            "outside and store a reference to it, or raise max_value_bytes"
        )


class CodecError(MilepostError):
    """A value does not go into bytes, or bytes do not come back."""


class EncodeError(CodecError):
    """A value cannot be stored.

    Args:
        path: where in the value the trouble is, e.g. ``$.rows[3].owner``.
        problem: what is wrong there.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"cannot store the value at {self.path}: {self.problem}"


class DecodeError(CodecError):
    """Stored bytes are not what this codec wrote, or are of a version it does not know."""


class CheckpointError(MilepostError):
    """A task uses its checkpoint in a way that could skip or repeat work."""


class NameInUseError(CheckpointError):
    """A loop or step name occurs twice in one place.

    Args:
        kind: ``"loop"``, ``"step"`` or ``"map"``.
        name: the name.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(kind, name)
        self.kind, self.name = kind, name

    def __str__(self) -> str:
        return (
            f"the {self.kind} name {self.name!r} is already in use here: a second one would read "
            "the first one's position. Give each its own name="
        )


class ItemKeyError(CheckpointError):
    """``key=`` returned something that cannot identify an item.

    Args:
        loop: the loop's or map's name.
        index: position of the item, from 0.
        item: ``repr`` of the item, shortened.
        problem: what is wrong with its key.
    """

    def __init__(self, loop: str, index: int, item: str, problem: str) -> None:
        super().__init__(loop, index, item, problem)
        self.loop, self.index, self.item, self.problem = loop, index, item, problem

    def __str__(self) -> str:
        return f"{self.loop!r}, item {self.index} ({self.item}): {self.problem}"


class StepResultError(CheckpointError):
    """A step returned something that cannot be stored; the step is not recorded.

    Args:
        step: the step's name.
        problem: what the codec said.
    """

    def __init__(self, step: str, problem: str) -> None:
        super().__init__(step, problem)
        self.step, self.problem = step, problem

    def __str__(self) -> str:
        return (
            f"step {self.step!r}: its result cannot be stored, so it is not recorded: "
            f"{self.problem}"
        )


class NotTransactionalError(CheckpointError):
    """``atomic()`` needs a store inside the user's own database.

    Args:
        store: the store in use, without its password.
        why: what does not fit.
    """

    def __init__(self, store: str, why: str) -> None:
        super().__init__(store, why)
        self.store, self.why = store, why

    def __str__(self) -> str:
        return (
            f"atomic() cannot join the store {self.store} to this transaction: {self.why}. "
            "Keep the store in the database of your session (sqlite:/// or postgresql://)"
        )
