"""What a task does wrong with its checkpoint."""

from milepost.errors.root import MilepostError


class CheckpointError(MilepostError):
    """A task uses its checkpoint in a way that could skip or repeat work."""


class NameInUseError(CheckpointError):
    """A loop or step name occurs twice in one place.

    Args:
        kind: ``"loop"``, ``"step"`` or ``"map"``.
        name: the name.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(kind, name)
        self.kind, self.name = kind, name

    def __str__(self) -> str:
        return (
            f"the {self.kind} name {self.name!r} is already in use here: a second one would read "
            "the first one's position. Give each its own name="
        )


class ItemKeyError(CheckpointError):
    """``key=`` returned something that cannot identify an item.

    Args:
        loop: the loop's or map's name.
        index: position of the item, from 0.
        item: ``repr`` of the item, shortened.
        problem: what is wrong with its key.
    """

    def __init__(self, loop: str, index: int, item: str, problem: str) -> None:
        super().__init__(loop, index, item, problem)
        self.loop, self.index, self.item, self.problem = loop, index, item, problem

    def __str__(self) -> str:
        return f"{self.loop!r}, item {self.index} ({self.item}): {self.problem}"


class StepResultError(CheckpointError):
    """A step returned something that cannot be stored; the step is not recorded.

    Args:
        step: the step's name.
        problem: what the codec said.
    """

    def __init__(self, step: str, problem: str) -> None:
        super().__init__(step, problem)
        self.step, self.problem = step, problem

    def __str__(self) -> str:
        return (
            f"step {self.step!r}: its result cannot be stored, so it is not recorded: "
            f"{self.problem}"
        )


class NotTransactionalError(CheckpointError):
    """``atomic()`` needs a store inside the user's own database.

    Args:
        store: the store in use, without its password.
        why: what does not fit.
    """

    def __init__(self, store: str, why: str) -> None:
        super().__init__(store, why)
        self.store, self.why = store, why

    def __str__(self) -> str:
        return (
            f"atomic() cannot join the store {self.store} to this transaction: {self.why}. "
            "Keep the store in the database of your session (sqlite:/// or postgresql://)"
        )
