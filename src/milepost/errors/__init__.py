"""Everything milepost raises.

::

    MilepostError
    ├── ConfigurationError          wrong before any job ran
    │   ├── MissingExtraError
    │   └── UnknownJobTypeError
    ├── JobNotFoundError
    ├── InvalidTransitionError
    ├── CrashLimitError             the job's worker died too often
    ├── BodyExitError               sys.exit() in a task, or a cancelled coroutine
    ├── JobFailedError              a recorded failure, told again
    ├── PermissionDeniedError       the policy says no
    ├── InvalidInputError           a payload does not fit its job type
    ├── BrokerUnavailableError      a job's message could not be sent
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
from milepost.errors.jobs import (
    BodyExitError,
    CrashLimitError,
    InvalidTransitionError,
    JobFailedError,
    JobNotFoundError,
)
from milepost.errors.registry import (
    UnknownJobTypeError,
)
from milepost.errors.root import (
    ConfigurationError,
    MilepostError,
    MilepostWarning,
    MissingExtraError,
)
from milepost.errors.routing import BrokerUnavailableError
from milepost.errors.security import (
    InvalidInputError,
    PermissionDeniedError,
)
from milepost.errors.stores import (
    LeaseLostError,
    StoreError,
    StoreUnavailableError,
    ValueTooLargeError,
)

__all__ = [
    "BodyExitError",
    "BrokerUnavailableError",
    "CheckpointError",
    "CodecError",
    "ConfigurationError",
    "CrashLimitError",
    "DecodeError",
    "EncodeError",
    "InvalidInputError",
    "InvalidTransitionError",
    "ItemKeyError",
    "JobFailedError",
    "JobNotFoundError",
    "LeaseLostError",
    "MilepostError",
    "MilepostWarning",
    "MissingExtraError",
    "NameInUseError",
    "NotTransactionalError",
    "PermissionDeniedError",
    "StepResultError",
    "StoreError",
    "StoreUnavailableError",
    "UnknownJobTypeError",
    "ValueTooLargeError",
]
