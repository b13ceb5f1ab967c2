"""Everything milepost raises.

::

    MilepostError
    ├── ConfigurationError          wrong before any job ran
    │   ├── MissingExtraError
    │   └── NoKeysError             an encrypted task, and nothing to encrypt with
    ├── JobNotFoundError
    ├── InvalidTransitionError
    ├── CrashLimitError             the job's worker died too often
    ├── JobFailedError              a recorded failure, told again
    ├── EncryptedFailureError       the failure of an encrypted task, as others may see it
    ├── StoreError
    │   ├── StoreUnavailableError   nobody answered in time
    │   ├── LeaseLostError          another attempt has the job
    │   └── ValueTooLargeError
    ├── CodecError
    │   ├── EncodeError
    │   └── DecodeError
    │       └── EncryptedDataError  cannot be read here, and why
    │           ├── PlaintextError
    │           ├── KeyUnknownError
    │           ├── WrongKeyError
    │           ├── TamperedError
    │           └── UnknownFormatError
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
    CrashLimitError,
    InvalidTransitionError,
    JobFailedError,
    JobNotFoundError,
)
from milepost.errors.keys import (
    EncryptedDataError,
    EncryptedFailureError,
    KeyUnknownError,
    NoKeysError,
    PlaintextError,
    TamperedError,
    UnknownFormatError,
    WrongKeyError,
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
    "CheckpointError",
    "CodecError",
    "ConfigurationError",
    "CrashLimitError",
    "DecodeError",
    "EncodeError",
    "EncryptedDataError",
    "EncryptedFailureError",
    "InvalidTransitionError",
    "ItemKeyError",
    "JobFailedError",
    "JobNotFoundError",
    "KeyUnknownError",
    "LeaseLostError",
    "MilepostError",
    "MilepostWarning",
    "MissingExtraError",
    "NameInUseError",
    "NoKeysError",
    "NotTransactionalError",
    "PlaintextError",
    "StepResultError",
    "StoreError",
    "StoreUnavailableError",
    "TamperedError",
    "UnknownFormatError",
    "ValueTooLargeError",
    "WrongKeyError",
]
