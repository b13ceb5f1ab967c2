"""The names of an encrypted job's fields in the store: hashes, with a key of the job's own."""

from binascii import b2a_base64
from collections.abc import Iterable
from hashlib import blake2s
from os import urandom

from milepost.errors import ValueTooLargeError

NAMES = "~n"
"""The field that holds the key to the names of the others."""
NAME_BYTES = 12
A_VALUE = "a value of an encrypted checkpoint"


class Names:
    """The names under which one job's fields are stored.

    Args:
        place: what the place of each of its fields begins with.
        key: what they are hashed with; drawn anew for a job that has none yet.

    Attributes:
        is_saved: whether the store is known to have the key.
        plain: fields that were stored before the task was encrypted.
    """

    __slots__ = ("_hash", "is_saved", "key", "place", "plain")

    def __init__(self, place: bytes, key: bytes | None = None) -> None:
        self.place = place
        self.is_saved = key is not None
        self.key = key or urandom(32)
        self.plain: set[str] = set()
        self._hash = blake2s(key=self.key, digest_size=NAME_BYTES)

    def stored(self, name: bytes) -> bytes:
        """Return the name under which a field is stored, in the bytes of its characters."""
        hashed = self._hash.copy()
        hashed.update(name)
        return b2a_base64(hashed.digest(), newline=False)

    def all_stored(self, names: Iterable[str]) -> list[str]:
        """Return every name under which fields may be stored, also from before encryption."""
        found = []
        for name in names:
            found.append(self.stored(name.encode("utf-8", "surrogatepass")).decode())
            if name in self.plain:
                found.append(name)
        return found

    def own(self, exc: ValueTooLargeError, names: Iterable[str]) -> ValueTooLargeError:
        """Return an error of the store below with the field that is meant, if it is one of *names*.

        Whoever handles it goes by the field; its words and arguments, which may be logged, do
        not tell it.
        """
        for name in names:
            if exc.field in self.all_stored((name,)):
                told = ValueTooLargeError(exc.field, exc.size, exc.limit, A_VALUE)
                told.field = name
                return told
        return exc
