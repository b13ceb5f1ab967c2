"""Why something encrypted cannot be read here. None of these ever tells the content."""

from milepost.errors.codecs import DecodeError
from milepost.errors.root import ConfigurationError, MilepostError


class NoKeysError(ConfigurationError):
    """A task is to encrypt, but the application has no keys.

    Args:
        what: what wanted a key.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return (
            f"{self.what} has no key to encrypt with: give Milepost(app, keys=...) a source, "
            'such as "file:/etc/shop/keys.json" or "env:SHOP_KEYS", with a current key'
        )


class EncryptedDataError(DecodeError):
    """Something encrypted, or what should be, cannot be read.

    Args:
        record: which, as ``<job id>: <place>``.
        key_id: the id of the key it names; empty where it names none.
    """

    def __init__(self, record: str, key_id: str = "") -> None:
        super().__init__(record, key_id)
        self.record, self.key_id = record, key_id

    def __str__(self) -> str:
        key = f" (key {self.key_id!r})" if self.key_id else ""
        return f"{self.record}: what is encrypted cannot be read here{key}"


class PlaintextError(EncryptedDataError):
    """Something is in the clear that has to be encrypted. It is refused."""

    def __str__(self) -> str:
        return (
            f"{self.record}: found in the clear, or cut off, where only ciphertext is taken "
            "(accept_plaintext = True on the task takes old data for as long as you migrate)"
        )


class KeyUnknownError(EncryptedDataError):
    """The key that something was encrypted with is not in the keyring: not yet, or destroyed."""

    def __str__(self) -> str:
        return (
            f"{self.record}: its key {self.key_id!r} is not in the keyring: add it, or it is lost"
        )


class WrongKeyError(EncryptedDataError):
    """The keyring has another secret under the id of the key that something names."""

    def __str__(self) -> str:
        return f"{self.record}: the keyring's key {self.key_id!r} is not the one it was made with"


class TamperedError(EncryptedDataError):
    """Something encrypted was changed, cut off, or moved here from another place."""

    def __str__(self) -> str:
        key = f" (key {self.key_id!r})" if self.key_id else ""
        return f"{self.record}: changed since, or moved from another place{key}"


class UnknownFormatError(EncryptedDataError):
    """Something encrypted is of a version or a kind that this milepost does not know."""

    def __str__(self) -> str:
        return (
            f"{self.record}: encrypted in a form unknown here: was it written by a newer milepost?"
        )


class EncryptedFailureError(MilepostError):
    """What an encrypted task failed with; the text is ciphertext.

    Who holds the key gets the text from ``milepost.jobs.get(id).error``.

    Args:
        job_id: which job.
        task: its task.
        kind: the name of the exception's class, which is in the clear.
        text: its text, encrypted.
    """

    def __init__(self, job_id: str, task: str, kind: str, text: str) -> None:
        super().__init__(job_id, task, kind, text)
        self.job_id, self.task, self.kind, self.text = job_id, task, kind, text

    def __str__(self) -> str:
        return f"job {self.job_id!r} failed with {self.kind}: {self.text}"
