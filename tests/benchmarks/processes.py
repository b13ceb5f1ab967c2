"""CPU and memory of a process and its children, as Linux tells them."""

import os
from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    return [pid, *(below for child in _children(pid) for below in family(child))]


def cpu(pid: int) -> float:
    """Return the seconds of CPU that a process and its living descendants have used."""
    return sum(_ticks(member) for member in family(pid)) / TICKS


def memory(pid: int) -> list[float]:
    """Return the megabytes in memory of a process and of each of its descendants."""
    return [_resident(member) / 1024 for member in family(pid)]


def _children(pid: int) -> Iterator[int]:
    for listing in (PROC / str(pid) / "task").glob("*/children"):
        yield from map(int, listing.read_text().split())


def _ticks(pid: int) -> int:
    # The name of the program, in parentheses, may hold blanks.
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _resident(pid: int) -> int:
    lines = (PROC / str(pid) / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
