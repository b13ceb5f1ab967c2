"""What really ran: one line for each item and each end, in whichever process and system.

A line is one append, so that lines never mix: ``<job type> <unit> <item> <system>``.
"""

import os
from collections import Counter
from pathlib import Path

DONE = "done"


def note(folder: str | Path, job_type: str, unit: object, item: object, system: str) -> None:
    """Append a line."""
    line = f"{job_type} {unit} {item} {system}\n".encode()
    file = os.open(Path(folder) / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def ends(folder: str | Path) -> Counter[tuple[str, str]]:
    """Return how often each job came to its end."""
    return Counter((line[0], line[1]) for line in _lines(folder) if line[2] == DONE)


def items(folder: str | Path) -> Counter[tuple[str, str, str]]:
    """Return how often each item of each job was done."""
    return Counter((line[0], line[1], line[2]) for line in _lines(folder) if line[2] != DONE)


def systems(folder: str | Path, job_type: str, unit: object) -> set[str]:
    """Return which systems worked at a job."""
    return {line[3] for line in _lines(folder) if line[:2] == [job_type, str(unit)]}


def _lines(folder: str | Path) -> list[list[str]]:
    try:
        return [line.split() for line in (Path(folder) / "effects").read_text().splitlines()]
    except FileNotFoundError:
        return []
