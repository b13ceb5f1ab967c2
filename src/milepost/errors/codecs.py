"""What does not go into bytes, or does not come back."""

from milepost.errors.root import MilepostError


class CodecError(MilepostError):
    """A value does not go into bytes, or bytes do not come back."""


class EncodeError(CodecError):
    """A value cannot be stored.

    Args:
        path: where in the value the trouble is, e.g. ``$.rows[3].owner``.
        problem: what is wrong there.
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem

    def __str__(self) -> str:
        return f"cannot store the value at {self.path}: {self.problem}"


class DecodeError(CodecError):
    """Stored bytes are not what this codec wrote, or are of a version it does not know."""
