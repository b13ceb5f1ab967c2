"""The six kinds of work of a product that tests data: plain functions, no Celery in them.

Each is cut into items that are done one after another; what came of them is put together at the
end. So whoever does a job can stop between two items, and somebody else can go on.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from statistics import mean, median
from typing import Any, NamedTuple

import flights

Payload = Mapping[str, Any]


class Work(NamedTuple):
    """One kind of work.

    Attributes:
        items: what there is to do, in order.
        do: does one item; what it returns is JSON.
        combine: makes the result of what came of all items.
    """

    items: Callable[[Payload], list[Any]]
    do: Callable[[Payload, Any], Any]
    combine: Callable[[Payload, list[Any]], Any]


def slices(payload: Payload) -> list[list[int]]:
    """Return parts of the rows, as many as the payload says."""
    size = max(flights.ROWS // payload.get("slices", 2), 1)
    return [[at, min(at + size, flights.ROWS)] for at in range(0, flights.ROWS, size)]


# -- rule generation -------------------------------------------------------------------------


def profile(payload: Payload, part: list[int]) -> dict[str, Any]:
    """Say what a part of a column looks like."""
    found = [value for value in flights.values(payload["column"], *part) if value is not None]
    numbers = [float(value) for value in found if re.fullmatch(r"-?\d+(\.\d+)?", value)]
    return {
        "rows": part[1] - part[0],
        "nulls": part[1] - part[0] - len(found),
        "values": sorted(set(found))[:50],
        "low": min(numbers) if len(numbers) == len(found) and numbers else None,
        "high": max(numbers) if len(numbers) == len(found) and numbers else None,
    }


def write_rules(payload: Payload, parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Let the model write rules that fit what was found."""
    prompt = {"column": payload["column"], "profiles": parts}
    return list(json.loads(ask_model(json.dumps(prompt))))


def ask_model(prompt: str) -> str:
    """Stand in for a language model: answers offline, by a few lines of logic, at no cost.

    A host calls its provider here. Nothing else in this example depends on how the answer came
    about.
    """
    asked = json.loads(prompt)
    parts = asked["profiles"]
    rules: list[dict[str, Any]] = []
    if not any(part["nulls"] for part in parts):
        rules.append({"column": asked["column"], "rule": "not_null"})
    lows = [part["low"] for part in parts if part["low"] is not None]
    highs = [part["high"] for part in parts if part["high"] is not None]
    if len(lows) == len(parts):
        limits = {"low": min(lows), "high": max(highs)}
        rules.append({"column": asked["column"], "rule": "between", **limits})
    else:
        seen = sorted({value for part in parts for value in part["values"]})
        if len(seen) <= 50:
            rules.append({"column": asked["column"], "rule": "one_of", "values": seen})
    return json.dumps(rules)


# -- rule execution --------------------------------------------------------------------------


def check(payload: Payload, part: list[int]) -> int:
    """Count the rows of a part that break a rule: a number within limits."""
    low, high = payload.get("low", 0.0), payload.get("high", 1000.0)
    found = flights.values(payload["column"], *part)
    return sum(value is None or not low <= float(value) <= high for value in found)


# -- attribute mapping -----------------------------------------------------------------------

TARGET = ("flight_number", "departure_delay", "arrival_delay", "origin_airport", "tail_number")


def likeness(_: Payload, target: str) -> list[Any]:
    """Find the column whose name and values are most like a target attribute's."""
    scored = [(_grams(target, column), column) for column in flights.columns()]
    score, column = max(scored)
    return [target, column, round(score, 3)]


def _grams(one: str, other: str) -> float:
    def grams(name: str) -> Counter[str]:
        padded = f" {name.replace('_', ' ')} "
        return Counter(padded[at : at + 2] for at in range(len(padded) - 1))

    a, b = grams(one), grams(other)
    return 2 * (a & b).total() / (a.total() + b.total())


# -- scoping recommendations -----------------------------------------------------------------


def weigh(_: Payload, column: str) -> list[Any]:
    """Say how much a column deserves to be tested: gaps count, and variety does."""
    found = flights.values(column)
    gaps = found.count(None) / len(found)
    variety = len(set(found)) / len(found)
    return [column, round(gaps + variety * (1 - variety), 4)]


# -- intelligent sampling --------------------------------------------------------------------


def pick(payload: Payload, part: list[int]) -> list[list[Any]]:
    """Take a share of each carrier's flights, the same ones whoever takes them."""
    picked = []
    for at, row in enumerate(flights.rows()[part[0] : part[1]], part[0]):
        digest = hashlib.sha256(f"{payload.get('seed', 0)}:{at}".encode()).digest()
        if digest[0] < 256 * payload.get("share", 0.05):
            picked.append([row["carrier"], at])
    return picked


def stratified(_: Payload, parts: list[list[list[Any]]]) -> dict[str, Any]:
    """Put the sample together, by carrier."""
    counts = Counter(carrier for part in parts for carrier, _ in part)
    return {"size": counts.total(), "by_carrier": dict(sorted(counts.items()))}


# -- test execution --------------------------------------------------------------------------


def run_case(payload: Payload, origin: str) -> list[Any]:
    """Test one statement: flights that leave late arrive late."""
    late = [
        float(row["arr_delay"] or 0)
        for row in flights.rows()
        if row["origin"] == origin and float(row["dep_delay"] or 0) > payload.get("limit", 30)
    ]
    return [origin, len(late), round(mean(late), 2) if late else None, median(late or [0]) > 0]


WORK = {
    "rule_generation": Work(slices, profile, write_rules),
    "rule_execution": Work(slices, check, lambda _, parts: sum(parts)),
    "attribute_mapping": Work(lambda _: list(TARGET), likeness, lambda _, parts: parts),
    "scoping_recommendations": Work(
        lambda _: list(flights.columns()[:6]),
        weigh,
        lambda _, parts: sorted(parts, key=lambda part: -part[1])[:3],
    ),
    "intelligent_sampling": Work(slices, pick, stratified),
    "test_execution": Work(lambda _: ["EWR", "JFK", "LGA"], run_case, lambda _, parts: parts),
}


def result_of(job_type: str, payload: Payload) -> Any:
    """Do a job in one go, for comparison."""
    work = WORK[job_type]
    parts = [work.do(payload, item) for item in work.items(payload)]
    return json.loads(json.dumps(work.combine(payload, parts)))
