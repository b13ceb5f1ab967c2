"""Encrypted texts: what stands in for a value where Celery, a record or a log wants text.

Each opens only as what it is; see :mod:`.places`.
"""

import json
from dataclasses import dataclass
from typing import Any

from milepost.ciphertext import MARK
from milepost.codecs import places
from milepost.codecs.encrypted import Cipher, Sealer, as_text, from_text, is_whole, key_id_of
from milepost.errors import PlaintextError, TamperedError


def is_token(value: Any) -> bool:
    """Whether a value is an encrypted text; one that only begins as such is somebody's own."""
    if not isinstance(value, str) or not value.startswith(MARK):
        return False
    return is_whole(from_text(value[len(MARK) :]) or b"")


def key_id_in(token: str) -> str:
    """Return the id of the key that an encrypted text was made with."""
    return key_id_of(_record(token, "token"), "token")


def seal_call(sealer: Sealer, job_id: str, task: str, data: bytes) -> str:
    """Return the arguments of a job as text."""
    return token_of(sealer.seal(places.call(job_id, task), data))


def open_call(cipher: Cipher, job_id: str, task: str, token: Any) -> bytes:
    """Return what :func:`seal_call` made *token* from.

    Raises:
        EncryptedDataError: it cannot be read, or is of another job.
    """
    name = f"{job_id}: arguments"
    return cipher.open(places.call(job_id, task), _record(token, name), name).data


def seal_part(sealer: Sealer, task: str, data: bytes) -> str:
    """Return arguments of a signature as text."""
    return token_of(sealer.seal(places.part(task), data))


def open_part(cipher: Cipher, task: str, token: str) -> bytes | None:
    """Return what :func:`seal_part` made *token* from; None where it is something else.

    Raises:
        EncryptedDataError: its key is not here.
    """
    return _open_if(cipher, places.part(task), token)


def seal_value(sealer: Sealer, job_id: str, task: str, data: bytes) -> str:
    """Return one sensitive value among the arguments of a job as text."""
    return token_of(sealer.seal(places.sensitive(job_id, task), data))


def open_value(cipher: Cipher, job_id: str, task: str, token: str) -> bytes:
    """Return what :func:`seal_value` made *token* from.

    Raises:
        EncryptedDataError: it cannot be read, or is of another job.
    """
    name = f"{job_id}: sensitive value"
    return cipher.open(places.sensitive(job_id, task), _record(token, name), name).data


@dataclass(frozen=True, slots=True)
class Returned:
    """A result, and whose it is.

    Attributes:
        job_id: the job that returned it.
        task: its task.
        group: the group it was a member of; empty: none.
        data: the value in the bytes of that task's codec.
    """

    job_id: str
    task: str
    group: str
    data: bytes


def seal_result(sealer: Sealer, returned: Returned, *, is_final: bool = True) -> str:
    """Return a result as text, or what a job tells on its way."""
    whose = json.dumps([returned.job_id, returned.task, returned.group]).encode()
    place = places.returned() if is_final else places.told()
    return token_of(sealer.seal(place, whose + b"\n" + returned.data))


def open_result(cipher: Cipher, token: str, *, is_final: bool = True) -> Returned | None:
    """Return what :func:`seal_result` made *token* from; None where it is something else.

    Raises:
        EncryptedDataError: its key is not here.
    """
    data = _open_if(cipher, places.returned() if is_final else places.told(), token)
    if data is None:
        return None
    whose, _, value = data.partition(b"\n")
    job_id, task, group = json.loads(whose)
    return Returned(job_id, task, group, value)


def token_of(record: bytes) -> str:
    """Return a record as encrypted text."""
    return MARK + as_text(record)


def record_in(token: str) -> bytes:
    """Return the record in an encrypted text."""
    return _record(token, "token")


def _record(token: Any, name: str) -> bytes:
    text = token if isinstance(token, str) else ""
    record = from_text(text[len(MARK) :]) if text.startswith(MARK) else None
    if record is None:
        raise PlaintextError(name)
    return record


def _open_if(cipher: Cipher, place: bytes, token: str) -> bytes | None:
    """Open a text in a place; None where it was made for another one, or changed."""
    try:
        return cipher.open(place, _record(token, "value"), "value").data
    except (PlaintextError, TamperedError):
        return None
