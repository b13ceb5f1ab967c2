"""The durable task: loops, steps and state that survive ``kill -9``."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from threading import get_ident
from typing import Any, ClassVar, TypeVar

from milepost import engine
from milepost.errors import CheckpointError
from milepost.interrupts import Suspend
from milepost.model import Job, JobStatus, Progress
from milepost.runtime import runtime_for
from milepost.tasks.base import BaseTask
from milepost.tasks.current import CURRENT

T = TypeVar("T")

MESSAGE_LENGTH = 200
"""Characters of a progress message that are kept."""


class CheckpointableTask(BaseTask):
    """A durable task: killed, deployed over or retried, it goes on where it was.

    Attributes:
        state_model: a pydantic model for :attr:`state`; None: a dictionary.
    """

    abstract = True
    durable = True
    state_model: ClassVar[Any] = None

    @property
    def attempt(self) -> "engine.Attempt":
        """The attempt that is running this code.

        Raises:
            CheckpointError: no body of a durable task is running in this thread.
        """
        attempt = CURRENT.get()
        if attempt is None or attempt.thread != get_ident():
            raise CheckpointError(
                f"{self.name}: no attempt is running here. Use iterate, step and the like inside "
                "the task's body, in the thread that runs it"
            )
        return attempt

    def iterate(
        self,
        source: Iterable[T] | Callable[[Any], Iterable[T]],
        *,
        name: str | None = None,
        cursor: Callable[[T], Any] | None = None,
        key: Callable[[T], str] | None = None,
        every: "engine.Every" = None,
        total: int | None = None,
    ) -> Iterator[T]:
        """Yield the items still to do; each is recorded as done when the next is asked for.

        Args:
            source: an iterable whose order is the same in every attempt (the cursor is the
                position); with ``cursor=`` a callable that returns the items after a given
                cursor (None: from the beginning), one page at a time until a page is empty;
                with ``key=`` any iterable.
            name: name of the loop. Needed where several loops may swap places in the code.
            cursor: item → value that ``source`` can go on after.
            key: item → string that identifies it, where the order is not stable.
            every: save after so many items, or after a timedelta; whichever comes first of
                that and the task's ``checkpoint_every`` seconds. ``1``: every item.
            total: how many items there are, for the progress, where the source has no length.

        Raises:
            CheckpointError: the arguments do not fit together.
            NameInUseError: the name is in use here.
            ItemKeyError: a key is not a string, or not unique.
        """
        attempt = self.attempt
        journal = attempt.journal
        pace = engine.pace_of(every)
        _check_source(source, cursor, key)
        path = journal.scope.enter("loop", name, "loop")
        if cursor is not None:
            assert callable(source)
            return engine.CursorLoop(journal, path, pace, total).iterate(source, cursor)
        assert isinstance(source, Iterable)
        if key is not None:
            return engine.KeyLoop(journal, path, pace, total).iterate(source, key)
        return engine.PositionLoop(journal, path, pace, total).iterate(source)

    def step(
        self, function: Callable[..., Any], /, *args: Any, name: str | None = None, **kwargs: Any
    ) -> Any:
        """Call *function* once per job: its result is stored, and replayed on resume.

        Args:
            function: sync or ``async def``; for the latter, await what this returns.
            name: name of the step. Default: the function's, numbered if it repeats. Steps
                that run concurrently and are started in no fixed order need one.

        Returns:
            The result, equal to what the first call returned.

        Raises:
            StepResultError: the result cannot be stored; the step is not recorded.
            NameInUseError: the name is in use here.
        """
        attempt = self.attempt
        return engine.call_step(attempt.journal, name, function, args, kwargs)

    def map(
        self,
        function: Any,
        items: Iterable[T] | None = None,
        *,
        key: Callable[[T], str] | None = None,
        concurrency: int = 1,
        name: str | None = None,
    ) -> Any:
        """Call *function* on every item, several at once, and keep each result.

        Args:
            function: sync (runs in threads) or ``async def``; for the latter, await what
                this returns. It must not use the task's own checkpoint.
            items: all items, in an order that is stable unless ``key`` is given. Left out,
                this is Celery's own ``task.map(iterable)``, a signature.
            key: item → string that identifies it.
            concurrency: how many run at once.
            name: as for :meth:`step`.

        Returns:
            The results in the order of the items.
        """
        if items is None:
            return super().map(function)
        return engine.run_map(self.attempt.journal, name, function, items, key, concurrency)

    @property
    def state(self) -> Any:
        """The task's own state (see ``state_model``), saved with every checkpoint.

        Within a loop it is saved as it was at the end of the last item, of an inner loop, too,
        together with that item: what an item adds to it counts once, unless an inner loop, a
        :meth:`checkpoint` or a :meth:`snooze` follows in the item. Outside of loops it is saved
        as it is, and the body runs again with each attempt. It is encoded once per item, so
        keep it small.
        """
        return self.attempt.state(self.state_model)

    @property
    def progress(self) -> Progress:
        """Items done over all outermost loops, over all attempts."""
        return self.attempt.journal.progress

    @property
    def fence(self) -> int:
        """The attempt's fence: hand it to systems of your own to keep late writers out."""
        return self.attempt.fence

    @property
    def job(self) -> Job:
        """The job's record, as it was when this attempt started."""
        return self.attempt.job

    def report(
        self, message: str | None = None, *, done: int | None = None, total: int | None = None
    ) -> None:
        """Say what the task is doing and how far it is, for those who watch.

        Saved with the next checkpoint, or now if nothing was saved for a second: call it as
        often as you like. It also obeys a pause, cancel or drain then.

        Args:
            message: in words, at most 200 characters of it; ``""`` takes the last one back.
            done: items finished, where that is not counted by loops.
            total: items there are, with ``done``.

        Raises:
            CheckpointError: ``done`` or ``total`` is not a number from 0.
        """
        for name, value in (("done", done), ("total", total)):
            if value is not None and (not isinstance(value, int) or value < 0):
                raise CheckpointError(f"report({name}={value!r}): give a whole number from 0")
        words = None if message is None else str(message)[:MESSAGE_LENGTH]
        self.attempt.journal.report(words, done, total)

    def checkpoint(self) -> None:
        """Save now, and obey a pause, cancel or drain that is waiting.

        Within a loop this saves the state as it is, while the item will run again on resume.
        """
        self.attempt.journal.checkpoint()

    def snooze(self, seconds: float) -> None:
        """Save, free the worker's slot, and go on after *seconds*; the body starts over
        with everything it has recorded. This call does not return."""
        self.checkpoint()
        self.attempt.journal.stop(Suspend(JobStatus.SCHEDULED, "snoozing", delay=float(seconds)))

    def atomic(self, session: Any) -> AbstractContextManager[Any]:
        """Write this item's end in your own transaction: it is done exactly once.

        ``with self.atomic(session):`` commits the session at its end (rolls it back on an
        error), with the job's position and :attr:`state` in the same transaction. The store
        must be in the session's database.

        Args:
            session: a SQLAlchemy session or connection, or a DB-API connection.

        Raises:
            NotTransactionalError: the store is elsewhere.
            CheckpointError: this item has ended already, or is a map's. It is raised later,
                too, where the item records something or changes the state behind the block.
        """
        return self.attempt.atomic(session)

    def save_checkpoint(self, task_id: str, data: Any) -> None:
        """Save *data* as this job's explicit checkpoint, now.

        Args:
            task_id: this job's own id: only the attempt that holds the lease may write.
            data: anything the codec takes.

        Raises:
            CheckpointError: *task_id* is another job's.
        """
        attempt = self.attempt
        if task_id != attempt.job.id:
            raise CheckpointError(f"job {attempt.job.id!r} cannot save for job {task_id!r}")
        attempt.save(data)

    def load_checkpoint(self, task_id: str) -> Any:
        """Return what :meth:`save_checkpoint` saved for a job, or None.

        Raises:
            JobNotFoundError: no such job.
        """
        attempt = CURRENT.get()
        if attempt is not None and task_id == attempt.job.id:
            return attempt.saved()
        runtime = runtime_for(self)
        data = runtime.store.load(task_id).get(engine.EXPLICIT)
        return None if data is None else runtime.codec.decode(data)


def _check_source(source: Any, cursor: Any, key: Any) -> None:
    if cursor is not None and key is not None:
        raise CheckpointError("iterate(): give cursor= or key=, not both")
    if cursor is not None and not callable(source):
        raise CheckpointError(
            "iterate(): with cursor= the source must be a callable, source(after), that returns "
            f"the items after a cursor; {type(source).__name__} is not"
        )
    if cursor is None and not isinstance(source, Iterable):
        hint = ": a callable source needs cursor=" if callable(source) else ""
        raise CheckpointError(f"iterate(): {type(source).__name__} is not iterable{hint}")
