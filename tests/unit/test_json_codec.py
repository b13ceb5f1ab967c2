"""The JSON codec: what it keeps, what it refuses, and the bytes of version 1."""

import dataclasses
import datetime as dt
import enum
import functools
import json
import math
import os
import subprocess
import sys
import textwrap
import typing
import uuid
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath, PureWindowsPath

import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils import json as kombu_json

from milepost.codecs.forms import MAX_DEPTH
from milepost.codecs.json import JsonCodec
from milepost.errors import DecodeError, EncodeError
from milepost.testing.codecs import CodecContract, messages_of, same

FAST, PLAIN = JsonCodec(), JsonCodec(fast=False)
BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


class Colour(enum.Enum):
    RED = 1
    CRIMSON = 1  # noqa: PIE796 - an alias
    ODD = (1, "x")


class Size(enum.IntEnum):
    BIG = 3


class Word(enum.StrEnum):
    YES = "yes"


class Right(enum.Flag):
    READ = 1
    WRITE = 2


class Mode(enum.IntFlag):
    A = 1
    B = 4


@dataclasses.dataclass
class Row:
    id: int
    tags: list = dataclasses.field(default_factory=list)
    hidden: int = dataclasses.field(default=0, init=False, compare=False)

    @functools.cached_property
    def size(self):
        return len(self.tags)

    class Nested(enum.Enum):
        X = "x"


@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    at: dt.datetime
    inner: "Frozen | None" = None


@dataclasses.dataclass
class Child(Row):
    name: str = ""


class Bare(Row):
    pass


@dataclasses.dataclass
class Loud:
    x: int

    def __post_init__(self):
        raise AssertionError("not to be called")


class Pair(typing.NamedTuple):
    left: object
    right: object = None


Point = namedtuple("Point", "x y")


class Subpoint(Point):
    __slots__ = ()


class Owner(pydantic.BaseModel):
    name: str
    since: dt.date | None = None


