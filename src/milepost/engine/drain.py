"""Whether this worker is shutting down, as one byte that all its processes see.

The main process learns of a shutdown; the bodies that have to step aside run in children of it
that were forked or spawned long before. A file mapped into memory is the one thing that reaches
both, and reading it costs nothing to speak of.
"""

import mmap
import os
import tempfile
from pathlib import Path


class DrainFlag:
    """One worker's flag: set once, never cleared.

    Args:
        path: a file that :meth:`make` has made.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        with open(path, "r+b") as file:
            self._byte = mmap.mmap(file.fileno(), 1)

    @classmethod
    def make(cls) -> "DrainFlag":
        """Make a flag that is not set."""
        handle, path = tempfile.mkstemp(prefix="milepost-drain-")
        try:
            os.write(handle, b"\0")
        finally:
            os.close(handle)
        return cls(path)

    def set(self) -> None:
        """Let every process of the worker know."""
        self._byte[0] = 1

    def is_set(self) -> bool:
        """Whether the worker is shutting down."""
        return self._byte[0] != 0

    def remove(self) -> None:
        """Drop the file; whoever has opened the flag can still read it."""
        Path(self.path).unlink(missing_ok=True)


def never() -> bool:
    """Say that nobody is shutting down: outside of a worker."""
    return False
