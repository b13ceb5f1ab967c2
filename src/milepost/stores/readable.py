"""The record of an encrypted job as who has the key may read it."""

from dataclasses import replace
from functools import partial
from typing import Any

from milepost import codecs
from milepost.errors import NoKeysError, PlaintextError
from milepost.model import Job


def readable(job: Job, cipher: "codecs.Cipher | None") -> Job:
    """Return a record with its texts decrypted, and stars where that cannot be."""
    error, reason, words = job.error, job.reason, job.progress.message
    shown_of = partial(codecs.tokens.open_text, cipher, job.id, job.task)
    changes: dict[str, Any] = {}
    for name, text in (("error", error), ("reason", reason)):
        if text is not None and (shown := shown_of(text)) != text:
            changes[name] = shown
    if (shown := shown_of(words)) != words:
        changes["progress"] = replace(job.progress, message=shown)
    return replace(job, **changes) if changes else job


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
    return cipher.open(codecs.tokens.place_of("value", job.id, job.task), job.result, name).data
