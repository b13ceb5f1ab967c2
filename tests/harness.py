"""A workbench for the engine: one job, run in memory, killed at any write and carried on."""

import inspect
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from milepost.codecs.json import JsonCodec
from milepost.engine.attempt import run_attempt
from milepost.engine.endings import Ending
from milepost.engine.plan import Plan
from milepost.engine.work import Attempt
from milepost.errors import LeaseLostError, StoreUnavailableError
from milepost.model import Delivery, Job, JobStatus, Settlement, Signal
from milepost.observer import Emitter
from milepost.runtime import Runtime
from milepost.settings import Settings
from milepost.stores.memory import MemoryStore
from milepost.tasks.checkpointable import CheckpointableTask
from milepost.tasks.coroutines import drive
from milepost.tasks.current import CURRENT
from milepost.testing import FakeClock

JOB = "job"


class Killed(BaseException):
    """The process is gone: nothing after this reaches the store. A body may raise it too."""


class MortalStore:
    """A store whose process can die at a chosen write, before or after it took effect.

    Args:
        inner: the store that survives.
    """

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.revive()
        self.refuse_next: list[Exception] = []
        self.log: list[tuple[str, Any]] = []

    def revive(self, kill_at: int | None = None, after: bool = True) -> None:
        """Start a new process, to be killed at its write number *kill_at* (from 1)."""
        self._kill_at, self._after = kill_at, after
        self._dead = False
        self.writes = 0

    def kill(self) -> None:
        """Let nothing of this process reach the store any more."""
        self._dead = True

    def _write(self, verb: str, detail: Any, write: Callable[[], Any]) -> Any:
        if self._dead:
            raise Killed
        if self.refuse_next:
            raise self.refuse_next.pop(0)
        self.writes += 1
        dies = self.writes == self._kill_at
        if dies:
            self._dead = True
        if dies and not self._after:
            raise Killed
        answer = write()
        self.log.append((verb, detail))
        if dies:
            raise Killed
        return answer

    def commit(self, lease: Any, delta: Any) -> Any:
        return self._write("commit", delta, lambda: self.inner.commit(lease, delta))

    def settle(self, lease: Any, settlement: Any) -> None:
        self._write("settle", settlement, lambda: self.inner.settle(lease, settlement))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class MortalTransactionalStore(MortalStore):
    """The same for a store that can join a transaction of the user's."""

    def commit_in(self, connection: Any, lease: Any, delta: Any) -> Any:
        return self._write(
            "commit_in", delta, lambda: self.inner.commit_in(connection, lease, delta)
        )


def fail(exc: BaseException) -> Settlement:
    """Judge as the tasks floor does, without Celery's words."""
    if isinstance(exc, Exception):
        return Settlement(JobStatus.FAILED, error=f"{type(exc).__name__}: {exc}")
    return Settlement(JobStatus.INTERRUPTED, f"its process ended: {exc!r}", delay=0.0)


def retry(exc: BaseException) -> Settlement:
    """Judge every error as one that will be tried again."""
    if isinstance(exc, Exception):
        return Settlement(JobStatus.SCHEDULED, f"retry: {exc}", delay=0.0)
    return fail(exc)


