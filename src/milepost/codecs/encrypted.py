"""Encrypted records: bytes that only the key opens, and only in the place they were made for.

A record, version 1::

    magic "ME" | version | how | n | key id (n bytes) | check (4) | salt (16) | sequence (4)
    | nonce (12) | ciphertext | tag (16)

``how`` is the algorithm (high four bits; 1 = HKDF-SHA256 and AES-256-GCM) and the compression
(low four bits). The data key is ``HKDF(secret, salt, "milepost record 1" + key id)``. The check
is derived from the secret alone, so that a wrong key is told apart from damage. Everything
before the nonce, and the place, is bound to the ciphertext.

cryptography is loaded with the first record.
"""

import base64
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from os import getpid, urandom
from typing import Any

from milepost import extras
from milepost.codecs import compression
from milepost.codecs.keyring import ID, Key, KeyProvider
from milepost.errors import (
    ConfigurationError,
    KeyUnknownError,
    NoKeysError,
    PlaintextError,
    TamperedError,
    UnknownFormatError,
    ValueTooLargeError,
    WrongKeyError,
)

MAGIC, VERSION = b"ME", 1
HEAD = MAGIC + bytes([VERSION])
AES_256_GCM = 1
CHECK, SALT, SEQUENCE, NONCE, TAG = 4, 16, 4, 12, 16
AFTER_ID = CHECK + SALT + SEQUENCE
COMPRESS_FROM = 4096
"""Bytes from which compression is worth its time."""
LARGEST = 256 * 1024 * 1024
"""Bytes that one record may hold, before compression."""
RECORDS_PER_KEY = 2**24
"""Records under one data key, after which a process takes a new salt. With random 96-bit
nonces, the odds that two of so many are the same are below 2^-49."""
OPENED = 1024
"""Data keys that are kept at hand for reading."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What was in a record.

    Attributes:
        data: the content.
        key_id: the key it was encrypted with.
        sequence: the number it was given.
    """

    data: bytes
    key_id: str
    sequence: int


def is_record(data: bytes) -> bool:
    """Whether bytes claim to be an encrypted record of a version that is known here."""
    return data[:3] == HEAD


def is_whole(data: bytes) -> bool:
    """Whether bytes claim to be a record, and are long enough for the parts of one."""
    return is_record(data) and _has_all_parts(data)


def _has_all_parts(data: bytes) -> bool:
    return len(data) > 4 and len(data) >= 5 + data[4] + AFTER_ID + NONCE + TAG


def key_id_of(data: bytes, name: str) -> str:
    """Return the id of the key that a record names.

    Args:
        data: the record.
        name: what it is, for an error.

    Raises:
        PlaintextError: it is no record at all, or cut off.
        UnknownFormatError: it is of another version.
        TamperedError: no key has such an id.
    """
    if data[:2] != MAGIC or len(data) < 5:
        raise PlaintextError(name)
    if data[2] != VERSION or data[3] >> 4 != AES_256_GCM:
        raise UnknownFormatError(name)
    if not _has_all_parts(data):
        raise PlaintextError(name)
    key_id = data[5 : 5 + data[4]].decode("ascii", "replace")
    if not ID.fullmatch(key_id):  # its length was changed: these are bytes of something else
        raise TamperedError(name)
    return key_id


class Sealer:
    """Encrypts, with one tenant's current key. Safe in threads, and across forks.

    Args:
        key: the root key.
        compress: the name of a compression, or None.
    """

    __slots__ = ("_deflate", "_drawn", "_from", "_left", "_mark", "_pid", "key")

    def __init__(self, key: Key, compress: str | None) -> None:
        self.key = key
        self._mark, self._deflate = compression.compressor(compress)
        self._from = COMPRESS_FROM if self._mark else LARGEST
        self._draw()

    def _draw(self) -> None:
        """Draw a salt, and with it a data key of this process's own."""
        salt, key_id = urandom(SALT), self.key.id.encode()
        rest = bytes([len(key_id)]) + key_id + check_of(self.key) + salt
        plain, packed = (HEAD + bytes([AES_256_GCM << 4 | mark]) + rest for mark in (0, self._mark))
        # One value: a thread must never see the head of one data key with another one's.
        self._drawn = data_key(self.key, salt).encrypt, plain, packed
        self._pid, self._left = getpid(), RECORDS_PER_KEY

    def seal(self, place: bytes, data: bytes, sequence: int = 0) -> bytes:
        """Return *data* as a record.

        Args:
            place: where alone it may be opened.
            data: the content.
            sequence: a number to bind to it.

        Raises:
            ValueTooLargeError: it is larger than LARGEST.
        """
        if self._left <= 0 or self._pid != getpid():
            self._draw()
        self._left -= 1
        encrypt, head, packed = self._drawn
        if len(data) >= self._from:
            if len(data) > LARGEST:
                raise ValueTooLargeError("encrypted value", len(data), LARGEST)
            smaller = self._deflate(data)
            if len(smaller) < len(data):
                head, data = packed, smaller
        bound = head + sequence.to_bytes(SEQUENCE, "big")
        nonce = urandom(NONCE)
        sealed: bytes = bound + nonce + encrypt(nonce, data, bound + place)
        return sealed


class _Reader:
    """Decrypts what one root key encrypted; keeps the data keys it has derived."""

    __slots__ = ("_derived", "check", "key")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.check = check_of(key)
        self._derived: dict[bytes, Callable[[bytes, bytes, bytes], bytes]] = {}

    def decrypt(self, salt: bytes) -> Callable[[bytes, bytes, bytes], bytes]:
        found = self._derived.get(salt)
        if found is None:
            if len(self._derived) >= OPENED:
                self._derived = {}
            found = self._derived[salt] = data_key(self.key, salt).decrypt
        return found


