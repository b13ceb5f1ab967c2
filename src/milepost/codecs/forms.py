"""What JSON cannot say, in JSON: the tagged forms of version 1.

A value of a type that JSON does not know is an object of one member, whose name begins with
``~``: ``{"~tuple":[1,2]}``. A dict of the user's that JSON cannot hold, or that would look
like a form, is written as pairs: ``{"~dict":[["~x",1]]}``. So ``{"~`` stands in the bytes
wherever there is a form, and, written compactly, almost nowhere else: quotes within a string
are escaped.

A form, once released, is never changed; another way to write a type gets another name.
Identity is not kept: a list that occurs twice comes back as two equal lists.
"""

import base64
import datetime as dt
import math
import pathlib
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from milepost.codecs import classes
from milepost.errors import DecodeError, EncodeError

MARK = "~"
MAX_DEPTH = 100
"""How deep values may nest. Both JSON libraries read what that comes to (three levels each)."""
MIN_INT, MAX_INT = -(2**63), 2**64 - 1
"""Integers every JSON library in use reads exactly."""

SUPPORTED = (
    "None, bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, "
    "deque, range, date and time types, Decimal, Fraction, UUID, paths, enums, dataclasses, "
    "named tuples and pydantic models"
)

_STR = frozenset({str})
_FACTORIES: dict[str, Any] = {
    kind.__name__: kind for kind in (bool, bytes, dict, float, frozenset, int, list, set, str)
} | {"tuple": tuple, "None": None}
_PATHS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (
        pathlib.PurePosixPath,
        pathlib.PureWindowsPath,
        pathlib.PosixPath,
        pathlib.WindowsPath,
    )
}


# -- to JSON ---------------------------------------------------------------------------------


def pack(value: Any, depth: int = 0) -> Any:
    """Return *value* as plain JSON values.

    Raises:
        EncodeError: its path is relative to *value*, and empty where *value* itself is meant.
    """
    packer = _PACKERS.get(type(value))
    return _record(value, depth) if packer is None else packer(value, depth)


def _as_it_is(value: Any, _: int) -> Any:
    return value


def _str(value: str, _: int) -> Any:
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        # File names that are not UTF-8 hold lone surrogates, which JSON cannot.
        return {"~str": base64.b64encode(value.encode("utf-8", "surrogatepass")).decode()}
    return value


def _int(value: int, _: int) -> Any:
    return value if MIN_INT <= value <= MAX_INT else {"~int": hex(value)}


def _float(value: float, _: int) -> Any:
    return value if math.isfinite(value) else {"~float": repr(value)}


def _list(value: Iterable[Any], depth: int) -> list[Any]:
    _check_depth(depth)
    packed: list[Any] = []
    try:
        for item in value:
            packed.append(pack(item, depth + 1))
    except EncodeError as exc:
        exc.path = f"[{len(packed)}]{exc.path}"
        raise
    return packed


def _dict(value: dict[Any, Any], depth: int) -> Any:
    if not _fits_object(value):
        return {"~dict": _pairs(value, depth)}
    _check_depth(depth)
    packed: dict[str, Any] = {}
    key = ""
    try:
        for key, item in value.items():
            packed[key] = pack(item, depth + 1)
    except EncodeError as exc:
        exc.path = _step(key) + exc.path
        raise
    return packed


def _fits_object(value: dict[Any, Any]) -> bool:
    if not _STR.issuperset(map(type, value)):
        return False
    names = "".join(value)
    if len(value) == 1 and names.startswith(MARK):
        return False
    return _str(names, 0) is names


def _pairs(value: dict[Any, Any], depth: int) -> list[Any]:
    _check_depth(depth)
    packed: list[Any] = []
    step = ""
    try:
        for key, item in value.items():
            step = f".<key {len(packed)}>"
            packed_key = pack(key, depth + 1)
            step = _step(key)
            packed.append([packed_key, pack(item, depth + 1)])
    except EncodeError as exc:
        exc.path = step + exc.path
        raise
    return packed


def _record(value: Any, depth: int) -> Any:
    kind = classes.kind_of(type(value))
    if kind is None:
        raise EncodeError("", _unsupported(value))
    name = classes.name_of(type(value))
    return {MARK + kind.tag: [name, *(pack(part, depth) for part in kind.parts(value))]}


