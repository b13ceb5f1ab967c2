"""What is known after a storm, as plain values: the checker reads nothing else."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple


class Effect(NamedTuple):
    """One line that a task has left."""

    at: float
    job: str
    word: str
    fence: int
    item: str
    pid: int


class Act(NamedTuple):
    """Something that was done to the fleet, or to one job, from outside.

    ``pids`` are the processes it hit; ``until`` is when its direct consequence was over, where
    it has one: a frozen worker thawed, a server answering again, a paused job seen as paused.
    """

    at: float
    what: str
    pids: frozenset[int] = frozenset()
    job: str = ""
    until: float = 0.0


class Sample(NamedTuple):
    """A record as it was seen in passing."""

    at: float
    job: str
    status: str
    fence: int
    attempts: int
    done: int


class Sent(NamedTuple):
    """A job that was sent: how much it may redo at a time, and what it must return."""

    job: str
    items: int
    every: int
    result: int


@dataclass
class Evidence:
    """Everything that was written down."""

    sent: list[Sent]
    effects: list[Effect]
    acts: list[Act]
    samples: list[Sample]
    ends: dict[str, tuple[str, int | None]]
    """Of each job: its last status, and its result if it has one."""
    secret_places: list[str]
    """The files of servers and workers in which the word of encrypted jobs is found."""
    plain_places: list[str]
    """Those in which the word of all other jobs is found."""


class EffectLog:
    """The file that the tasks write, read on from where it was read last."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.effects: list[Effect] = []
        self.ended: set[str] = set()

    def look(self) -> list[Effect]:
        """Return all effects so far, in the order of the file."""
        if self._path.exists():
            with self._path.open() as file:
                file.seek(self._read)
                text = file.read()
            whole = text[: text.rfind("\n") + 1]
            self._read += len(whole.encode())
            for line in whole.splitlines():
                at, job, word, fence, item, pid = line.split()
                self.effects.append(Effect(float(at), job, word, int(fence), item, int(pid)))
                if word == "end":
                    self.ended.add(job)
        return self.effects