class Order(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    id: int
    owner: Owner | None = None
    lines: tuple[Pair, ...] = ()
    aliased: int = pydantic.Field(default=0, alias="Aliased")
    _seen: set = pydantic.PrivateAttr(default_factory=set)

    @pydantic.field_validator("id")
    @classmethod
    def doubled(cls, value):
        return value * 2


class Root(pydantic.RootModel[list[int]]):
    pass


Item = typing.TypeVar("Item")


class Box(pydantic.BaseModel, typing.Generic[Item]):
    item: Item


@pydantic.dataclasses.dataclass
class Checked:
    x: int
    y: list[int] = pydantic.Field(default_factory=list)


class Text(str):
    pass


class Number(int):
    pass


class Names(list):
    pass


class Table(dict):
    pass


class PlainTuple(tuple):
    pass


class Stamp(dt.datetime):
    pass


class OwnZone(dt.tzinfo):
    def utcoffset(self, when):
        return dt.timedelta(0)


def order() -> Order:
    made = Order(id=1, owner=Owner(name="a"), lines=(Pair(1, 2),), more={"x": (1,)})
    made._seen.add(7)
    return made


class TestJsonCodec(CodecContract):
    @pytest.fixture
    def codec(self):
        return JsonCodec()


class TestWithoutOrjson(CodecContract):
    @pytest.fixture
    def codec(self):
        return JsonCodec(fast=False)


FAITHFUL = [
    *(2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**6000, math.nan, -math.inf, -0.0),
    *([1.0, None, math.nan], {"a": math.inf}, {"a": None, "b": 1.5}),
    *((), (1, (2,)), {"a": ()}, {1: {2: 3}}, {(1, "a"): {None: [True]}}, {1.5: 1, True: 2}),
    *({"~": 1}, {"~tuple": [1]}, {"~dict": [[1, 2]]}, {"~x": 1, "b": 2}, [{"a": {"~set": {}}}]),
    *('{"~tuple":[1]}', "~", {"a": '{"~'}, ['\\{"~tuple'], {'{"~': 1}),
    *("\ud800", {"\udfff": "\ud800"}, "\ud83d\ude00", {"\ud83d": 1} | {"\ude00": 2}),
    *({1, 2}, frozenset({(1, Word.YES)}), {frozenset({1}): {b"x"}}),
    *(b"", b"\x00\xff", bytearray(b"x"), 1 + 2j, complex(-0.0, math.inf), range(1, 10, 3)),
    *(dt.datetime(2026, 1, 2, 3, 4, 5, 6), dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)),
    *(dt.datetime.min, dt.datetime.max.replace(tzinfo=dt.UTC), dt.datetime(2026, 1, 1, fold=1)),
    dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=-3, microseconds=7))),
    dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(hours=1), "MEZ")),
    *(dt.date(1, 1, 1), dt.time(1, 2, 3, 4), dt.time(1, tzinfo=dt.UTC), dt.time(2, fold=1)),
    *(dt.time(1, tzinfo=BERLIN), BERLIN, dt.UTC, dt.timezone(dt.timedelta(1) / 2, "x")),
    *(dt.timedelta.min, dt.timedelta.max, dt.timedelta(microseconds=-1)),
    *(Decimal("1.10"), Decimal("-0"), Decimal("1E+999999"), Decimal("Infinity"), Fraction(-1, 3)),
    *(uuid.UUID(int=0), Path("/a/ä"), Path("."), PurePosixPath("a"), PureWindowsPath("c:/x")),
    *(Path(os.fsdecode(b"/\xff")), deque([1, (2,)], 5), deque()),
    *(OrderedDict([("b", 1), (2, (3,))]), Counter({"a": 2, (1,): -1}), defaultdict(list, a=[()])),
    *(defaultdict(None, {1: 2}), defaultdict(tuple)),
    *(Colour.RED, Colour.CRIMSON, Colour.ODD, Size.BIG, Word.YES, [Word.YES], {Word.YES: Size.BIG}),
    *(Right.READ, Right.READ | Right.WRITE, Right(0), Mode.A | Mode.B, Mode(8), Row.Nested.X),
    *(Row(1), Row(1, [(1, 2), Word.YES]), Child(1, [], "x"), {"~": Row(2)}),
    *(Frozen(dt.datetime(2026, 1, 1), Frozen(dt.datetime(2027, 1, 1))), {Frozen(dt.datetime.min)}),
    *(Pair(1, (2,)), Pair(Pair(1)), [Pair(b"x")], Point(1, 2), Subpoint(1, 2), {Point(0, 0): 1}),
    *(
        Owner(name="a"),
        Owner(name="a", since=dt.date(2026, 1, 1)),
        order(),
        Root([1, 2]),
        Checked(1, [2]),
    ),
]


@pytest.mark.parametrize("value", FAITHFUL, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("writer", [FAST, PLAIN], ids=["orjson", "json"])
@pytest.mark.parametrize("reader", [FAST, PLAIN], ids=["orjson", "json"])
def test_comes_back_as_it_was(value, writer, reader):
    for wrapped in (value, [value], {"a": value}, (value,)):
        assert same(reader.decode(writer.encode(wrapped)), wrapped)


def roundtrip(value):
    return FAST.decode(FAST.encode(value))


def test_details_that_equality_does_not_see():
    when = roundtrip(dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1))
    assert (when.tzinfo, when.fold, when.utcoffset()) == (BERLIN, 1, dt.timedelta(hours=1))
    assert roundtrip(dt.datetime(2026, 1, 1, tzinfo=dt.timezone(dt.timedelta(0), "Z"))).tzname()
    assert roundtrip(dt.datetime(2026, 1, 1, tzinfo=dt.UTC)).tzinfo is dt.UTC
    assert roundtrip(dt.datetime(2026, 1, 1, fold=1)).fold == 1
    assert roundtrip(deque([1], 5)).maxlen == 5
    assert roundtrip(defaultdict(list)).default_factory is list
    assert str(roundtrip(Decimal("1.10"))) == "1.10"
    assert roundtrip(Word.YES) is Word.YES
    assert list(roundtrip({"b": 1, "a": 2})) == ["b", "a"]


def test_dataclass_fields_outside_of_init_are_kept():
    row = Row(1, ["a"])
    row.hidden = 5
    assert row.size == 1
    back = roundtrip(row)
    assert (back.hidden, back.size) == (5, 1)


def test_neither_init_nor_validators_run():
    loud = object.__new__(Loud)
    loud.x = 1
    assert roundtrip(loud).x == 1
    assert roundtrip(Order(id=1)).id == 2


