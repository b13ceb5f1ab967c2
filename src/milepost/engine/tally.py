"""How far an attempt is: what its loops count, and what the task says beside them."""

from dataclasses import replace
from typing import Protocol

from milepost.model import Progress


class Counted(Protocol):
    """A loop, as far as its count goes.

    Attributes:
        path: where in the code it stands.
        done: items finished.
        total: items there are, where that is known.
    """

    path: str
    done: int
    total: int | None


class Tally:
    """The progress of one attempt.

    Args:
        recorded: the progress in the job's record when the attempt began.
        is_known: whether an earlier attempt has reached that.
    """

    def __init__(self, recorded: Progress, *, is_known: bool) -> None:
        self._known = recorded if is_known else Progress()
        self._last = recorded
        self._finished, self._finished_total = 0, 0
        self._said: tuple[int, int | None] | None = None
        self._message = recorded.message

    def forget(self) -> None:
        """Count anew: the checkpoint that the old count was of is gone."""
        self._known = Progress()

    def say(self, message: str | None, done: int | None, total: int | None) -> None:
        """Take in what the task says of its progress; None leaves it as it is."""
        if message is not None:
            self._message = message
        if done is not None:
            self._said = done, total

    def count_finished(self, loop: Counted) -> None:
        """Add a loop that is over, if it was an outermost one."""
        if "/" not in loop.path:
            self._finished += loop.done
            self._finished_total += loop.done if loop.total is None else loop.total

    def progress(self, outermost: Counted | None) -> Progress:
        """Return how far the attempt is.

        A resumed attempt shows what its predecessor reached until it has come that far.

        Args:
            outermost: the outermost loop that is open.
        """
        done, total = self._counted(outermost)
        if done < self._known.done:
            return replace(self._known, message=self._message)
        return Progress(done, total, self._message)

    def news(self, outermost: Counted | None) -> Progress | None:
        """Return the progress if it is not what the record says."""
        last = self._last
        if self._counted(outermost) == (last.done, last.total) and self._message == last.message:
            return None
        progress = self.progress(outermost)
        return None if progress == last else progress

    def mark_saved(self, progress: Progress | None) -> None:
        """Learn what a checkpoint has put on record."""
        if progress is not None:
            self._last = progress

    def _counted(self, outermost: Counted | None) -> tuple[int, int | None]:
        if self._said is not None:
            return self._said
        if outermost is None:
            return self._finished, self._finished_total or None
        total = None if outermost.total is None else self._finished_total + outermost.total
        return self._finished + outermost.done, total
