"""What an encrypted task has returned or failed with, for who holds the key."""

from typing import Any

from celery.result import AsyncResult

from milepost.codec import Codec
from milepost.codecs import tokens
from milepost.codecs.json import JsonCodec
from milepost.errors import EncryptedFailureError, JobFailedError
from milepost.runtime import cipher_of


def reveal(app: Any, value: Any) -> Any:
    """Return a result, or a failure, that Celery has as ciphertext, decrypted.

    Lists of results, as groups give them, are decrypted too; what is no ciphertext is
    returned as it is.

    Args:
        app: the Celery app.
        value: what ``AsyncResult.get()`` or a callback was given.

    Raises:
        NoKeysError: this process has no keys.
        KeyUnknownError, WrongKeyError: not the one that is needed.
    """
    if isinstance(value, list):
        return [reveal(app, one) for one in value]
    if isinstance(value, EncryptedFailureError):
        return _revealed_failure(app, value)
    if not tokens.is_token(value):
        return value
    found = tokens.open_result(cipher_of(app), value)
    return value if found is None else decoded(app, found)


def decoded(app: Any, found: tokens.Returned) -> Any:
    """Return the value of an opened result."""
    return codec_of(app, app.tasks.get(found.task)).decode(found.data)


def codec_of(app: Any, task: Any) -> Codec:
    """Return the codec of a task, or of its app."""
    own = getattr(task, "codec", None)
    codec: Codec = own or getattr(app, "milepost_codec", None) or JsonCodec()
    return codec


def _revealed_failure(app: Any, failure: EncryptedFailureError) -> JobFailedError:
    text = tokens.open_text(cipher_of(app), failure.job_id, failure.task, failure.text)
    return JobFailedError(failure.job_id, f"{failure.kind}: {text}")


class EncryptedResult(AsyncResult):  # type: ignore[type-arg]
    """The result of an encrypted task's job, as in Celery, decrypted for who has the key."""

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the job's end and return what it returned; see Celery's ``get()``.

        Raises:
            JobFailedError: it failed.
            NoKeysError, KeyUnknownError: the key is not here.
        """
        try:
            return reveal(self.app, super().get(*args, **kwargs))
        except EncryptedFailureError as exc:
            failure = exc
        raise reveal(self.app, failure)

    wait = get

    @property
    def result(self) -> Any:
        """What the job returned, or failed with; None as long as it has not ended."""
        return reveal(self.app, super().result)

    info = result
