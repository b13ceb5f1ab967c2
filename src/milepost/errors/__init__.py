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
    ├── JobResultError              a body returned what Celery cannot store
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

from milepost.face import face

_HOMES = {
    "checkpoints": (
        "CheckpointError",
        "ItemKeyError",
        "NameInUseError",
        "NotTransactionalError",
        "StepResultError",
    ),
    "codecs": ("CodecError", "DecodeError", "EncodeError"),
    "external": ("ServiceError", "ServiceResponseError", "ServiceUnreachableError"),
    "guards": ("CallRefusedError", "CircuitOpenError", "LimitExceededError", "RateLimitedError"),
    "jobs": (
        "BodyExitError",
        "CrashLimitError",
        "InvalidTransitionError",
        "JobFailedError",
        "JobNotFoundError",
        "JobResultError",
    ),
    "keys": (
        "EncryptedDataError",
        "EncryptedFailureError",
        "KeyUnknownError",
        "NoKeysError",
        "PlaintextError",
        "TamperedError",
        "UnknownFormatError",
        "WrongKeyError",
    ),
    "llm": (
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
    ),
    "registry": ("UnknownJobTypeError",),
    "root": ("ConfigurationError", "MilepostError", "MilepostWarning", "MissingExtraError"),
    "routing": ("BrokerUnavailableError",),
    "security": ("InvalidInputError", "PermissionDeniedError"),
    "stores": ("LeaseLostError", "StoreError", "StoreUnavailableError", "ValueTooLargeError"),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