def test_model_state_is_kept():
    made, back = order(), roundtrip(order())
    assert back == made
    assert (back._seen, back.more, back.owner) == ({7}, {"x": (1,)}, Owner(name="a"))
    assert back.model_fields_set == made.model_fields_set
    assert roundtrip(Owner(name="a")).model_fields_set == {"name"}
    with pytest.raises(pydantic.ValidationError):
        back.id = 3


def test_all_that_kombu_keeps():
    for value in (
        *(uuid.uuid4(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.date(2026, 1, 1)),
        *(dt.time(1, 2), Decimal("1.5"), b"abc", b"\xff", {"a": [None, 1.5, "x"]}),
    ):
        assert same(kombu_json.loads(kombu_json.dumps(value)), value)
        assert same(roundtrip(value), value)


# -- what is refused ------------------------------------------------------------------------


def local_class():
    @dataclasses.dataclass
    class Local:
        x: int = 1

    return Local()


def stray():
    row = Row(1)
    row.other = 1
    return row


def pseudo_main():
    cls = dataclasses.make_dataclass("Script", ["x"])
    cls.__module__ = "__main__"
    return cls(1)


REFUSED = [
    (lambda: object(), "cannot be stored"),
    (lambda: print, "cannot be stored"),
    (lambda: (n for n in ()), "cannot be stored"),
    (lambda: Colour, "cannot be stored"),
    (lambda: memoryview(b""), "cannot be stored"),
    (lambda: ..., "cannot be stored"),
    (lambda: os.stat("."), "subclass of tuple"),
    (lambda: ValueError("s3cret"), "cannot be stored"),
    (lambda: Text("s3cret"), "subclass of str"),
    (lambda: Number(1), "subclass of int"),
    (lambda: Names(), "subclass of list"),
    (lambda: Table(), "subclass of dict"),
    (lambda: PlainTuple(), "subclass of tuple"),
    (lambda: Stamp(2026, 1, 1), "subclass of datetime"),
    (lambda: {Text("a"): 1}, "subclass of str"),
    (lambda: defaultdict(lambda: 1), "built-in type"),
    (lambda: dt.datetime(2026, 1, 1, tzinfo=OwnZone()), "zoneinfo"),
    (local_class, "inside a function"),
    (pseudo_main, "__main__"),
    (stray, "'other'"),
    (lambda: Bare(1), "cannot be stored"),
    (lambda: Box[int](item=1), "not found under its own name"),
    (lambda: object.__new__(Frozen), "has no value"),
    (lambda: Owner.model_construct(), "no value"),
    (lambda: Owner.model_construct(name=object()), "cannot be stored"),
]


@pytest.mark.parametrize("codec", [FAST, PLAIN], ids=["orjson", "json"])
@pytest.mark.parametrize("make, problem", REFUSED)
def test_is_refused(codec, make, problem):
    value = make()
    for wrapped in (value, [1, value], {"a": (value,)}):
        with pytest.raises(EncodeError) as caught:
            codec.encode(wrapped)
        assert problem in caught.value.problem
        assert "s3cret" not in messages_of(caught.value)


@pytest.mark.parametrize(
    "value, path",
    [
        (print, "$"),
        ([0, print], "$[1]"),
        ({"rows": [0, 1, 2, Row(1, [print])]}, "$.rows[3].tags[0]"),
        ({"two words": print}, "$['two words']"),
        ({1: {(1,): print}}, "$[1][<tuple>]"),
        ({"a": {print: 1}}, "$.a.<key 0>"),
        ((Pair(1, deque([print])),), "$[0].right[0][0]"),
        ({"x" * 100: print}, "$['" + "x" * 40 + "…']"),
        (Owner.model_construct(name=print), "$.name"),
    ],
)
def test_path(value, path):
    with pytest.raises(EncodeError) as caught:
        FAST.encode(value)
    assert caught.value.path == path


def nested(levels, wrap):
    value = []
    for _ in range(levels - 1):
        value = wrap(value)
    return value


@pytest.mark.parametrize(
    "wrap",
    [lambda v: [v], lambda v: {"a": v}, lambda v: {1: v}, lambda v: (v,), lambda v: Row(1, v)],
)
@pytest.mark.parametrize("codec", [FAST, PLAIN], ids=["orjson", "json"])
def test_depth(codec, wrap):
    levels = MAX_DEPTH
    value = nested(levels, wrap)
    data = codec.encode(value)
    assert FAST.decode(data) == PLAIN.decode(data) == value
    with pytest.raises(EncodeError, match="nested deeper"):
        codec.encode(nested(levels + 1, wrap))


def test_what_is_left_of_the_stack():
    def deeper(n):
        return deeper(n - 1) if n else FAST.encode(nested(MAX_DEPTH, lambda v: (v,)))

    depth = len(__import__("inspect").stack())
    with pytest.raises(EncodeError, match="stack"):
        deeper(sys.getrecursionlimit() - depth - 60)


# -- what is read ------------------------------------------------------------------------------


def refused(data: bytes) -> str:
    messages = set()
    for codec in (FAST, PLAIN):
        with pytest.raises(DecodeError) as caught:
            codec.decode(data)
        messages.add(str(caught.value))
    return messages.pop()


def test_head():
    assert "found b'E1'" in refused(b"E1s3cret")
    assert "found none" in refused(b"")
    assert "version b'2'" in refused(b"J2null")
    assert "version b''" in refused(b"J")
    assert "s3cret" not in refused(b'{"s3cret":1}')


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "nul", "NaN", "Infinity", '"\xff"', "[1,]", '{"~decimal":"s3cret"}'),
        *('{"~date":"s3cret"}', '{"~uuid":"s3cret"}', '{"~bytes":"s3cret"}', '{"~int":"s3"}'),
        *('{"~set":[[]]}', '{"~range":[1,2,0]}', '{"~tuple":1}', '{"~zone":"../s3cret"}'),
        *('{"~dict":[[[],1]]}', '{"~path":["Path","/"]}', '{"~path":["str","/"]}', '{"~enum":1}'),
        *('{"~defaultdict":["eval",{}]}', '{"~dataclass":[]}', '{"~dataclass":["a:b",{},{}]}'),
        *('{"~zone":"Europe"}', '{"~zone":""}', '{"~path":["WindowsPath","a"]}'),
        "[" * 1000 + '{"~tuple":[]}' + "]" * 1000,
    ],
)
def test_damage(text):
    for codec in (FAST, PLAIN):
        with pytest.raises(DecodeError) as caught:
            codec.decode(b"J1" + text.encode("latin-1"))
        assert "s3cret" not in messages_of(caught.value)


