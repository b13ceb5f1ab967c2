"""Shadow runs: what Celery made of a job that the legacy system has done, compared and noted.

A shadow's record is there only until it was compared. The counts and the last ids that went
into them are written together, and the records are deleted after that; so a comparer that dies
in between counts nothing twice.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from milepost.ciphertext import HIDDEN, holds_any
from milepost.documents import Documents
from milepost.errors import InvalidTransitionError, JobNotFoundError
from milepost.events import ShadowCompared
from milepost.jobs.protocol import Answering, JobManager
from milepost.jobs.report import JobReport
from milepost.model import Job, JobStatus
from milepost.query import Query, pages
from milepost.routing import shared
from milepost.routing.modes import ROUTE
from milepost.runtime import Runtime, runtime_for
from milepost.tasks.carrying import recorded_value, takes_plaintext
from milepost.tasks.discreet import told

logger = logging.getLogger("milepost")

DOCUMENTS = "parity/"
OWNER = "shadow:"
"""Whose jobs shadow runs are, with the job type behind it."""
BATCH = 100
REMEMBERED = 3 * BATCH
"""Ids that are kept of shadow runs that were counted."""
EXAMPLES = 20
"""Differences that are kept in full."""
LENGTH = 300
"""Characters of a difference that are kept."""
ENDED = frozenset(status for status in JobStatus if status.is_terminal)

Compare: TypeAlias = Callable[[Any, Any], str | None]
"""Takes the results of the legacy system and of Celery; says what differs, None: nothing."""


@dataclass(frozen=True, slots=True)
class Parity:
    """How shadow runs compare with what they are shadows of.

    Attributes:
        same: how many came to the same.
        different: how many did not.
        unknown: how many could not be compared: one of the two was cancelled, or the legacy
            system has no result.
        examples: the latest differences: ``job``, ``shadow`` and ``difference``.
    """

    same: int = 0
    different: int = 0
    unknown: int = 0
    examples: tuple[Mapping[str, str], ...] = ()

    @property
    def rate(self) -> float | None:
        """Return which part came to the same, between 0 and 1; None before the first."""
        compared = self.same + self.different
        return self.same / compared if compared else None

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**asdict(self), "rate": self.rate}


@dataclass(frozen=True, slots=True)
class _Compared:
    """What came of one comparison; ``difference`` is None where both came to the same."""

    job: str
    shadow: str
    outcome: str
    difference: str | None = None


def parity_of(documents: Documents, job_type: str) -> Parity:
    """Return how the shadow runs of a job type have compared so far."""
    said = shared.read(documents, DOCUMENTS + job_type)
    counts = {name: said.get(name, 0) for name in ("same", "different", "unknown")}
    return Parity(**counts, examples=tuple(said.get("examples", ())))


def differ(legacy: Any, celery: Any) -> str | None:
    """Compare two results as they are."""
    return None if legacy == celery else f"legacy {legacy!r}, Celery {celery!r}"[:LENGTH]


class Comparer:
    """Compares shadow runs that have ended with the jobs they are shadows of.

    Args:
        app: the Celery app.
        runtime: gives the application's runtime.
        legacy: the other system's manager; without the verb ``result`` nothing compares.
        compare: says what differs.
    """

    def __init__(
        self,
        app: Any,
        runtime: Callable[[], Runtime],
        legacy: JobManager | None,
        compare: Compare = differ,
    ) -> None:
        self._app, self._provide, self._compare = app, runtime, compare
        self._legacy: Any = legacy
        self._answers = isinstance(legacy, Answering)

    def compare(self, job_type: str) -> int:
        """Compare all shadow runs of a job type that can be; return how many were done.

        Those whose original has not ended yet, or cannot be asked for, are left for later.
        """
        store, owner = self._provide().store, f"{OWNER}{job_type}"
        found = pages(store.find, Query(ENDED, None, owner, None, BATCH))
        return sum(self._take(job_type, page.jobs) for page in found)

    def _take(self, job_type: str, shadows: Sequence[Job]) -> int:
        """Compare a batch of shadows, and forget those that are done."""
        compared = [one for one in map(self._look_at, shadows) if one is not None]
        if not compared:
            return 0
        runtime = self._provide()
        news = self._note(runtime.store.documents, job_type, compared)
        for one in compared:
            runtime.store.delete(one.shadow)
        for one in news:
            runtime.emit(ShadowCompared(one.job, one.shadow, job_type, one.difference))
        return len(compared)

    def _look_at(self, shadow: Job) -> _Compared | None:
        """Compare one shadow; None where that is to be tried again later."""
        original = str(shadow.metadata[ROUTE]["shadow_of"])
        try:
            return self._held_to(original, shadow)
        except Exception as exc:  # of the host's own code, too: the others are to be compared
            why = told(self._app, shadow.task, f"{type(exc).__name__}: {exc}")
            logger.warning("job %s: its shadow cannot be compared yet: %s", original, why)
            return None

    def _held_to(self, original: str, shadow: Job) -> _Compared | None:
        unknown = _Compared(original, shadow.id, "unknown")
        legacy: JobManager | None = self._legacy
        if legacy is None or not self._answers or shadow.status is JobStatus.CANCELLED:
            return unknown
        try:
            report = legacy.get_job_status(original)
            if not report.status.is_terminal:
                return None
            if report.status is JobStatus.CANCELLED:
                return unknown
            theirs = self._result_there(original, report)
        except (JobNotFoundError, InvalidTransitionError):
            return unknown
        difference = self._difference(theirs, self._result_here(shadow))
        if difference is None:
            return _Compared(original, shadow.id, "same")
        said = HIDDEN if holds_any(shadow.message) else difference[:LENGTH]
        return _Compared(original, shadow.id, "different", said)

    def _difference(self, theirs: Any, ours: Any) -> str | None:
        failed = [isinstance(one, _Failed) for one in (theirs, ours)]
        if all(failed):
            return None
        return differ(theirs, ours) if any(failed) else self._compare(theirs, ours)

    def _result_there(self, original: str, report: JobReport) -> Any:
        if report.status is JobStatus.FAILED:
            return _Failed(report.error or "failed")
        return self._legacy.result(original)

    def _result_here(self, shadow: Job) -> Any:
        if shadow.status is JobStatus.FAILED:
            return _Failed(shadow.error or shadow.reason or "failed")
        task = self._app.tasks.get(shadow.task)
        runtime = self._provide() if task is None else runtime_for(task)
        return recorded_value(runtime, shadow, takes_plaintext=takes_plaintext(task))

    @staticmethod
    def _note(
        documents: Documents, job_type: str, compared: Sequence[_Compared]
    ) -> Sequence[_Compared]:
        """Add to the counts what is not in them yet; return that."""
        news: list[_Compared] = []

        def edit(said: dict[str, Any]) -> dict[str, Any]:
            last = set(said.get("last", ()))
            news[:] = [one for one in compared if one.shadow not in last]
            after = {**said, "last": [*said.get("last", ()), *(one.shadow for one in news)]}
            after["last"] = after["last"][-REMEMBERED:]
            for one in news:
                after[one.outcome] = after.get(one.outcome, 0) + 1
            different = [
                {"job": one.job, "shadow": one.shadow, "difference": one.difference}
                for one in news
                if one.difference is not None
            ]
            after["examples"] = [*said.get("examples", ()), *different][-EXAMPLES:]
            return after

        shared.change(documents, DOCUMENTS + job_type, edit)
        return news


@dataclass(frozen=True, slots=True)
class _Failed:
    """Stands for the result of a job that has none."""

    why: str
