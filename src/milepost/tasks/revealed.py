"""What an encrypted task has returned or failed with, for who holds the key."""

from typing import Any

from celery.result import AsyncResult
from celery.states import SUCCESS

from milepost.ciphertext import HIDDEN
from milepost.codec import Codec
from milepost.codecs import places, tokens
from milepost.codecs.encrypted import Sealer
from milepost.codecs.json import JsonCodec
from milepost.codecs.texts import open_words, seal_words
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


def sealed_failure(
    sealer: Sealer, job_id: str, task: str, kind: str, words: str
) -> EncryptedFailureError:
    """Return what Celery is told of the error of an encrypted task.

    Args:
        sealer: encrypts.
        job_id: the job that has failed.
        task: the name of its task.
        kind: the name of the error's class, which stays in the clear.
        words: its text.
    """
    place = places.words(places.Words.FAILURE, job_id, task, kind)
    return EncryptedFailureError(job_id, task, kind, seal_words(sealer, place, words))


def _revealed_failure(app: Any, failure: EncryptedFailureError) -> JobFailedError:
    """Return the error that :func:`sealed_failure` was given.

    Raises:
        PlaintextError: its text is in the clear, and its task does not take such.
    """
    job_id, task, kind, words = failure.job_id, failure.task, failure.kind, failure.text
    if tokens.is_token(words):
        place = places.words(places.Words.FAILURE, job_id, task, kind)
        words = open_words(cipher_of(app), place, words)
    elif words not in ("", HIDDEN) and not _takes_plaintext(app, task):
        raise PlaintextError(f"{job_id}: error")
    return JobFailedError(job_id, f"{kind}: {words}")


def _takes_plaintext(app: Any, task: str) -> bool:
    return bool(getattr(app.tasks.get(task), "accept_plaintext", False))


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
        if is_final and not _takes_plaintext(self.app, self._task_name or ""):
            raise PlaintextError(f"{self.id}: result")