def test_form_of_a_newer_version():
    assert "'~quaternion'" in refused(b'J1{"~quaternion":[1,2,3,4]}')


HERE = __name__


@pytest.mark.parametrize(
    "form, problem",
    [
        ('{"~dataclass":["subprocess:Popen",{"args":"x"}]}', "there is none"),
        ('{"~dataclass":["os:system",{}]}', "not there any more"),
        ('{"~enum":["os:environ","HOME"]}', "not there any more"),
        ('{"~model":["builtins:object",{}]}', "there is none"),
        ('{"~model":["pydantic:BaseModel",{}]}', "there is none"),
        ('{"~namedtuple":["builtins:tuple",{}]}', "there is none"),
        ('{"~dataclass":["os:path.join",{}]}', "not there any more"),
        ('{"~dataclass":["no_such_module_:X",{}]}', "does not load"),
        ('{"~dataclass":["__main__:X",{}]}', "not the name of a class"),
        ('{"~dataclass":["..:X",{}]}', "not the name of a class"),
        ('{"~dataclass":["a b:X",{}]}', "not the name of a class"),
        ('{"~dataclass":["X",{}]}', "not the name of a class"),
        ('{"~dataclass":[7,{}]}', "not the name of a class"),
        ('{"~dataclass":["HERE:f.<locals>.X",{}]}', "not the name of a class"),
        ('{"~enum":["HERE:Row","RED"]}', "there is none"),
        ('{"~dataclass":["HERE:Gone",{}]}', "renamed or moved"),
        ('{"~enum":["HERE:Colour","BLUE"]}', "no member 'BLUE'"),
        ('{"~dataclass":["HERE:Row",{}]}', "without id"),
        ('{"~dataclass":["HERE:Row",{"id":1,"__class__":2}]}', "with __class__"),
        ('{"~model":["HERE:Owner",{}]}', "without name"),
        ('{"~model":["HERE:Owner",{"name":"a","nick":"b"}]}', "with nick"),
        ('{"~namedtuple":["HERE:Pair",{"right":1}]}', "without left"),
    ],
)
def test_stored_class_that_does_not_fit(form, problem):
    assert problem in refused(b"J1" + form.replace("HERE", HERE).encode())