def _check_depth(depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise EncodeError("", f"nested deeper than {MAX_DEPTH} levels, or it contains itself")


def _step(key: Any) -> str:
    if type(key) is str and len(key) <= 40:
        return f".{key}" if key.isidentifier() else f"[{key!r}]"
    if type(key) is str:
        return f"[{key[:40] + '…'!r}]"
    return f"[{key}]" if type(key) is int else f"[<{classes.type_name(type(key))}>]"


def _unsupported(value: Any) -> str:
    name = classes.type_name(type(value))
    for base in (*classes.BUILT_IN, *_PACKERS):
        if isinstance(value, base):
            return (
                f"{name} is a subclass of {base.__name__} and would come back as another type: "
                f"store a plain {base.__name__}"
            )
    return f"{name} cannot be stored: store an id or plain data in its place ({SUPPORTED})"


# -- types that are written as others -----------------------------------------------------------


def _dump_moment(value: dt.datetime | dt.time) -> Any:
    if value.fold == 0 and _is_offset(value.tzinfo):
        return value.isoformat()
    return [value.replace(tzinfo=None, fold=0).isoformat(), value.fold, _zone(value.tzinfo)]


def _load_datetime(stored: Any) -> dt.datetime:
    if type(stored) is str:
        return dt.datetime.fromisoformat(stored)
    text, fold, zone = stored
    return dt.datetime.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _load_time(stored: Any) -> dt.time:
    if type(stored) is str:
        return dt.time.fromisoformat(stored)
    text, fold, zone = stored
    return dt.time.fromisoformat(text).replace(fold=fold, tzinfo=zone)


def _is_offset(zone: dt.tzinfo | None) -> bool:
    """Return whether the ISO form says all there is to say of *zone*."""
    return zone is None or (type(zone) is dt.timezone and len(_offset_of(zone)) == 1)


def _offset_of(zone: dt.timezone) -> tuple[Any, ...]:
    found: tuple[Any, ...] = zone.__getinitargs__()  # type: ignore[attr-defined]
    return found


def _zone(zone: dt.tzinfo | None) -> dt.tzinfo | None:
    if zone is None or type(zone) in (dt.timezone, zoneinfo.ZoneInfo):
        return zone
    raise EncodeError(
        "",
        f"its time zone is a {classes.type_name(type(zone))}, which cannot be stored: use "
        "zoneinfo.ZoneInfo or datetime.timezone",
    )


def _dump_zone(value: zoneinfo.ZoneInfo) -> str:
    if value.key is None:
        raise EncodeError("", "a ZoneInfo without a key cannot be found again: use ZoneInfo(key)")
    return value.key


def _dump_defaultdict(value: defaultdict[Any, Any]) -> Any:
    factory = getattr(value.default_factory, "__name__", "None")
    if _FACTORIES.get(factory, _FACTORIES) is not value.default_factory:
        raise EncodeError(
            "", "a defaultdict is stored only with a built-in type as its factory: store a dict"
        )
    return [factory, dict(value)]


def _load_bytes(stored: Any) -> bytes:
    return base64.b64decode(stored, validate=True)


def _dump_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode()


_LEAVES: tuple[tuple[str, Any, Callable[[Any], Any], Callable[[Any], Any]], ...] = (
    ("tuple", tuple, list, tuple),
    ("set", set, list, set),
    ("frozenset", frozenset, list, frozenset),
    ("deque", deque, lambda v: [list(v), v.maxlen], lambda s: deque(s[0], s[1])),
    ("ordereddict", OrderedDict, lambda v: [[k, i] for k, i in v.items()], OrderedDict),
    ("counter", Counter, dict, Counter),
    (
        "defaultdict",
        defaultdict,
        _dump_defaultdict,
        lambda s: defaultdict(_FACTORIES[s[0]], s[1]),
    ),
    ("bytes", bytes, _dump_bytes, _load_bytes),
    ("bytearray", bytearray, _dump_bytes, lambda s: bytearray(_load_bytes(s))),
    ("complex", complex, lambda v: [v.real, v.imag], lambda s: complex(s[0], s[1])),
    ("range", range, lambda v: [v.start, v.stop, v.step], lambda s: range(*s)),
    ("decimal", Decimal, str, Decimal),
    ("fraction", Fraction, lambda v: [v.numerator, v.denominator], lambda s: Fraction(*s)),
    ("uuid", uuid.UUID, str, uuid.UUID),
    ("datetime", dt.datetime, _dump_moment, _load_datetime),
    ("date", dt.date, dt.date.isoformat, dt.date.fromisoformat),
    ("time", dt.time, _dump_moment, _load_time),
    (
        "timedelta",
        dt.timedelta,
        lambda v: [v.days, v.seconds, v.microseconds],
        lambda s: dt.timedelta(*s),
    ),
    ("timezone", dt.timezone, lambda v: list(_offset_of(v)), lambda s: dt.timezone(*s)),
    ("zone", zoneinfo.ZoneInfo, _dump_zone, zoneinfo.ZoneInfo),
)


def _packer(tag: str, dump: Callable[[Any], Any]) -> Callable[[Any, int], Any]:
    def packer(value: Any, depth: int) -> Any:
        return {tag: pack(dump(value), depth)}

    return packer


_PACKERS: dict[type, Callable[[Any, int], Any]] = {
    type(None): _as_it_is,
    bool: _as_it_is,
    str: _str,
    int: _int,
    float: _float,
    list: _list,
    dict: _dict,
    **{kind: _packer(MARK + tag, dump) for tag, kind, dump, _ in _LEAVES},
    **{kind: _packer("~path", lambda v: [type(v).__name__, str(v)]) for kind in _PATHS.values()},
}


# -- and back ------------------------------------------------------------------------------------


def unpack(value: Any) -> Any:
    """Return the value that :func:`pack` made *value* from.

    Raises:
        DecodeError: a form nobody knows, or a class that is gone.
        Exception: whatever a damaged form makes a type's constructor raise.
    """
    if type(value) is list:
        return [unpack(item) for item in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((tag, stored),) = value.items()
        if tag.startswith(MARK):
            return _reader(tag)(unpack(stored))
    return {key: unpack(item) for key, item in value.items()}


def _reader(tag: str) -> Callable[[Any], Any]:
    reader = _READERS.get(tag)
    if reader is None:
        raise DecodeError(
            f"the stored form {tag[:40]!r} is unknown here: it was written by a newer milepost, "
            "or the bytes are damaged"
        )
    return reader


def _record_reader(kind: classes.Kind) -> Callable[[Any], Any]:
    def read(stored: Any) -> Any:
        name, *parts = stored
        return kind.build(classes.find(name, kind), *parts)

    return read


_READERS: dict[str, Callable[[Any], Any]] = {
    "~str": lambda s: _load_bytes(s).decode("utf-8", "surrogatepass"),
    "~int": lambda s: int(s, 16),
    "~float": float,
    "~dict": dict,
    "~path": lambda s: _PATHS[s[0]](s[1]),
    **{MARK + tag: load for tag, _, _, load in _LEAVES},
    **{MARK + tag: _record_reader(kind) for tag, kind in classes.KINDS.items()},
}
