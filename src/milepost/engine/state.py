"""The task's own state: typed if it likes, saved with every checkpoint once it was touched.

What is saved is the state as of the last moment that belongs to the saved position: the end
of a loop's last item, an explicit checkpoint, or now where no loop is open. A step or an
error in the middle of an item must not save half of what the item does to the state, since
the whole item will run again. The end of an inner loop's item is such a moment as well: what
the outer item did before it is saved with it, though that will run again.
"""

from collections.abc import Mapping
from typing import Any

from milepost.engine.journal import Journal
from milepost.engine.scope import STATE
from milepost.engine.stored import misfit
from milepost.errors import CheckpointError


class State:
    """Holds the state object of one attempt.

    Attributes:
        value: what the task works with.
        noted: what of it the next checkpoint saves.
    """

    def __init__(self, journal: Journal, model: Any) -> None:
        self._journal = journal
        self._model = model
        self._last = journal.stored.take(STATE)
        self.noted = self._last
        self.value: Any = self._load()
        self._at_first = self.noted if model is None or self.noted else self._encoded()
        journal.state = self

    def _load(self) -> Any:
        data = {} if self._last is None else self._journal.stored.decode(STATE, self._last)
        model = self._model
        if model is None:
            return data
        try:
            return model.model_validate(data, by_name=True)
        except ValueError as exc:  # pydantic's ValidationError is one; its text may hold data
            if self._last is None:
                raise
            raise misfit(f"the stored state does not fit {model.__name__}") from exc

    def take_in(self) -> None:
        """Let the state as it is now be what the next checkpoint saves."""
        if self._last is not None or self._model is not None or self.value != {}:
            self.noted = self._encoded()

    def check_unchanged(self, path: str) -> None:
        """Refuse a change since the current item was recorded as done: nobody would do it again.

        Args:
            path: the item's loop.

        Raises:
            CheckpointError: there is one.
        """
        noted, recorded = self.noted, self.noted or self._at_first
        self.take_in()
        if self.noted in (noted, recorded):
            return
        decode = self._journal.codec.decode
        if recorded is None or decode(recorded) != decode(self.noted or b""):
            self.noted = noted
            raise CheckpointError(
                f"loop {path!r}: self.state was changed after atomic() had recorded the item as "
                "done: a worker that dies there would lose that. Change it before, or inside"
            )

    def _encoded(self) -> bytes:
        """Return the state; a model as what it can be made from again, nothing computed."""
        is_model = self._model is not None
        plain = self.value.model_dump(by_alias=False, round_trip=True) if is_model else self.value
        return self._journal.codec.encode(plain)

    def unsaved(self) -> Mapping[str, bytes]:
        if self.noted is None or self.noted == self._last:
            return {}
        return {STATE: self.noted}

    def saved(self) -> None:
        self._last = self.noted