def test_fields_added_since_take_their_defaults():
    def read(form):
        return FAST.decode(b"J1" + form.replace("HERE", HERE).encode())

    assert read('{"~dataclass":["HERE:Row",{"id":1}]}') == Row(1)
    assert read('{"~namedtuple":["HERE:Pair",{"left":1}]}') == Pair(1)
    added = read('{"~model":["HERE:Order",{"id":4}]}')
    assert added == Order(id=2)
    assert (added._seen, added.model_fields_set) == (set(), {"id"})


def test_alias_under_the_old_name(monkeypatch):
    data = FAST.encode([Row(1)])
    monkeypatch.setattr(sys.modules[HERE], "Row", Child)
    assert FAST.decode(data) == [Child(1)]


def test_fresh_process_finds_the_classes(tmp_path):
    (tmp_path / "shop_of_test.py").write_text(
        textwrap.dedent("""
            import dataclasses, enum, pydantic
            class Colour(enum.Enum):
                RED = 1
            @dataclasses.dataclass
            class Row:
                colour: Colour
            class Order(pydantic.BaseModel):
                row: Row
        """)
    )
    write = (
        "import shop_of_test as s; v = s.Order(row=s.Row(s.Colour.RED)); print(c.encode(v).hex())"
    )
    read = "import sys; print(c.decode(bytes.fromhex(sys.argv[1])))"

    def python(code, *args):
        start = "from milepost.codecs.json import JsonCodec; c = JsonCodec(); "
        command = [sys.executable, "-c", start + code, *args]
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        env = os.environ | {"PYTHONPATH": path}
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout

    assert python(read, python(write).strip()).startswith("row=Row(colour=<Colour.RED: 1>)")


