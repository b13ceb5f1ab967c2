"""What tells one item of a loop or map from another: its place in a stable order, or a key."""

from collections.abc import Container
from typing import Any

from milepost.errors import CheckpointError, ItemKeyError


def check_order(kind: str, path: str, source: Any) -> None:
    """Refuse a source whose items cannot be told apart by their place.

    Raises:
        CheckpointError: it is a set, whose order is another one in the next process.
    """
    if isinstance(source, set | frozenset):
        raise CheckpointError(
            f"{kind} {path!r}: a set has no stable order to count on: sort it, or tell its "
            "items apart with key="
        )


def check_key(loop: str, index: int, item: Any, key: Any, known: Container[str]) -> None:
    """Refuse a key that cannot identify an item.

    Raises:
        ItemKeyError: it is not a string, or known already.
    """
    if type(key) is str and key not in known:
        return
    problem = "not unique" if type(key) is str else f"{type(key).__name__}, not str"
    text = repr(item)
    short = text if len(text) <= 60 else f"{text[:57]}..."
    raise ItemKeyError(loop, index, short, f"its key is {problem}")
