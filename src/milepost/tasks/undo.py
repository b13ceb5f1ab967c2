"""Taking back what was begun, without hiding the error for which it is taken back."""

from collections.abc import Callable


def undo(take_back: Callable[[], object], problem: BaseException, what: str) -> None:
    """Take something back because of *problem*, which the caller raises afterwards.

    Args:
        take_back: takes it back.
        problem: gets a note where that fails.
        what: what is left then, for the note.
    """
    try:
        take_back()
    except Exception as exc:
        problem.add_note(f"{what}: {exc!r}")


RECORD_LEFT = "its record could not be taken back, so that a keeper may send the job yet"
"""What is left of a job that could not be sent."""
