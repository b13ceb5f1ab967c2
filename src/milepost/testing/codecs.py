"""The rules of :class:`milepost.codec.Codec` as tests that any codec can run.

Subclass it in a pytest suite and give it a ``codec`` fixture::

    class TestMyCodec(CodecContract):
        @pytest.fixture
        def codec(self):
            return MyCodec()
"""

import datetime as dt
import math
import pickle
import threading
import uuid
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from decimal import Decimal
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from milepost import extras
from milepost.codec import Codec
from milepost.errors import CodecError, DecodeError, EncodeError
from milepost.model import JobStatus, Progress

pytest: Any = extras.find("pytest")

SECRET = "s3cret-c0ntent"


class Text(str):
    """A subclass that a careless codec brings back as a plain str."""

    __slots__ = ()


class Unknown:
    """A class no codec can know."""

    def __init__(self, value: object = SECRET) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"Unknown({self.value!r})"


PLAIN: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 0.0, -0.0, 1.5, 1e300, 5e-324, "", "text", 'ä\x00\u2028😀\\"{'),
    *([], {}, [[]], [None, [1, {"a": [2.5, "b"]}]], {"": {"": []}}, {"a": 1, "b": [True]}),
)
"""Values that every codec has to take."""

TYPED: tuple[Any, ...] = (
    *(2**63, -(2**63) - 1, 2**64, 10**30, math.nan, math.inf, -math.inf, [math.nan, None]),
    *((), (1,), [(1, 2), [1, 2]], {"a": (1, [2])}, {1: "a", "1": "b", (2, 3): None}, {None: 1}),
    *(set(), {1, "a"}, frozenset({(1, 2)}), b"", b"\x00\xff", bytearray(b"ab"), 1 + 2j, range(3)),
    *(dt.datetime(2026, 1, 2, 3, 4, 5, 6), dt.date(2026, 1, 2), dt.time(1, 2, 3, 4)),
    *(dt.datetime(2026, 1, 2, tzinfo=dt.UTC), dt.timedelta(days=-1, microseconds=1)),
    *(Decimal("1.10"), uuid.UUID(int=7), PurePosixPath("/a/b"), PureWindowsPath("c:\\a")),
    *(JobStatus.RUNNING, [JobStatus.PENDING], Progress(1, 2), {"p": Progress(3)}),
    *(OrderedDict(a=1), defaultdict(list, a=[1]), Counter("ab"), deque([1], 3), Text("a")),
    *({Text("a"): 1}, "\ud800", {"\udfff": 1}, [1, Text("b")], threading.Lock(), print, Unknown()),
)
"""Values that a codec brings back exactly, or refuses."""


