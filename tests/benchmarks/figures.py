"""Figures, the bars they have to clear, and the table of both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEAD = ("id", "what", "measured", "raw reference", "ratio", "bar (must; stretch)", "met")


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure has to reach.

    Attributes:
        must: the bound, if there is one.
        stretch: the bound to aim for.
        at_least: the bounds are lower ones.
        of_ratio: the bounds are for the ratio, not for the figure itself.
    """

    must: float | None
    stretch: float | None = None
    at_least: bool = False
    of_ratio: bool = True

    def is_cleared(self, value: float, bound: float | None) -> bool:
        if bound is None:
            return False
        return value >= bound if self.at_least else value <= bound

    def verdict(self, value: float) -> str:
        """Return ``stretch``, ``yes`` or ``no``; ``not yet`` where only a stretch is set."""
        if self.is_cleared(value, self.stretch):
            return "stretch"
        if self.must is None:
            return "not yet"
        return "yes" if self.is_cleared(value, self.must) else "**no**"

    def __str__(self) -> str:
        sign, times = "≥" if self.at_least else "≤", "×" if self.of_ratio else ""
        bounds = (self.must, self.stretch)
        words = ["–" if bound is None else f"{sign} {number(bound)}{times}" for bound in bounds]
        return "; ".join(words[:1] if self.stretch is None else words)


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table.

    Attributes:
        id: of the bar, as in the design.
        what: what was measured.
        value: the median, in *unit*.
        unit: of the figure and of its reference.
        raw: the reference, measured in turn with it.
        raw_name: what the reference is.
        ratio: figure to reference; the median of the ratios within each round.
        bar: what it has to reach, if anything.
    """

    id: str
    what: str
    value: float | None
    unit: str = ""
    raw: float | None = None
    raw_name: str = ""
    ratio: float | None = None
    bar: Bar | None = None
    note: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the line, cell by cell."""
        measured = self.note if self.value is None else f"{number(self.value)} {self.unit}".strip()
        raw = "" if self.raw is None else f"{number(self.raw)} {self.unit}: {self.raw_name}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}×"
        bar = "" if self.bar is None else str(self.bar)
        return (self.id, self.what, measured, raw, ratio, bar, self.verdict())

    def verdict(self) -> str:
        """Return whether the bar is cleared, as a word; "" without one."""
        if self.bar is None:
            return ""
        judged = self.ratio if self.bar.of_ratio else self.value
        return "not measured" if judged is None else self.bar.verdict(judged)


def not_measured(what: str, why: str) -> Figure:
    """Return the line of something that could not be measured here."""
    return Figure("", what, None, note=f"not measured: {why}")


def number(value: float) -> str:
    """Return a number with as many digits as mean something."""
    if value == int(value) or abs(value) >= 999.5:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def table(figures: Iterable[Figure]) -> str:
    """Return figures as a Markdown table whose columns also line up as plain text."""
    rows: list[Sequence[str]] = [HEAD, *(figure.cells() for figure in figures)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    rows.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    )
