"""How far the move to Celery is: the state of each job type, who brought it there, and when."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from milepost.documents import Document
from milepost.errors import ConfigurationError
from milepost.jobs.gate import Gate
from milepost.jobs.protocol import Answering, Counting, Counts, JobManager
from milepost.routing import shared
from milepost.routing.consumers import Consumers
from milepost.routing.flags import FeatureFlags
from milepost.routing.modes import Engine, Mode, celery_flag, mode_of, shadow_flag
from milepost.routing.outcomes import counts_of
from milepost.routing.rules import Rule
from milepost.routing.shadows import parity_of
from milepost.routing.standing import STATE_OF, MigrationStatus, Move, State, TypeStatus
from milepost.runtime import Runtime
from milepost.security.permissions import Action, Who

DOCUMENTS = "migration/"
ROLLBACKS = "rollback/"
"""Where rollbacks are that were begun and not ended."""
KEPT = 100
"""Entries of a job type's history that are kept."""


class MigrationTracker:
    """Keeps the state of each job type, and its history, in the store.

    What decides where jobs go are the flags; this says how it came to that.

    Args:
        app: the Celery app.
        runtime: gives the application's runtime; called when it is first needed.
        job_types: gives the names of all job types.
        task_of: gives the name of the task for a job type.
        find_task: the same, but fails where there is none.
        flags: the feature flags.
        consumers: the workers, which may have been told not to consume a job type's queue.
        legacy: the other system's manager, which may be able to count.
    """

    def __init__(
        self,
        app: Any,
        runtime: Callable[[], Runtime],
        job_types: Callable[[], Iterable[str]],
        task_of: Callable[[str], str],
        find_task: Callable[[str], object],
        flags: FeatureFlags,
        consumers: Consumers,
        legacy: JobManager | None = None,
    ) -> None:
        self._gate = Gate(app)
        self._provide, self._job_types, self._task_of = runtime, job_types, task_of
        self._find_task, self._flags, self._consumers = find_task, flags, consumers
        self._legacy: Any = legacy

    def move(
        self,
        job_type: str,
        mode: Mode,
        *,
        share: float = 100.0,
        by: str = "",
        version: str = "",
        note: str = "",
        principal: Who = None,
    ) -> None:
        """Share the jobs of a type out in another way, from now on, in every process.

        Jobs that are under way stay where they are; to take them back too there is the
        rollback.

        Args:
            job_type: which.
            mode: how.
            share: how many of a hundred go to Celery; in mode SHADOW, are compared.
            by: who wants it.
            version: of the code that is in use, for the history.
            note: why.
            principal: who asks, for the policy.

        Raises:
            PermissionDeniedError: the principal may not route jobs of that type.
            ConfigurationError: a share that makes another mode, a legacy system that has no
                results to compare with, or a rollback that has not ended.
            UnknownJobTypeError: jobs are to go to Celery, where nothing does that type.
            StoreUnavailableError: nothing was changed.
        """
        job_type, by = self._allowed(principal, job_type, by)
        self._check(job_type, mode, share)
        in_celery = share if mode is Mode.PERCENTAGE else 100.0 * (mode is Mode.CELERY)
        compared = share if mode is Mode.SHADOW else 0.0
        if mode is not Mode.LEGACY:
            self._consumers.restore(job_type)
        shares = {celery_flag(job_type): in_celery, shadow_flag(job_type): compared}
        self._flags.add(Rule.make(flag, share, by) for flag, share in shares.items())
        self.note(
            job_type,
            STATE_OF[mode],
            share=in_celery or compared,
            by=by,
            version=version,
            why=note,
        )

    def job_types(self) -> Sequence[str]:
        """Return the names of all job types, those too that were only ever noted here."""
        documents = self._provide().store.documents.read_all(DOCUMENTS)
        noted = (document.name.removeprefix(DOCUMENTS) for document in documents)
        return sorted({*self._job_types(), *noted})

    def _allowed(self, principal: Who, job_type: str, by: str) -> tuple[str, str]:
        """Refuse who may not route jobs of a type; return its name, and what to call who may."""
        kind = self._gate.type_named(job_type)
        self._gate.check(principal, Action.ROUTE, kind)
        return kind.name, self._gate.named(principal, by)

    def _check(self, job_type: str, mode: Mode, share: float) -> None:
        if mode is Mode.PERCENTAGE and not 0 < share < 100:
            raise ConfigurationError(
                f"{job_type}: a share of {share:g} of a hundred: above 0 and below 100, or use "
                "mode celery or legacy"
            )
        if mode in (Mode.CELERY, Mode.LEGACY) and share != 100:
            raise ConfigurationError(
                f"{job_type}: mode {mode} takes no share ({share:g} of a hundred): for a part of "
                "its jobs there are the modes percentage and shadow"
            )
        if mode is Mode.SHADOW and not 0 < share <= 100:
            raise ConfigurationError(
                f"{job_type}: a share of {share:g} of a hundred: above 0 and up to 100 are compared"
            )
        if mode is Mode.SHADOW and not isinstance(self._legacy, Answering):
            raise ConfigurationError(
                f"{job_type}: the legacy system has no verb 'result', so there is nothing to "
                "compare a shadow with"
            )
        if mode is not Mode.LEGACY:
            self._find_task(job_type)
            self._refuse_during_rollback(job_type)

    def _refuse_during_rollback(self, job_type: str) -> None:
        documents = self._provide().store.documents
        if any(shared.read(documents, ROLLBACKS + name) for name in (job_type, "*")):
            raise ConfigurationError(
                f"{job_type}: a rollback was begun and has not ended; roll back again to end it, "
                "then move"
            )

    def note(
        self,
        job_type: str,
        state: State,
        *,
        share: float = 0.0,
        by: str = "",
        version: str = "",
        why: str = "",
    ) -> None:
        """Note that a job type has come to a state. The same state again is no move.

        Raises:
            StoreUnavailableError: nothing was noted.
        """
        if not job_type:
            raise ConfigurationError("which job type? It has no name")
        store = self._provide().store
        move = asdict(Move(state, self._provide().clock.now(), by, version, why, share))

        def edit(said: dict[str, Any]) -> dict[str, Any] | None:
            moves = said.get("moves", [])
            if moves and _is_same(moves[-1], move):
                return None
            return {"moves": [*moves, move][-KEPT:]}

        shared.change(store.documents, DOCUMENTS + job_type, edit)

    def mark_job_type_migrated(
        self, job_type: str, *, by: str = "", version: str = "", principal: Who = None
    ) -> None:
        """Note that a job type has moved to Celery for good. It routes nothing; see :meth:`move`.

        Raises:
            PermissionDeniedError: the principal may not route jobs of that type.
        """
        job_type, by = self._allowed(principal, job_type, by)
        self.note(job_type, State.MIGRATED, share=100.0, by=by, version=version)

    def mark_job_type_rollback(
        self, job_type: str, *, by: str = "", reason: str = "", principal: Who = None
    ) -> None:
        """Note that a job type has gone back to the legacy system. It routes nothing.

        Raises:
            PermissionDeniedError: the principal may not route jobs of that type.
        """
        job_type, by = self._allowed(principal, job_type, by)
        self.note(job_type, State.ROLLED_BACK, by=by, why=reason)

    def is_migrated(self, job_type: str) -> bool:
        """Whether a job type has moved to Celery for good."""
        moves = self.history(job_type)
        return bool(moves) and moves[-1].state is State.MIGRATED

    def history(self, job_type: str) -> tuple[Move, ...]:
        """Return all moves of a job type, the oldest first."""
        return _moves_in(self._provide().store.documents.read(DOCUMENTS + job_type))

    def get_migration_status(self, *, principal: Who = None) -> MigrationStatus:
        """Return where every job type stands, and how far the whole is.

        Looks at every record there is: for people, not for each request.

        Raises:
            PermissionDeniedError: the principal may not list jobs of all types.
        """
        self._gate.check(principal, Action.LIST, None)
        store = self._provide().store
        tally = store.tally()
        moved = {
            document.name.removeprefix(DOCUMENTS): _moves_in(document)
            for document in store.documents.read_all(DOCUMENTS)
        }
        names = sorted({*self._job_types(), *moved})
        details = tuple(
            replace(
                self._standing(name, moved.get(name, ())),
                sides=self._sides(name, tally),
                parity=parity_of(store.documents, name),
            )
            for name in names
        )
        migrated = sum(one.state is State.MIGRATED for one in details)
        total = len(details)
        return MigrationStatus(
            total, migrated, total - migrated, migrated / total if total else 0.0, details
        )

    def _standing(self, job_type: str, moves: Sequence[Move]) -> TypeStatus:
        mode, share = self._flags_say(job_type)
        if not moves:
            return TypeStatus(job_type, STATE_OF[mode], mode, share)
        last = moves[-1]
        return TypeStatus(
            *(job_type, last.state, mode, share, last.at, last.by, last.version, last.note),
            history=tuple(moves),
        )

    def _flags_say(self, job_type: str) -> tuple[Mode, float]:
        celery = self._flags.share(celery_flag(job_type))
        shadow = self._flags.share(shadow_flag(job_type))
        return mode_of(celery, shadow), celery or shadow

    def _sides(self, job_type: str, tally: Mapping[Any, int]) -> dict[str, Counts]:
        sides = {str(Engine.CELERY): counts_of(tally, self._task_of(job_type))}
        if isinstance(self._legacy, Counting):
            sides[str(Engine.LEGACY)] = self._legacy.counts(job_type)
        return sides


def _is_same(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return all(before[name] == now[name] for name in ("state", "share", "version"))


def _moves_in(document: Document) -> tuple[Move, ...]:
    moves = shared.said_by(document).get("moves", ())
    return tuple(Move(**{**move, "state": State(move["state"])}) for move in moves)
