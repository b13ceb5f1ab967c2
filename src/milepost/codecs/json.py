"""Values as JSON that keeps their types."""

import json
import math
from collections.abc import Collection
from itertools import chain
from typing import Any, Protocol

from milepost import extras
from milepost.codecs.forms import MARK, MAX_DEPTH, pack, unpack
from milepost.errors import DecodeError, EncodeError

TAG, VERSION = b"J", b"1"
HEAD = TAG + VERSION

_FORM = b'{"' + MARK.encode()
_SCALARS = frozenset({type(None), bool, int, float, str})
_PLAIN = _SCALARS | {list, dict}
_TROUBLE = (
    *(TypeError, ValueError, LookupError, AttributeError),
    *(ArithmeticError, OSError, RuntimeError),
)
"""What damaged forms make the constructors of types raise."""


class JsonCodec:
    """Implements :class:`milepost.codec.Codec`: ``J1``, then JSON.

    Plain values (None, bool, int, float, str, lists, dicts with string keys) are plain JSON;
    everything else is written as :mod:`milepost.codecs.forms` says. orjson does the work
    where it is installed, the standard library where not: the form is the same, so either
    reads what the other wrote.

    No error tells more of a value than the type and the path of the part in question: values
    may be secret.

    Args:
        fast: use orjson where it is installed.
    """

    def __init__(self, *, fast: bool = True) -> None:
        orjson: Any = extras.find("orjson") if fast else None
        self._library: _Library = _StandardLibrary() if orjson is None else _Orjson(orjson)
        self._loads = self._library.loads

    def encode(self, value: Any) -> bytes:
        """Return *value* as bytes; see :meth:`milepost.codec.Codec.encode`."""
        text = self._library.dumps_plain(value)
        return HEAD + (self._encode_packed(value) if text is None else text)

    def decode(self, data: bytes) -> Any:
        """Return the value in *data*; see :meth:`milepost.codec.Codec.decode`."""
        if data[:2] != HEAD:
            raise DecodeError(_wrong_head(data))
        # Raised outside of the handler: the library's error, which would stay attached as
        # context, quotes the data.
        try:
            value = self._loads(data[2:])
            return unpack(value) if _FORM in data else value
        except _TROUBLE as exc:
            trouble = type(exc).__name__
        raise DecodeError(f"the JSON of {len(data):,} stored bytes is damaged ({trouble})")

    def _encode_packed(self, value: Any) -> bytes:
        try:
            return self._library.dumps(pack(value))
        except EncodeError as exc:
            path, problem = exc.path, exc.problem
        except RecursionError:
            path, problem = "", "nested too deep for what is left of the stack"
        raise EncodeError("$" + path, problem)


def is_plain(data: bytes) -> bool:
    """Whether a codec's bytes are a :class:`JsonCodec`'s, and say plain values only."""
    return data[:2] == HEAD and _FORM not in data


def _wrong_head(data: bytes) -> str:
    if not data:
        return f"expected bytes that begin with {HEAD!r} (JSON), found none at all"
    if data[:1] == TAG:
        return (
            f"JSON of version {data[1:2]!r}, but only {VERSION!r} is known here: was it written "
            "by a newer milepost?"
        )
    return (
        f"expected bytes that begin with {HEAD!r} (JSON), found {data[:2]!r}: does this task "
        "use another codec than it did?"
    )


class _Library(Protocol):
    """A library that writes and reads JSON."""

    def dumps_plain(self, value: Any) -> bytes | None:
        """Return *value* as JSON, or None where :func:`pack` has to look at it first."""
        ...

    def dumps(self, packed: Any) -> bytes:
        """Return what :func:`pack` returned as JSON."""
        ...

    def loads(self, data: bytes) -> Any:
        """Return the JSON values in *data*, or raise ValueError."""
        ...


class _StandardLibrary:
    """JSON by the standard library, which takes nearly anything: :func:`pack` always looks."""

    def __init__(self) -> None:
        self._encoder = json.JSONEncoder(
            ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
        )
        self._decoder = json.JSONDecoder(parse_constant=_refuse_constant)

    def dumps_plain(self, value: Any) -> bytes | None:  # noqa: ARG002
        return None

    def dumps(self, packed: Any) -> bytes:
        return self._encoder.encode(packed).encode()

    def loads(self, data: bytes) -> Any:
        return self._decoder.decode(data.decode())


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


class _Orjson:
    """JSON by orjson, which refuses much, but turns tuples into lists and NaN into null."""

    def __init__(self, orjson: Any) -> None:
        self._dumps = orjson.dumps
        self.loads = orjson.loads
        self._deep = _StandardLibrary()
        self._options = (
            orjson.OPT_PASSTHROUGH_SUBCLASS
            | orjson.OPT_PASSTHROUGH_DATACLASS
            | orjson.OPT_PASSTHROUGH_DATETIME
        )

    def dumps_plain(self, value: Any) -> bytes | None:
        # Encoding comes first, since what it took is known to end, and to have str keys.
        try:
            text: bytes = self._dumps(value, None, self._options)
        except TypeError:
            return None
        if type(value) is str or (_FORM not in text and _is_plain(value, b"null" in text)):
            return text
        return None

    def dumps(self, packed: Any) -> bytes:
        try:
            text: bytes = self._dumps(packed)
        except TypeError:
            # It goes 254 levels deep; forms can take more.
            return self._deep.dumps(packed)
        return text


def _is_plain(value: Any, nulls: bool) -> bool:
    """Return whether orjson wrote *value* faithfully; *nulls*: there is a null in the text."""
    level: Collection[Any]
    if type(value) is dict:
        level = value.values()
    else:
        level = value if type(value) is list else (value,)
    for _ in range(MAX_DEPTH):
        kinds = set(map(type, level))
        if not kinds <= _PLAIN or (nulls and float in kinds and not _all_finite(level)):
            return False
        if kinds <= _SCALARS:
            return True
        level = _next_level(level, kinds)
    return False


def _next_level(level: Collection[Any], kinds: set[type]) -> list[Any]:
    below: list[Any] = []
    if list in kinds:
        below.extend(chain.from_iterable([item for item in level if type(item) is list]))
    if dict in kinds:
        dicts = [item.values() for item in level if type(item) is dict]
        below.extend(chain.from_iterable(dicts))
    return below


def _all_finite(level: Collection[Any]) -> bool:
    return all(map(math.isfinite, [item for item in level if type(item) is float]))
