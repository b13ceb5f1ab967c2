"""Where the commands write: JSON, plain aligned text, or rich tables on a terminal."""

import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import click

from milepost import extras

Row = Sequence[str]

_SECRETS = (
    (re.compile(r"(\w://)[^/@\s]*@"), r"\1***@"),
    (re.compile(r"(?i)\b(password|passwd|secret|token)=[^&\s'\"]+"), r"\1=***"),
)
STYLES = {
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "cancelled": "magenta",
    "paused": "yellow",
    "interrupted": "yellow",
    "error": "bold red",
    "warning": "yellow",
    "note": "cyan",
}
"""The colour of a cell, by its first word."""


def clean(text: object) -> str:
    """Return a text on one line that cannot steer the terminal: stored values may be anybody's."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )


def without_secrets(text: object) -> str:
    """Return a text without the passwords that URLs in it may hold."""
    said = str(text)
    for pattern, instead in _SECRETS:
        said = pattern.sub(instead, said)
    return said


def jsonable(value: Any) -> Any:
    """Return a value as JSON has it; what JSON cannot say becomes its ``repr``."""
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else repr(value)
    if isinstance(value, dict):
        return {
            key if isinstance(key, str) else repr(key): jsonable(one) for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [jsonable(one) for one in value]
    return repr(value)


class Screen:
    """The output of one command.

    Args:
        as_json: one JSON document instead of text for people.
        no_color: no colours, whatever the terminal can do.
    """

    def __init__(self, as_json: bool, no_color: bool) -> None:
        self.as_json = as_json
        self._no_color = no_color or bool(os.environ.get("NO_COLOR"))

    @property
    def is_rich(self) -> bool:
        """Whether there is a terminal for tables and bars, and rich to draw them."""
        return (
            not self.as_json
            and sys.stdout.isatty()
            and os.environ.get("TERM", "") not in ("", "dumb")
            and extras.find("rich") is not None
        )

    def console(self) -> Any:
        """Return rich's console on this terminal."""
        return extras.load("rich.console", "rich").Console(
            no_color=self._no_color, markup=False, highlight=False, emoji=False
        )

    def say(self, document: Any, people: Callable[[], None]) -> None:
        """Say something: as JSON, or with *people*, which writes it for people."""
        if self.as_json:
            self.json(document)
        else:
            people()

    def json(self, document: Any, *, indent: int | None = 2) -> None:
        """Write one JSON document."""
        click.echo(json.dumps(jsonable(document), indent=indent, allow_nan=False))

    def line(self, text: object = "") -> None:
        """Write one line for people."""
        click.echo(clean(text))

    def complain(self, text: object) -> None:
        """Write one line to standard error."""
        click.echo(clean(" ".join(without_secrets(text).split())), err=True)

    def table(self, headers: Row, rows: Sequence[Row], numbers: Sequence[int] = ()) -> None:
        """Write rows under headers.

        Args:
            headers: the names of the columns.
            rows: their cells.
            numbers: the columns that are aligned to the right.
        """
        cells = [[clean(cell) for cell in row] for row in rows]
        if self.is_rich:
            self._rich_table(headers, cells, numbers)
        else:
            for line in aligned([list(headers), *cells], numbers):
                click.echo(line)

    def facts(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Write names with their values; empty ones are left out."""
        rows = [[name, clean(value)] for name, value in pairs if value]
        if not self.is_rich:
            for line in aligned(rows):
                click.echo(line)
            return
        grid = extras.load("rich.table", "rich").Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in rows:
            grid.add_row(self._styled(name), self._styled(value))
        self.console().print(grid)

    def _rich_table(self, headers: Row, cells: list[list[str]], numbers: Sequence[int]) -> None:
        table = extras.load("rich.table", "rich").Table(box=None, pad_edge=False)
        # A narrow terminal needs the room: what no row fills is left out here, and only here.
        shown = [n for n in range(len(headers)) if any(row[n] for row in cells) or n == 0]
        for n in shown:
            table.add_column(
                headers[n],
                justify="right" if n in numbers else "left",
                no_wrap=n == 0,
                overflow="fold",
            )
        for row in cells:
            table.add_row(*[self._styled(row[n]) for n in shown])
        self.console().print(table)

    def _styled(self, cell: str) -> Any:
        style = STYLES.get(cell.partition(" ")[0], "")
        return extras.load("rich.text", "rich").Text(cell, style=style)


def aligned(rows: Sequence[Row], numbers: Sequence[int] = ()) -> list[str]:
    """Return rows as lines whose columns stand below each other."""
    if not rows:
        return []
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if n in numbers else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