def test_pydantic_is_not_loaded_for_plain_values():
    code = (
        "import sys, milepost; before = 'pydantic' in sys.modules;"
        "from milepost.codecs.json import JsonCodec; c = JsonCodec();"
        "c.decode(c.encode([(1, {2})])); assert ('pydantic' in sys.modules) == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- the bytes of version 1: they stay readable for ever -----------------------------------------

GOLDEN = [
    (None, "null"),
    ({"a": [1, -2.5, True, "ä"]}, '{"a":[1,-2.5,true,"ä"]}'),
    (2**64, '{"~int":"0x10000000000000000"}'),
    (math.inf, '{"~float":"inf"}'),
    ("\ud800", '{"~str":"7aCA"}'),
    ((1, (2,)), '{"~tuple":[1,{"~tuple":[2]}]}'),
    ({1: "a"}, '{"~dict":[[1,"a"]]}'),
    ({"~x": 1}, '{"~dict":[["~x",1]]}'),
    ({1}, '{"~set":[1]}'),
    (frozenset({1}), '{"~frozenset":[1]}'),
    (deque([1], 2), '{"~deque":[[1],2]}'),
    (OrderedDict(a=1), '{"~ordereddict":[["a",1]]}'),
    (Counter("a"), '{"~counter":{"a":1}}'),
    (defaultdict(list, a=[1]), '{"~defaultdict":["list",{"a":[1]}]}'),
    (b"\x00\xff", '{"~bytes":"AP8="}'),
    (bytearray(b"a"), '{"~bytearray":"YQ=="}'),
    (1 - 2j, '{"~complex":[1.0,-2.0]}'),
    (range(1, 9, 2), '{"~range":[1,9,2]}'),
    (Decimal("1.10"), '{"~decimal":"1.10"}'),
    (Fraction(1, 3), '{"~fraction":[1,3]}'),
    (uuid.UUID(int=1), '{"~uuid":"00000000-0000-0000-0000-000000000001"}'),
    (dt.datetime(2026, 1, 2, 3, 4, 5, 6), '{"~datetime":"2026-01-02T03:04:05.000006"}'),
    (dt.datetime(2026, 1, 2, tzinfo=dt.UTC), '{"~datetime":"2026-01-02T00:00:00+00:00"}'),
    (
        dt.datetime(2026, 1, 2, tzinfo=BERLIN),
        '{"~datetime":["2026-01-02T00:00:00",0,{"~zone":"Europe/Berlin"}]}',
    ),
    (dt.date(2026, 1, 2), '{"~date":"2026-01-02"}'),
    (dt.time(1, 2, fold=1), '{"~time":["01:02:00",1,null]}'),
    (dt.timedelta(days=-1, microseconds=2), '{"~timedelta":[-1,0,2]}'),
    (dt.timezone(dt.timedelta(0), "Z"), '{"~timezone":[{"~timedelta":[0,0,0]},"Z"]}'),
    (PurePosixPath("/a"), '{"~path":["PurePosixPath","/a"]}'),
    (Word.YES, '{"~enum":["HERE:Word","YES"]}'),
    (Right.READ | Right.WRITE, '{"~enum":["HERE:Right",3]}'),
    (Row.Nested.X, '{"~enum":["HERE:Row.Nested","X"]}'),
    (Row(1), '{"~dataclass":["HERE:Row",{"id":1,"tags":[],"hidden":0}]}'),
    (Pair(1), '{"~namedtuple":["HERE:Pair",{"left":1,"right":null}]}'),
    (
        Owner(name="a"),
        '{"~model":["HERE:Owner",{"name":"a","since":null},{"unset":["since"]}]}',
    ),
    (
        order(),
        '{"~model":["HERE:Order",{"id":2,"owner":{"~model":["HERE:Owner",{"name":"a","since":null}'
        ',{"unset":["since"]}]},"lines":{"~tuple":[{"~namedtuple":["HERE:Pair",{"left":1,"right":2'
        '}]}]},"aliased":0},{"unset":["aliased"],"extra":{"more":{"x":{"~tuple":[1]}}},"private":{'
        '"_seen":{"~set":[7]}}}]}',
    ),
]


@pytest.mark.parametrize("value, text", GOLDEN, ids=lambda part: type(part).__name__)
def test_bytes_of_version_1(value, text):
    data = b"J1" + text.replace("HERE", HERE).encode()
    assert FAST.encode(value) == PLAIN.encode(value) == data
    assert same(FAST.decode(data), value)
    assert same(PLAIN.decode(data), value)


# -- properties ----------------------------------------------------------------------------------

texts = st.text(st.characters(), max_size=8) | st.sampled_from(["~", "~tuple", '{"~', "null"])
zones = st.none() | st.just(dt.UTC) | st.just(BERLIN) | st.just(dt.timezone(dt.timedelta(hours=2)))
scalars = st.one_of(
    *(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=8)),
    *(st.decimals(allow_nan=False), st.fractions(), st.uuids(), st.dates(), st.timedeltas()),
    *(st.datetimes(timezones=zones), st.times(), st.complex_numbers(allow_nan=False)),
    *(st.sampled_from([*Colour, *Size, *Word, *Right, Path("a")]), st.builds(Pair, texts, texts)),
)
keys = st.one_of(
    texts, st.integers(), st.none(), st.tuples(texts), st.sampled_from(list(Word)), st.dates()
)


def containers(inner):
    return st.one_of(
        *(st.lists(inner, max_size=4), st.lists(inner, max_size=4).map(tuple)),
        *(st.dictionaries(texts, inner, max_size=4), st.dictionaries(keys, inner, max_size=4)),
        *(st.sets(keys, max_size=4), st.builds(Row, st.integers(), st.lists(inner, max_size=2))),
        *(st.builds(Pair, inner, inner), st.lists(inner, max_size=3).map(deque)),
        st.builds(lambda value: Owner.model_construct(name=value), inner),
    )


@settings(max_examples=300, deadline=None)
@given(st.recursive(scalars, containers, max_leaves=12))
def test_everything_comes_back(value):
    fast, plain = FAST.encode(value), PLAIN.encode(value)
    for data in (fast, plain):
        assert same(FAST.decode(data), value)
        assert same(PLAIN.decode(data), value)


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | texts, containers))
def test_text_is_json_in_either_library(value):
    for codec in (FAST, PLAIN):
        json.loads(codec.encode(value)[2:], parse_constant=pytest.fail)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_decode_or_are_refused(data):
    for whole in (data, b"J1" + data, b'J1{"~' + data):
        try:
            FAST.decode(whole)
        except DecodeError:
            continue
