"""What an encrypted task has returned or failed with, for who holds the key."""

from typing import Any

from celery.result import AsyncResult
from celery.states import SUCCESS

from milepost.codec import Codec
from milepost.codecs import tokens
from milepost.codecs.json import JsonCodec
from milepost.errors import EncryptedFailureError, JobFailedError, PlaintextError, TamperedError
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
    cipher = cipher_of(app)
    found = tokens.open_result(cipher, value) or tokens.open_result(cipher, value, is_final=False)
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
    """The result of an encrypted task's job, as in Celery, decrypted for who has the key.

    What the result backend has in its place is refused: a value in the clear, unless the task
    takes such (``accept_plaintext``), and what another job has left.
    """

    def __init__(
        self, job_id: str, backend: Any = None, task_name: str | None = None, *more: Any, **kw: Any
    ) -> None:
        super().__init__(job_id, backend, None, *more, **kw)
        self._task_name = task_name

    def __reduce_args__(self) -> Any:
        return self.id, self.backend, self._task_name, None, self.parent

    def get(self, *args: Any, **kwargs: Any) -> Any:
        """Wait for the job's end and return what it returned; see Celery's ``get()``.

        Raises:
            JobFailedError: it failed.
            NoKeysError, KeyUnknownError: the key is not here.
            PlaintextError, TamperedError: it is not what the job has left there.
        """
        try:
            super().get(*args, **kwargs)
        except EncryptedFailureError as exc:
            failure = exc
        else:
            return self.result
        raise self._revealed(failure)

    wait = get

    @property
    def result(self) -> Any:
        """What the job returned, or failed with; None as long as it has not ended."""
        return self._revealed(super().result, is_final=self.state == SUCCESS)

    info = result

    def _revealed(self, value: Any, *, is_final: bool = True) -> Any:
        if isinstance(value, EncryptedFailureError):
            self._check_own(value.job_id)
            return _revealed_failure(self.app, value)
        if value is None or isinstance(value, BaseException):
            return value  # in words of Celery's own
        if not tokens.is_token(value):
            self._check_plain(is_final)
            return value
        found = tokens.open_result(cipher_of(self.app), value, is_final=is_final)
        if found is None:
            raise TamperedError(f"{self.id}: result", tokens.key_id_in(value))
        self._check_own(found.job_id, tokens.key_id_in(value))
        return decoded(self.app, found)

    def _check_own(self, job_id: str, key_id: str = "") -> None:
        """Refuse what another job has left. Its task may be another one: ``self.replace()``."""
        if job_id != self.id:
            raise TamperedError(f"{self.id}: result", key_id)

    def _check_plain(self, is_final: bool) -> None:
        """Refuse a result in the clear; a state may have words of Celery's own."""
        task = self.app.tasks.get(self._task_name or "")
        if is_final and not getattr(task, "accept_plaintext", False):
            raise PlaintextError(f"{self.id}: result")
