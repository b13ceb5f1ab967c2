"""Keys: which there are, which one is current, and where they come from.

A source is text in JSON::

    {"keys": [
        {"id": "2026-11", "secret": "<32 bytes as base64>", "use": "current"},
        {"id": "2026-01", "secret": "…"},
        {"id": "acme-1", "tenant": "acme", "wrapped": "<base64>", "use": "current"}
    ]}

``use`` is ``current`` for the one key of each tenant that encrypts, and ``read`` (the default)
for those that only decrypt what they once encrypted. ``tenant`` is empty for everybody who has
no key of their own. A ``wrapped`` secret is itself encrypted, by a key management service.
"""

import base64
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from milepost.codecs.keyfile import alone, read_file, replace_file
from milepost.errors import ConfigurationError

logger = logging.getLogger("milepost")

SECRET_BYTES = 32
MAX_AGE = 30.0
"""Seconds after which a source is read again."""
ID = re.compile(r"[A-Za-z0-9._-]{1,32}")
"""What the id of a key looks like."""

Unwrap: TypeAlias = Callable[[bytes], bytes]
"""Decrypts a wrapped secret: a call to a key management service."""


@dataclass(frozen=True, slots=True)
class Key:
    """One root key.

    Attributes:
        id: its name; it stands in the clear in everything that it encrypts.
        secret: 32 random bytes.
        tenant: whose data it encrypts; empty: everybody's who has no key of their own.
        is_current: whether it encrypts, or only decrypts.
    """

    id: str
    secret: bytes = field(repr=False)
    tenant: str = ""
    is_current: bool = False

    def __post_init__(self) -> None:
        if not ID.fullmatch(self.id):
            raise ConfigurationError(
                f"key id {self.id!r}: 1 to 32 letters, digits, dots, dashes or underscores"
            )
        if len(self.secret) != SECRET_BYTES:
            raise ConfigurationError(
                f"key {self.id!r}: its secret has {len(self.secret)} bytes, it must have "
                f"{SECRET_BYTES}: make one with `celery -A proj jobs keys generate`"
            )


@runtime_checkable
class KeyProvider(Protocol):
    """Where keys are looked up. Asked often, from several threads: it must answer from memory."""

    def current(self, tenant: str = "") -> Key | None:
        """Return the key that encrypts for a tenant, or None where there is none.

        A tenant without keys of its own has none: what belongs to it is never encrypted with
        a key that outlives its destruction.
        """
        ...

    def get(self, key_id: str) -> Key | None:
        """Return a key, or None where it is unknown: not yet here, or destroyed."""
        ...

    def all(self) -> Sequence[Key]:
        """Return every key there is."""
        ...


class Keyring:
    """Keys in memory.

    Args:
        keys: all of them.

    Raises:
        ConfigurationError: two keys of one id, or two current ones of one tenant.
    """

    def __init__(self, keys: Sequence[Key]) -> None:
        self._keys = tuple(keys)
        self._by_id = {key.id: key for key in keys}
        self._current = {key.tenant: key for key in keys if key.is_current}
        if len(self._by_id) < len(keys):
            raise ConfigurationError("the keyring has two keys of one id")
        if len(self._current) < sum(key.is_current for key in keys):
            raise ConfigurationError("the keyring has two current keys of one tenant")

    def current(self, tenant: str = "") -> Key | None:
        """Return the key that encrypts for a tenant; see :class:`KeyProvider`."""
        return self._current.get(tenant)

    def get(self, key_id: str) -> Key | None:
        """Return a key, or None."""
        return self._by_id.get(key_id)

    def all(self) -> Sequence[Key]:
        """Return every key, in the order of the source."""
        return self._keys


class SourcedKeys:
    """Keys read from a source, and read again when they are MAX_AGE old.

    So a key that is added or destroyed takes effect in running workers too. Should the source
    fail then, the keys that were read last stay in use.

    Args:
        read: returns the source's text.
        name: the source in words.
        unwrap: decrypts wrapped secrets; asked once for each, and remembered.
    """

    def __init__(self, read: Callable[[], str], name: str, unwrap: Unwrap | None = None) -> None:
        self.name = name
        self._read = read
        self._unwrapped: dict[str, bytes] = {}
        self._unwrap = unwrap
        self._keyring: Keyring | None = None
        self._read_at = 0.0

    def current(self, tenant: str = "") -> Key | None:
        """Return the key that encrypts for a tenant; see :class:`KeyProvider`."""
        return self._fresh().current(tenant)

    def get(self, key_id: str) -> Key | None:
        """Return a key, or None."""
        return self._fresh().get(key_id)

    def all(self) -> Sequence[Key]:
        """Return every key, in the order of the source."""
        return self._fresh().all()

    def reread(self) -> None:
        """Read the source now.

        Raises:
            ConfigurationError: it cannot be read.
        """
        self._read_at = time.monotonic()
        self._keyring = Keyring(parse(self._text(), self.name, self._unwrap_once))

    def _text(self) -> str:
        try:
            return self._read()
        except ConfigurationError:
            raise
        except Exception as exc:  # the callable is somebody else's, and so are its words
            problem = f"{self.name}: it cannot be read: {type(exc).__name__}"
        raise ConfigurationError(problem)  # out of the handler: no word of it stays as context

    def _fresh(self) -> Keyring:
        if self._keyring is None or time.monotonic() - self._read_at > MAX_AGE:
            try:
                self.reread()
            except ConfigurationError as exc:
                if self._keyring is None:
                    raise
                logger.warning("%s; the keys read before stay in use", exc)
        assert self._keyring is not None
        return self._keyring

    def _unwrap_once(self, wrapped: bytes) -> bytes:
        if self._unwrap is None:
            raise ConfigurationError(
                f"{self.name} has wrapped keys: open it with open_keys(source, unwrap=...)"
            )
        name = wrapped.hex()
        if name not in self._unwrapped:
            self._unwrapped[name] = self._unwrap(wrapped)
        return self._unwrapped[name]