@dataclass
class Bench:
    """One job of one task.

    Attributes:
        body: the task's body; called with the task, may be ``async def``.
        code: stands for the code's fingerprint; change it as a deploy would.
        base: the task's base class, and what else its class declares.
    """

    body: Callable[[Any], Any]
    every: float = 1e9
    code: str = "code-1"
    version: int = 1
    migrate: Any = None
    state_model: Any = None
    base: Any = CheckpointableTask
    declared: dict[str, Any] = field(default_factory=dict)
    max_crashes: int = 10_000
    judge: Callable[[BaseException], Settlement] = fail
    clock: FakeClock = field(default_factory=FakeClock)
    inner: Any = None
    events: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inner = self.inner or MemoryStore(self.clock)
        transactional = hasattr(self.inner, "commit_in")
        self.store = (MortalTransactionalStore if transactional else MortalStore)(self.inner)
        self.runtime = Runtime(
            Settings(), self.store, JsonCodec(), self.clock, Emitter([self.events.append])
        )
        self._processes = itertools.count(1)
        known = {"name": "task", "state_model": self.state_model}
        known["milepost_is_async"] = inspect.iscoroutinefunction(self.body)
        cls: Any = type("Task", (self.base,), {**known, **self.declared})
        self.task: Any = cls()
        self.last: Attempt | None = None

    def attempt(self, kill_at: int | None = None, *, after: bool = True) -> Ending:
        """Carry the job once, as a process of its own.

        Raises:
            Killed: at the write that was asked for.
            Exception: the body's.
        """
        self.store.revive(kill_at, after)
        plan = Plan(
            owner=f"worker:{next(self._processes)}",
            judge=self.judge,
            lease_seconds=3.0,
            checkpoint_every=self.every,
            max_crashes=self.max_crashes,
            version=self.version,
            fingerprint=self.code,
            migrate=self.migrate,
        )
        return run_attempt(self.runtime, plan, Delivery(JOB, "task"), lambda: b"", self._run)

    def _run(self, attempt: Attempt) -> Any:
        self.last = attempt
        token = CURRENT.set(attempt)
        try:
            return drive(lambda: self.body(self.task))
        except Killed:
            self.store.kill()
            raise
        finally:
            CURRENT.reset(token)

    def die(self, kill_at: int, *, after: bool = True) -> bool:
        """Run one attempt that is killed at a write; returns whether it came that far."""
        try:
            self.attempt(kill_at, after=after)
        except Killed:
            self.lapse()
            return True
        return False

    def lapse(self) -> None:
        """Let the lease of a dead process run out."""
        self.clock.advance(1000.0)

    @property
    def job(self) -> Job:
        return self.inner.get(JOB)

    @property
    def fields(self) -> dict[str, bytes]:
        """What is stored of the checkpoint, without the mark of the code that wrote it."""
        return {name: data for name, data in self.inner.load(JOB).items() if name != "v"}

    @property
    def size(self) -> int:
        return sum(len(name) + len(data) for name, data in self.inner.load(JOB).items())

    def signal(self, signal: Signal) -> None:
        self.inner.signal(JOB, signal)

    def resume(self) -> None:
        self.inner.resume(JOB)

    def take_over(self) -> None:
        """Let another worker take the job from under the running attempt."""
        self.inner.claim(Delivery(JOB, "task", number=self.job.delivery + 1), "other:1", 3.0)


def unavailable(times: int) -> Iterable[Exception]:
    return [StoreUnavailableError("memory://", "nobody home") for _ in range(times)]


def away_once(limits: Any, verb: str) -> None:
    """Let a verb of *limits* fail the next time, as it does while the store is away."""
    ask, errors = getattr(limits, verb), list(unavailable(1))

    def fail_first(*args: Any, **kwargs: Any) -> Any:
        if errors:
            raise errors.pop()
        return ask(*args, **kwargs)

    setattr(limits, verb, fail_first)


def lost(times: int = 1) -> Iterable[Exception]:
    return [LeaseLostError(JOB, 1) for _ in range(times)]


def crash_everywhere(make: Callable[[], Bench], *, after: bool, limit: int = 10_000) -> list[Bench]:
    """Run the job once for each write it makes, killed there and then carried to its end.

    Returns:
        The benches, one per write, each with its job succeeded.
    """
    benches = []
    for write in range(1, limit):
        bench = make()
        reached = bench.die(write, after=after)
        if not bench.job.status.is_terminal:
            bench.attempt()
        assert bench.job.status is JobStatus.SUCCEEDED
        benches.append(bench)
        if not reached:
            return benches
    raise AssertionError("the job makes more writes than that")
