"""The record of an encrypted job as who has the key may read it."""

from dataclasses import replace
from functools import partial

from milepost import codecs
from milepost.ciphertext import HIDDEN, MARK, head_of
from milepost.errors import NoKeysError, PlaintextError
from milepost.model import Job


def readable(job: Job, cipher: "codecs.Cipher | None", *, takes_plaintext: bool = True) -> Job:
    """Return a record with its texts decrypted, and stars where that cannot be.

    Args:
        job: its record.
        cipher: the application's.
        takes_plaintext: whether its texts may be in the clear; else stars take the place of
            those that are, but for words of milepost's own.
    """
    message = job.progress.message
    if takes_plaintext and not any(MARK in t for t in (job.error, job.reason, message) if t):
        return job  # and no module for ciphers is loaded
    words = codecs.places.Words
    shown = partial(_shown, cipher, job, takes_plaintext)
    return replace(
        job,
        error=shown(words.ERROR, job.error),
        reason=shown(words.REASON, job.reason),
        progress=replace(job.progress, message=shown(words.PROGRESS, message) or ""),
    )


def _shown(
    cipher: "codecs.Cipher | None",
    job: Job,
    takes_plaintext: bool,
    what: "codecs.places.Words",
    text: str | None,
) -> str | None:
    texts = codecs.texts
    if not text:
        return text
    if takes_plaintext or texts.is_sealed(text) or _is_our_own(job, what, text):
        return texts.open_text(cipher, what, job.id, job.task, text)
    return head_of(text) + HIDDEN


def _is_our_own(job: Job, what: "codecs.places.Words", text: str) -> bool:
    """Whether a text may be in the clear, as one in words of milepost's own.

    A job that a keeper has ended has its reason for an error.
    """
    words = codecs.places.Words
    if what is words.ERROR:
        return text == job.reason or codecs.texts.is_our_own(text)
    return what is words.REASON


def result_of(
    job: Job, cipher: "codecs.Cipher | None", *, takes_plaintext: bool = True
) -> bytes | None:
    """Return a job's result in the bytes of its task's codec.

    Args:
        job: its record.
        cipher: the application's.
        takes_plaintext: whether its result may be in the clear.

    Raises:
        NoKeysError: it is encrypted, and there are no keys here at all.
        PlaintextError: it is in the clear, and may not be.
        EncryptedDataError: it is encrypted and cannot be read.
    """
    name = f"{job.id}: result"
    if job.result is None or not codecs.is_record(job.result):
        if job.result is not None and not takes_plaintext:
            raise PlaintextError(name)
        return job.result
    if cipher is None:
        raise NoKeysError(name)
    return cipher.open(codecs.places.result(job.id, job.task), job.result, name).data