Source: TypeAlias = str | Callable[[], str] | KeyProvider
"""``"file:/path"``, ``"env:NAME"``, a callable that returns the text, or keys themselves."""


def open_keys(source: Source, *, unwrap: Unwrap | None = None) -> KeyProvider:
    """Open a source of keys. It is read on first use.

    Args:
        source: see :data:`Source`.
        unwrap: decrypts the secrets of keys that have ``wrapped`` in place of ``secret``.

    Raises:
        ConfigurationError: no such kind of source.
    """
    if isinstance(source, KeyProvider):
        return source
    if callable(source):
        return SourcedKeys(source, "the callable that was given for keys", unwrap)
    kind, _, rest = str(source).partition(":")
    path = path_of(source)
    if path is not None and rest:
        return SourcedKeys(lambda: read_file(path), f"key file {path}", unwrap)
    if kind == "env" and rest:
        return SourcedKeys(lambda: _from_environment(rest), f"variable {rest}", unwrap)
    # Not the whole of it: somebody may have put a secret there.
    raise ConfigurationError(
        f"keys: no source of the kind {kind[:8]!r}: give 'file:/path', 'env:NAME' or a callable"
    )


def path_of(source: object) -> str | None:
    """Return the path of a source that is a file, else None."""
    kind, _, rest = source.partition(":") if isinstance(source, str) else ("", "", "")
    return rest.removeprefix("//") if kind == "file" else None


def parse(text: str, name: str, unwrap: Unwrap) -> list[Key]:
    """Return the keys in a source's text.

    Raises:
        ConfigurationError: it is not as the head of this module says. The message tells
            nothing of the text but names and ids.
    """
    return [_key(entry, name, unwrap) for entry in entries_of(text, name)]


def entries_of(text: str, name: str) -> list[dict[str, Any]]:
    """Return the entries of a source's text as they stand there.

    Raises:
        ConfigurationError: as for :func:`parse`.
    """
    try:
        document = json.loads(text)
    except (TypeError, ValueError):
        document = None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError(f'{name}: expected JSON, {{"keys": [{{"id": …}}, …]}}')
    return entries


def _key(entry: Mapping[str, Any], name: str, unwrap: Unwrap) -> Key:
    key_id, use, tenant = entry.get("id"), entry.get("use", "read"), entry.get("tenant", "")
    if not isinstance(key_id, str):
        raise ConfigurationError(f"{name}: a key without an id")
    if use not in ("current", "read"):
        raise ConfigurationError(f"{name}, key {key_id!r}: its use must be 'current' or 'read'")
    if not isinstance(tenant, str):
        problem = f"its tenant is {type(tenant).__name__}: give a text, or leave it out"
        raise ConfigurationError(f"{name}, key {key_id!r}: {problem}")
    unknown = sorted(set(entry) - {"id", "secret", "wrapped", "tenant", "use"})
    if unknown or ("secret" in entry) == ("wrapped" in entry):
        problem = f"unknown member {unknown[0]!r}" if unknown else "give one of secret and wrapped"
        raise ConfigurationError(f"{name}, key {key_id!r}: {problem}")
    try:
        data = base64.b64decode(entry.get("secret") or entry.get("wrapped") or "", validate=True)
    except (ValueError, TypeError):
        raise ConfigurationError(f"{name}, key {key_id!r}: its secret is no base64") from None
    secret = data if "secret" in entry else _unwrapped(data, f"{name}, key {key_id!r}", unwrap)
    return Key(key_id, secret, tenant, use == "current")


def _unwrapped(data: bytes, name: str, unwrap: Unwrap) -> bytes:
    try:
        return unwrap(data)
    except ConfigurationError:
        raise
    except Exception as exc:  # the service's client is somebody else's, and so are its words
        problem = f"{name}: its secret cannot be unwrapped: {type(exc).__name__}"
    raise ConfigurationError(problem)  # out of the handler: no word of it stays as context


def _from_environment(name: str) -> str:
    text = os.environ.get(name)
    if text is None:
        raise ConfigurationError(f"keys: the environment variable {name} is not set")
    return text


def new_entry(key_id: str, tenant: str = "", *, current: bool = False) -> dict[str, str]:
    """Return the entry of a new key, as a source has it."""
    entry = {"id": key_id, "secret": base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}
    if tenant:
        entry["tenant"] = tenant
    entry["use"] = "current" if current else "read"
    return entry


def add_to_file(path: str, entry: Mapping[str, str]) -> None:
    """Add a key to a key file, in one step; a file that is not there yet is made.

    A current key takes the place of the one that was current before, which from then on
    only decrypts. Who may read the file stays as it is, and two at once lose no key.

    Raises:
        ConfigurationError: the file cannot be read or written, or has a key of that id.
    """
    with alone(path) as real:
        text = read_file(real) if os.path.exists(real) else '{"keys": []}'
        replace_file(real, _with_entry(entries_of(text, f"key file {path}"), entry, path))


def _with_entry(entries: Sequence[Mapping[str, Any]], entry: Mapping[str, str], path: str) -> str:
    """Return the text of a source with one more entry."""
    if any(other.get("id") == entry["id"] for other in entries):
        raise ConfigurationError(f"key file {path}: it has a key {entry['id']!r} already")
    if entry["use"] == "current":
        entries = [
            {**other, "use": "read"}
            if other.get("tenant", "") == entry.get("tenant", "")
            else other
            for other in entries
        ]
    return json.dumps({"keys": [*entries, dict(entry)]}, indent=2) + "\n"
