"""The arguments of a signature that waits, encrypted as a whole: a part.

A mark goes along under a name of its own, beside the part and within it. So nobody who passes a
signature's ciphertext on as text, where text is taken, gets it opened.
"""

import secrets
from typing import Any

from milepost import codecs
from milepost.codec import Codec
from milepost.runtime import cipher_of
from milepost.tasks.sensitive import ALL_IS_ENCRYPTED, CODEC, passing

PART = "milepost_sensitive"
"""The argument by name that is the mark, for a task which takes sensitive values."""


def part_of(
    task: Any, sealer: "codecs.encrypted.Sealer", codec: Codec, args: Any, kwargs: Any
) -> tuple[str, str]:
    """Return arguments of a task's signature as one encrypted text, and the mark within.

    Raises:
        EncodeError: the codec does not take one of them.
    """
    mark = secrets.token_hex(8)
    return codecs.tokens.seal_part(sealer, task.name, codec.encode([mark, args, kwargs])), mark


def opened_part(task: Any, codec: Codec, value: Any, mark: Any) -> tuple[Any, Any] | None:
    """Return the arguments that :func:`part_of` has encrypted; None where a value is none.

    Raises:
        NoKeysError: this process has no keys.
        EncryptedDataError: not the one that is needed.
    """
    if mark is None or not codecs.tokens.is_token(value):
        return None
    data = codecs.tokens.open_part(cipher_of(task.app), task.name, value)
    if data is None:
        return None
    mark_within, args, kwargs = codec.decode(data)
    return (args, kwargs) if mark_within == mark else None


def sealed_part(task: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of a signature that waits, of a task which takes sensitive values.

    More may come to stand in front of them before it is sent, so nobody knows yet which of
    them is what.

    Raises:
        NoKeysError: there is no key to encrypt with.
        EncodeError: they cannot be encrypted.
    """
    if not (args or kwargs) or _is_part(args, kwargs):
        return args, kwargs
    args, kwargs = opened_parts(task, args, kwargs)
    with passing(ALL_IS_ENCRYPTED):
        given = [_dumped(value) for value in args]
        named = {name: _dumped(value) for name, value in kwargs.items()}
    token, mark = part_of(task, cipher_of(task.app).sealer(), CODEC, given, named)
    return (token,), {PART: mark}


def opened_parts(task: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return arguments with those that a signature has encrypted in their places.

    Raises:
        NoKeysError: this process has no keys.
        EncryptedDataError: not the one that is needed.
    """
    args, kwargs = tuple(args or ()), dict(kwargs or {})
    mark = kwargs.pop(PART, None)
    if mark is None:
        return args, kwargs
    given: list[Any] = []
    named: dict[str, Any] = {}
    for value in args:
        part = opened_part(task, CODEC, value, mark)
        given += [value] if part is None else part[0]
        named |= {} if part is None else part[1]
    return tuple(given), {**named, **kwargs}


def _is_part(args: Any, kwargs: Any) -> bool:
    return len(args) == 1 and codecs.tokens.is_token(args[0]) and set(kwargs) == {PART}


def _dumped(value: Any) -> Any:
    return value.model_dump(mode="json") if hasattr(type(value), "model_fields") else value
