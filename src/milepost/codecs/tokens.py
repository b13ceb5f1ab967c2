"""Encrypted texts: what stands in for a value where Celery, a record or a log wants text.

Six kinds, each of which opens only as what it is:

* ``call``: the arguments of one job, bound to its id and task;
* ``part``: arguments of a signature that is no job yet, bound to the task;
* ``sensitive``: one value among arguments that are else in the clear, bound as they are;
* ``result``: what a job returned. It tells, once opened, whose it is;
* ``state``: the same of what a job has told on its way (``update_state``);
* ``text``: the words of an error, a reason or a progress, bound to the job.
"""

import json
from dataclasses import dataclass
from typing import Any

from milepost.ciphertext import HIDDEN, MARK, NEEDS_KEY, head_of
from milepost.codecs.encrypted import Cipher, Sealer, as_text, from_text, is_whole, key_id_of
from milepost.errors import EncryptedDataError, PlaintextError, TamperedError


def place_of(*parts: str) -> bytes:
    """Return a place in bytes that no other place has."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


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
    return token_of(sealer.seal(place_of("call", job_id, task), data))


def open_call(cipher: Cipher, job_id: str, task: str, token: Any) -> bytes:
    """Return what :func:`seal_call` made *token* from.

    Raises:
        EncryptedDataError: it cannot be read, or is of another job.
    """
    name = f"{job_id}: arguments"
    return cipher.open(place_of("call", job_id, task), _record(token, name), name).data


def seal_part(sealer: Sealer, task: str, data: bytes) -> str:
    """Return arguments of a signature as text."""
    return token_of(sealer.seal(place_of("part", task), data))


def open_part(cipher: Cipher, task: str, token: str) -> bytes | None:
    """Return what :func:`seal_part` made *token* from; None where it is something else.

    Raises:
        EncryptedDataError: its key is not here.
    """
    return _open_if(cipher, place_of("part", task), token)


def seal_value(sealer: Sealer, job_id: str, task: str, data: bytes) -> str:
    """Return one sensitive value among the arguments of a job as text."""
    return token_of(sealer.seal(place_of("sensitive", job_id, task), data))


def open_value(cipher: Cipher, job_id: str, task: str, token: str) -> bytes:
    """Return what :func:`seal_value` made *token* from.

    Raises:
        EncryptedDataError: it cannot be read, or is of another job.
    """
    name = f"{job_id}: sensitive value"
    return cipher.open(place_of("sensitive", job_id, task), _record(token, name), name).data


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
    place = place_of("result" if is_final else "state")
    return token_of(sealer.seal(place, whose + b"\n" + returned.data))


def open_result(cipher: Cipher, token: str, *, is_final: bool = True) -> Returned | None:
    """Return what :func:`seal_result` made *token* from; None where it is something else.

    Raises:
        EncryptedDataError: its key is not here.
    """
    data = _open_if(cipher, place_of("result" if is_final else "state"), token)
    if data is None:
        return None
    whose, _, value = data.partition(b"\n")
    job_id, task, group = json.loads(whose)
    return Returned(job_id, task, group, value)


def seal_text(sealer: Sealer | None, job_id: str, task: str, text: str) -> str:
    """Return words of an error or a reason with all that a user may have written encrypted.

    A reason without a colon is one of milepost's own; so is what follows NEEDS_KEY.
    """
    if ":" not in text or text.startswith(NEEDS_KEY):
        return text
    head = head_of(text)
    return head + seal_words(sealer, job_id, task, text[len(head) :])


def seal_words(sealer: Sealer | None, job_id: str, task: str, words: str) -> str:
    """Return words, encrypted; stars where there is nothing to encrypt them with."""
    if sealer is None or not words:
        return HIDDEN if words else ""
    data = words.encode("utf-8", "surrogatepass")
    return token_of(sealer.seal(place_of("text", job_id, task), data))


def open_text(cipher: Cipher | None, job_id: str, task: str, text: str) -> str:
    """Return the words in what :func:`seal_text` returned; stars in place of what is unreadable."""
    head, mark, _ = text.partition(MARK)
    if not mark:
        return text
    token = text[len(head) :]
    try:
        if cipher is None:
            return head + HIDDEN
        name = f"{job_id}: text"
        words = cipher.open(place_of("text", job_id, task), _record(token, name), name).data
    except EncryptedDataError:
        return head + HIDDEN
    return head + words.decode("utf-8", "surrogatepass")


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