def same(one: Any, other: Any) -> bool:
    """Return whether two values are equal, types, order and NaN included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, float):
        return repr(one) == repr(other)
    if isinstance(one, Set):
        return bool(one == other) and Counter(map(type, one)) == Counter(map(type, other))
    parts, others = _parts(one), _parts(other)
    if parts is None or others is None:
        return bool(one == other)
    return len(parts) == len(others) and all(map(same, parts, others))


def _parts(value: Any) -> list[Any] | None:
    """Return what a value consists of, or None where it is one piece."""
    if isinstance(value, Mapping):
        return [*value, *value.values()]
    if isinstance(value, list | tuple | deque):
        return [*value, getattr(value, "maxlen", None)]
    if is_dataclass(value):
        return [getattr(value, field.name) for field in fields(value)]
    if hasattr(value, "__pydantic_private__"):
        state = value.__pydantic_extra__, value.__pydantic_private__
        return [vars(value), value.model_fields_set, *state]
    return None


def messages_of(error: BaseException | None) -> str:
    """Return all that could be logged of an error: its text, arguments, causes and contexts."""
    found = []
    while error is not None:
        found += [str(error), repr(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    return "\n".join(found)


class CodecContract:
    """Every rule of the contract."""

    plain: tuple[Any, ...] = PLAIN
    typed: tuple[Any, ...] = TYPED

    def test_plain_values_come_back(self, codec: Codec) -> None:
        for value in self.plain:
            assert same(codec.decode(codec.encode(value)), value), value

    def test_other_values_come_back_exactly_or_are_refused(self, codec: Codec) -> None:
        for value in self.typed:
            try:
                data = codec.encode(value)
            except EncodeError:
                continue
            assert same(codec.decode(data), value), value

    def test_large_value(self, codec: Codec) -> None:
        value = {"rows": [{"id": n, "name": "x" * 100} for n in range(5000)]}
        assert codec.decode(codec.encode(value)) == value

    def test_encoding_leaves_the_value_alone(self, codec: Codec) -> None:
        value = {"a": [1, {"b": [2]}], "~": 1}
        codec.encode(value)
        assert value == {"a": [1, {"b": [2]}], "~": 1}

    def test_what_is_decoded_is_the_callers_own(self, codec: Codec) -> None:
        data = codec.encode({"a": [1]})
        codec.decode(data)["a"].append(2)
        assert codec.decode(data) == {"a": [1]}

    def test_refusal_names_the_path(self, codec: Codec) -> None:
        with pytest.raises(EncodeError) as caught:
            codec.encode({"rows": [{}, {"owner": Unknown()}]})
        assert caught.value.path == "$.rows[1].owner"
        assert "Unknown" in caught.value.problem

    def test_refusal_tells_nothing_of_the_value(self, codec: Codec) -> None:
        for value in (
            *({"a": SECRET, "b": Unknown()}, [SECRET, Unknown()], {"a": Text(SECRET)}),
            *({"a": [SECRET, {SECRET, Unknown()}]}, [SECRET + "\ud800", Unknown()]),
        ):
            with pytest.raises(EncodeError) as caught:
                codec.encode(value)
            assert SECRET not in messages_of(caught.value)

    def test_endless_values_are_refused(self, codec: Codec) -> None:
        loop: list[Any] = []
        loop += [loop, loop]
        ring: dict[str, Any] = {"a": [{}]}
        ring["a"][0]["b"] = ring
        deep: list[Any] = []
        for _ in range(100_000):
            deep = [deep]
        for value in (loop, ring, deep, [1, (loop,)]):
            with pytest.raises(EncodeError):
                codec.encode(value)
        while deep:
            deep = deep.pop()

    def test_bytes_of_another_kind_are_refused(self, codec: Codec) -> None:
        good = codec.encode({"a": SECRET})
        for data in (
            *(b"", b"\x00", b"{}", b"null", b'{"a":1}', b"\x80\x05N.", good[:1], good[1:]),
            *(bytes([good[0] ^ 1]) + good[1:], good[:1] + bytes([good[1] ^ 64]) + good[2:]),
        ):
            self.refused(codec, data)

    def test_damaged_bytes_are_refused(self, codec: Codec) -> None:
        good = codec.encode({"a": [SECRET, 1], "b": SECRET})
        for end in range(len(good)):
            self.refused(codec, good[:end])
        self.refused(codec, good + b"x")
        self.refused(codec, good[:2] + b"[" * 50_000)

    def refused(self, codec: Codec, data: bytes) -> None:
        """Assert that *data* is refused, without a word of what is in it."""
        with pytest.raises(DecodeError) as caught:
            codec.decode(data)
        assert SECRET not in messages_of(caught.value)
        assert SECRET[:5] not in messages_of(caught.value)

    def test_errors_survive_pickle(self, codec: Codec) -> None:
        errors: list[CodecError] = []
        for act in (lambda: codec.encode([Unknown()]), lambda: codec.decode(b"")):
            with pytest.raises(CodecError) as caught:
                act()
            errors.append(caught.value)
        for error in errors:
            again = pickle.loads(pickle.dumps(error))
            assert (type(again), str(again)) == (type(error), str(error))

    def test_use_from_several_threads(self, codec: Codec) -> None:
        def many(n: int) -> bool:
            value = {"n": n, "rows": [(n, str(n))] * 10}
            return all(same(codec.decode(codec.encode(value)), value) for _ in range(100))

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(many, range(8)))
