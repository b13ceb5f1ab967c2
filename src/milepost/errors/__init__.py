"""Everything milepost raises.

::

    MilepostError
    ├── ConfigurationError          wrong before any job ran
    │   └── MissingExtraError
    ├── JobNotFoundError
    ├── InvalidTransitionError
    ├── CrashLimitError             the job's worker died too often
    ├── BodyExitError               sys.exit() in a task, or a cancelled coroutine
    ├── JobFailedError              a recorded failure, told again
    ├── StoreError
    │   ├── StoreUnavailableError   nobody answered in time
    │   ├── LeaseLostError          another attempt has the job
    │   └── ValueTooLargeError
    ├── CodecError
    │   ├── EncodeError
    │   └── DecodeError
    ├── CallRefusedError            a guard holds a call back
    │   ├── RateLimitedError
    │   └── CircuitOpenError
    ├── LimitExceededError          a call larger than its limit
    ├── ServiceError                a call to an external service failed
    │   ├── ServiceUnreachableError
    │   └── ServiceResponseError
    └── CheckpointError             the task uses its checkpoint wrongly
        ├── NameInUseError
        ├── ItemKeyError
        ├── StepResultError
        └── NotTransactionalError

Each takes its facts as arguments and builds its message from them, so that every one of
them survives pickle and Celery's JSON result backends.
"""

from milepost.errors.checkpoints import (
    CheckpointError,
    ItemKeyError,
    NameInUseError,
    NotTransactionalError,
    StepResultError,
)
from milepost.errors.codecs import (
    CodecError,
    DecodeError,
    EncodeError,
)
from milepost.errors.external import (
    ServiceError,
    ServiceResponseError,
    ServiceUnreachableError,
)
from milepost.errors.guards import (
    CallRefusedError,
    CircuitOpenError,
    LimitExceededError,
    RateLimitedError,
)
from milepost.errors.jobs import (
    BodyExitError,
    CrashLimitError,
    InvalidTransitionError,
    JobFailedError,
    JobNotFoundError,
)
from milepost.errors.root import (
    ConfigurationError,
    MilepostError,
    MilepostWarning,
    MissingExtraError,
)
from milepost.errors.stores import (
    LeaseLostError,
    StoreError,
    StoreUnavailableError,
    ValueTooLargeError,
)

__all__ = [
    "BodyExitError",
    "CallRefusedError",
    "CheckpointError",
    "CircuitOpenError",
    "CodecError",
    "ConfigurationError",
    "CrashLimitError",
    "DecodeError",
    "EncodeError",
    "InvalidTransitionError",
    "ItemKeyError",
    "JobFailedError",
    "JobNotFoundError",
    "LeaseLostError",
    "LimitExceededError",
    "MilepostError",
    "MilepostWarning",
    "MissingExtraError",
    "NameInUseError",
    "NotTransactionalError",
    "RateLimitedError",
    "ServiceError",
    "ServiceResponseError",
    "ServiceUnreachableError",
    "StepResultError",
    "StoreError",
    "StoreUnavailableError",
    "ValueTooLargeError",
]