class Cipher:
    """Encrypts and decrypts records, for one application.

    Args:
        keys: where keys are looked up.
        compress: what to compress large values with before they are encrypted: ``"zlib"``,
            ``"zstd"``, or None. Reading knows all of them.
    """

    def __init__(self, keys: KeyProvider, compress: str | None = "zlib") -> None:
        compression.compressor(compress)
        self.keys = keys
        self._compress = compress
        self._sealers: dict[str, Sealer] = {}
        self._readers: dict[str, _Reader] = {}

    def sealer(self, tenant: str = "") -> Sealer:
        """Return what encrypts for a tenant, with its current key.

        Raises:
            NoKeysError: it has none.
        """
        key = self.keys.current(tenant)
        if key is None:
            raise NoKeysError(f"tenant {tenant!r}" if tenant else "encryption")
        found = self._sealers.get(tenant)
        if found is None or (found.key is not key and found.key != key):
            found = self._sealers[tenant] = Sealer(key, self._compress)
        return found

    def sealer_of_job(self, tenant: str | None) -> Sealer:
        """Return what encrypts for a job's tenant; None: one whose key is gone.

        Raises:
            NoKeysError: it has none. The error does not say which tenant: it is kept with the
                job, in the clear.
        """
        if tenant is not None:
            try:
                return self.sealer(tenant)
            except NoKeysError:
                pass
        raise NoKeysError("encryption" if tenant == "" else "the tenant of this job")

    def open(self, place: bytes, data: bytes, name: str) -> Opened:
        """Return what is in a record.

        Args:
            place: where it was found; it must be what it was made for.
            data: the record.
            name: what it is, for an error: ``<job id>: <place>``.

        Raises:
            PlaintextError: it is no record.
            UnknownFormatError: it is of a version or kind unknown here.
            KeyUnknownError: its key is not there.
            WrongKeyError: its key has another secret here.
            TamperedError: it was changed, or moved from another place.
        """
        key_id = key_id_of(data, name)
        key = self.keys.get(key_id)
        if key is None:
            raise KeyUnknownError(name, key_id)
        reader = self._readers.get(key_id)
        if reader is None or (reader.key is not key and reader.key != key):
            reader = self._readers[key_id] = _Reader(key)
        at = 5 + data[4]
        if data[at : at + CHECK] != reader.check:
            raise WrongKeyError(name, key_id)
        bound_to = at + AFTER_ID
        body = bound_to + NONCE
        sequence = data[bound_to - SEQUENCE : bound_to]
        decrypt = reader.decrypt(data[at + CHECK : at + CHECK + SALT])
        # Raised outside of the handler: no library's error stays attached as context.
        try:
            value = decrypt(data[bound_to:body], data[body:], data[:bound_to] + place)
            if data[3] & 0x0F:
                value = compression.decompress(data[3] & 0x0F, value, LARGEST)
            return Opened(value, key_id, int.from_bytes(sequence, "big"))
        except ConfigurationError:
            raise
        except Exception:
            pass
        raise TamperedError(name, key_id)

    def open_all(
        self, place: bytes, records: Iterable[tuple[str, bytes]], name: str
    ) -> Iterator[tuple[str, bytes, int]]:
        """Yield field, content and sequence of many records; each is in *place* and its field.

        Most of what one attempt has written has one head, which is then looked at once.

        Raises:
            EncryptedDataError: as for :meth:`open`.
        """
        known: dict[bytes, Callable[[bytes, bytes, bytes], bytes]] = {}
        for field, data in records:
            where = place + field.encode("utf-8", "surrogatepass")
            at = 5 + CHECK + SALT + (data[4] if len(data) > 4 else 0)
            decrypt, body = known.get(data[:at]), at + SEQUENCE + NONCE
            if decrypt is not None:
                bound = data[: at + SEQUENCE]
                try:
                    value = decrypt(data[at + SEQUENCE : body], data[body:], bound + where)
                except Exception:
                    pass  # open() says what is wrong with it
                else:
                    yield field, value, int.from_bytes(bound[at:], "big")
                    continue
            opened = self.open(where, data, name)
            yield field, opened.data, opened.sequence
            if not data[3] & 0x0F:
                reader = self._readers[opened.key_id]
                known[data[:at]] = reader.decrypt(data[at - SALT : at])


def data_key(key: Key, salt: bytes) -> Any:
    """Return the AES-GCM object of a root key and a salt."""
    aead = extras.load("cryptography.hazmat.primitives.ciphers.aead", "")
    return aead.AESGCM(_derive(key, salt, b"milepost record 1" + key.id.encode(), 32))


def check_of(key: Key) -> bytes:
    """Return what tells a key from another of its id; anybody may see it in any record."""
    return _derive(key, b"", b"milepost check 1", CHECK)


def _derive(key: Key, salt: bytes, info: bytes, length: int) -> bytes:
    kdf = extras.load("cryptography.hazmat.primitives.kdf.hkdf", "")
    hashes = extras.load("cryptography.hazmat.primitives.hashes", "")
    derived: bytes = kdf.HKDF(hashes.SHA256(), length, salt or None, info).derive(key.secret)
    return derived


def as_text(record: bytes) -> str:
    """Return a record in characters that every serializer, URL and log takes."""
    return base64.urlsafe_b64encode(record).decode().rstrip("=")


def from_text(text: str) -> bytes | None:
    """Return the record that :func:`as_text` wrote, or None where there is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        return None
