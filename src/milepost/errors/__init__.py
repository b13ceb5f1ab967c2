"""Everything milepost raises.

::

    MilepostError
    ├── ConfigurationError          wrong before any job ran
    │   ├── LLMPriceUnknownError
    │   ├── MissingExtraError
    │   ├── NoKeysError             an encrypted task, and nothing to encrypt with
    │   └── UnknownJobTypeError
    ├── JobNotFoundError
    ├── InvalidTransitionError
    ├── CrashLimitError             the job's worker died too often
    ├── BodyExitError               sys.exit() in a task, or a cancelled coroutine
    ├── JobFailedError              a recorded failure, told again
    ├── EncryptedFailureError       the failure of an encrypted task, as others may see it
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
    │       └── EncryptedDataError  cannot be read here, and why
    │           ├── PlaintextError
    │           ├── KeyUnknownError
    │           ├── WrongKeyError
    │           ├── TamperedError
    │           └── UnknownFormatError
    ├── CallRefusedError            a guard holds a call back
    │   ├── RateLimitedError
    │   └── CircuitOpenError
    ├── LimitExceededError          a call larger than its limit
    ├── ServiceError                a call to an external service failed
    │   ├── ServiceUnreachableError
    │   └── ServiceResponseError
    ├── CheckpointError             the task uses its checkpoint wrongly
    │   ├── NameInUseError
    │   ├── ItemKeyError
    │   ├── StepResultError
    │   └── NotTransactionalError
    ├── LLMError                    a model did not answer as it should
    │   ├── LLMPassingError         worth another try
    │   │   ├── LLMRateLimitedError
    │   │   ├── LLMOverloadedError
    │   │   ├── LLMUnreachableError
    │   │   └── LLMAnswerLostError  sent, and perhaps billed
    │   │       ├── LLMTimeoutError
    │   │       ├── LLMConnectionError
    │   │       └── LLMStreamEndedError
    │   ├── LLMAuthError
    │   ├── LLMBadRequestError
    │   │   └── LLMContextTooLongError
    │   ├── LLMRefusedError
    │   ├── LLMTruncatedError
    │   └── LLMInvalidOutputError
    └── LLMRequestChangedError      an answer on record is another request's

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
from milepost.errors.llm import (
    LLMAnswerLostError,
    LLMAuthError,
    LLMBadRequestError,
    LLMConnectionError,
    LLMContextTooLongError,
    LLMError,
    LLMInvalidOutputError,
    LLMOverloadedError,
    LLMPassingError,
    LLMPriceUnknownError,
    LLMRateLimitedError,
    LLMRefusedError,
    LLMRequestChangedError,
    LLMStreamEndedError,
    LLMTimeoutError,
    LLMTruncatedError,
    LLMUnreachableError,
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
    "CallRefusedError",
    "CheckpointError",
    "CircuitOpenError",
    "CodecError",
    "ConfigurationError",
    "CrashLimitError",
    "DecodeError",
    "EncodeError",
    "EncryptedDataError",
    "EncryptedFailureError",
    "InvalidInputError",
    "InvalidTransitionError",
    "ItemKeyError",
    "JobFailedError",
    "JobNotFoundError",
    "KeyUnknownError",
    "LLMAnswerLostError",
    "LLMAuthError",
    "LLMBadRequestError",
    "LLMConnectionError",
    "LLMContextTooLongError",
    "LLMError",
    "LLMInvalidOutputError",
    "LLMOverloadedError",
    "LLMPassingError",
    "LLMPriceUnknownError",
    "LLMRateLimitedError",
    "LLMRefusedError",
    "LLMRequestChangedError",
    "LLMStreamEndedError",
    "LLMTimeoutError",
    "LLMTruncatedError",
    "LLMUnreachableError",
    "LeaseLostError",
    "LimitExceededError",
    "MilepostError",
    "MilepostWarning",
    "MissingExtraError",
    "NameInUseError",
    "NoKeysError",
    "NotTransactionalError",
    "PermissionDeniedError",
    "PlaintextError",
    "RateLimitedError",
    "ServiceError",
    "ServiceResponseError",
    "ServiceUnreachableError",
    "StepResultError",
    "StoreError",
    "StoreUnavailableError",
    "TamperedError",
    "UnknownFormatError",
    "UnknownJobTypeError",
    "ValueTooLargeError",
    "WrongKeyError",
]
