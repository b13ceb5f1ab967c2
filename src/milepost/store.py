"""The socket for stores: where jobs, leases and checkpoints are kept.

The vocabulary is the trade's, one verb per thing that happens to a job, each atomic on the
store's side. Stores never call the engine, never log, and read only their own clock.
"""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

from milepost.documents import Documents
from milepost.history import Act
from milepost.limits import Limits
from milepost.model import (
    Claim,
    Delivery,
    Delta,
    Job,
    JobStatus,
    Lease,
    NewJob,
    Recovery,
    Settlement,
    Signal,
    Swap,
)
from milepost.query import Page, Query

NO_WRITES: Mapping[str, bytes] = MappingProxyType({})
FINISH_AFTER = 10.0
"""Seconds after which a keeper looks whether Celery was told of a job's cancellation."""


class Store(Protocol):
    """A durable home for jobs.

    Rules every store keeps, all of them in :class:`milepost.testing.StoreContract`:

    * **One live attempt.** ``claim`` grants at most one unexpired lease per job.
    * **The fence only grows.** Each grant adds one; nothing lowers it while the record is.
    * **No lease, no write.** ``commit`` and ``settle`` are refused unless the record is
      running with exactly the lease's fence. Expiry alone refuses nothing: a lapsed lease
      that nobody took over may go on, and its next write renews it.
    * **Terminal is final.** Nothing but ``reopen`` overwrites succeeded, failed or cancelled.
    * **Retention counts from the end.** A job that has not ended never expires.
    * **Due is a hint, the record the truth.** ``due`` may name jobs that need nothing;
      ``claim_recovery`` decides, for one caller only.
    * **Everything is on record.** Each control act that changes a job (or waits as a signal)
      is appended to its history with who asked, and so are a crash and every settlement but
      a success.
    * **A clear error in time.** A store that cannot be reached raises
      :class:`~milepost.errors.StoreUnavailableError` within its timeout; it never hangs.
    """

    @property
    def name(self) -> str:
        """The store in words for people: its URL without the password."""
        ...

    @property
    def documents(self) -> Documents:
        """What processes share in this store beside jobs."""
        ...

    @property
    def limits(self) -> Limits:
        """How much those who share this store may ask of others."""
        ...

    def create(self, job: NewJob) -> bool:
        """Record a job that is about to be sent.

        Its status is SCHEDULED if it has a delay, else PENDING.

        Returns:
            False when a record of that id exists already; it is left as it was.

        Raises:
            ValueTooLargeError: the message is larger than the limit.
        """
        ...

    def claim(self, delivery: Delivery, owner: str, lease_seconds: float) -> Claim:
        """Ask for the right to run a job.

        In this order:

        1. no record: :class:`Unknown`, or, if the delivery brings its message, a new
           record which is granted;
        2. terminal: refused, SETTLED; paused: refused, PAUSED;
        3. ``delivery.number`` below the record's: refused, STALE;
        4. running, lease live, and the number not above the record's: refused, HELD;
        5. scheduled for a later moment, at which the recovery is to send it (settled without
           ``resend_after``), and the number not above the record's: refused, EARLY;
        6. otherwise granted. Was it running under a lapsed lease, that was a crash:
           ``crashes`` and ``strikes`` grow. A higher number under a live lease is a retry
           that overtook its predecessor's end: no crash.

        A grant sets RUNNING, ``begun_at`` and ``begun_done``, adds one to the fence and to
        ``attempts``, and lets the lease hold for
        ``lease_seconds * 2 ** min(max(strikes - 1, 0), 6)``: an attempt that was taken over
        again and again without a checkpoint in between may just be slow to breathe (a long
        call that holds the interpreter lock), and gets more room each time.

        Args:
            delivery: what arrived.
            owner: ``<worker incarnation>:<process>``; the keeper renews by incarnation.
            lease_seconds: the base length of the lease.

        Raises:
            ValueTooLargeError: the delivery's message is larger than the limit.
        """
        ...

    def commit(self, lease: Lease, delta: Delta) -> Signal | None:
        """Write a checkpoint: check the fence, apply the delta, renew the lease.

        One round trip. What it brings that is new (fields, progress) sets ``moved_at``. Cost
        depends on the delta, never on the job's age. Strikes fall
        back to zero when the delta writes fields. A store may leave a lease as it is while
        at least 7/8 of it are left, and the job's moments of life (``heartbeat_at`` and
        ``moved_at``) with it:
        what a commit then has to write is the delta alone.

        Returns:
            The signal somebody left for the job, once; later commits return None. Should the
            attempt die before it has obeyed, the next attempt is given the signal again.

        Raises:
            LeaseLostError: the fence is not the record's, or the job is not running.
            ValueTooLargeError: a value is larger than the limit; nothing is written.
        """
        ...

    def load(self, job_id: str) -> Mapping[str, bytes]:
        """Return every field of a job's checkpoint (empty if there is none).

        Raises:
            JobNotFoundError: no record.
        """
        ...

    def settle(self, lease: Lease, settlement: Settlement) -> None:
        """End an attempt: apply the settlement's delta, set the status, free the lease.

        INTERRUPTED adds one to ``interruptions``. A terminal status stops the recovery of
        the job (unless ``finishing``) and starts its retention.

        Raises:
            LeaseLostError: as for :meth:`commit`; nothing is written.
            ValueTooLargeError: a value is larger than the limit; nothing is written.
        """
        ...

    def finish(self, job_ids: Iterable[str]) -> None:
        """Take jobs out of the recovery whose end was settled with ``finishing``."""
        ...

    def renew(self, owner: str, job_ids: Iterable[str]) -> frozenset[str]:
        """Renew the leases of running jobs that belong to a worker, in one batch.

        Args:
            owner: the worker's incarnation: it owns every lease whose owner is
                ``<incarnation>:…``.
            job_ids: what it believes to be running.

        Returns:
            Those that were renewed. The rest are not (or no longer) this worker's.
        """
        ...

    def release(
        self,
        job_id: str,
        owner: str,
        reason: str,
        status: JobStatus = JobStatus.INTERRUPTED,
    ) -> bool:
        """Take the lease from an attempt that is known to be dead.

        INTERRUPTED: ``crashes`` and ``strikes`` grow, and the job is due one lease length
        later, should its message not come back by itself. A terminal status ends the job,
        with *reason* as its error too if it is FAILED.

        Args:
            job_id: which job.
            owner: the exact owner, or the incarnation for any of its processes.
            reason: why, for the record.
            status: INTERRUPTED, FAILED or CANCELLED.

        Returns:
            False when the job is not running under that owner.
        """
        ...

    def signal(
        self, job_id: str, signal: Signal, *, by: str = "", force: bool = False, reason: str = ""
    ) -> Job:
        """Ask something of a job.

        A running job gets it with its next commit. PAUSE and CANCEL take a job that waits
        at once; CANCEL ends a paused one. A paused job stays so; a SCHEDULED keeps its moment.

        A job cancelled at once falls due FINISH_AFTER seconds later, until :meth:`finish`:
        what waits for it in Celery is still to be told.

        Args:
            job_id: which job.
            signal: what.
            by: who asks, for the history.
            force: CANCEL ends a running job at once too. Its record then keeps ``worker``,
                which knows by that to stop a process of its own.
            reason: why; for the history, and the record of a job that it ends unstarted.

        Returns:
            The record afterwards.

        Raises:
            JobNotFoundError: no record.
            InvalidTransitionError: the job has ended.
        """
        ...

    def resume(self, job_id: str, *, by: str = "", writes: Mapping[str, bytes] = NO_WRITES) -> Job:
        """Make a paused job PENDING and due at once; a running one loses a waiting PAUSE.

        One that was SCHEDULED is so again until it falls due at its moment. Others stay.

        Args:
            job_id: which job.
            by: who asks, for the history.
            writes: fields of the checkpoint to set, of a job that was paused; else nothing
                is written.

        Returns:
            The record afterwards.

        Raises:
            JobNotFoundError: no record.
            InvalidTransitionError: the job has ended.
            ValueTooLargeError: a value is larger than the limit; nothing is changed.
        """
        ...

    def wake(self, job_id: str, *, by: str = "") -> Job:
        """Make a SCHEDULED job PENDING and due at once; one that is under way is left alone.

        Returns:
            The record afterwards.

        Raises:
            JobNotFoundError: no record.
            InvalidTransitionError: the job has ended, or is paused.
        """
        ...

    def reopen(
        self, job_id: str, act: Act, *, drop: Sequence[str] | None = (), by: str = ""
    ) -> Job:
        """Make a job that has ended PENDING and due at once: the one way back from an end.

        RETRY takes a failed or cancelled job, RESTART any that has ended, and a paused one.
        Both forget result, error, reason, strikes and the end; ``delivery`` is 0 again. The
        fence, ``attempts``, ``crashes`` and ``interruptions`` stay. RESTART forgets the
        progress too. The job no longer expires.

        Args:
            job_id: which job.
            act: RETRY or RESTART.
            drop: fields of the checkpoint to drop; None: all of them.
            by: who asks, for the history.

        Returns:
            The record afterwards.

        Raises:
            JobNotFoundError: no record.
            InvalidTransitionError: the job is in another status.
        """
        ...

    def exchange(self, job_id: str, swaps: Sequence[Swap]) -> int:
        """Put stored values in the place of others that mean the same, as a rotation of keys does.

        Each swap is made for itself, and only where the stored value is still the one that
        was read: a running attempt's newer one is never overwritten. Nothing else changes:
        no lease, time, history or expiry. It needs no lease, and holds nobody up.

        Returns:
            How many were made.

        Raises:
            JobNotFoundError: no record.
        """
        ...

    def find(self, query: Query) -> Page:
        """Return jobs, newest first (those of one moment by id, descending).

        A job that was created while somebody pages through appears on none of the later
        pages; one that is there all the time appears exactly once.

        Raises:
            ConfigurationError: the cursor is not one of this store's.
        """
        ...

    def tally(self) -> Mapping[tuple[str, JobStatus], int]:
        """Return how many jobs there are of each task in each status."""
        ...

    def get(self, job_id: str) -> Job:
        """Return the record.

        Raises:
            JobNotFoundError: no record.
        """
        ...

    def due(self, limit: int) -> Sequence[str]:
        """Return ids of jobs whose lease lapsed or whose moment has come, oldest first."""
        ...

    def claim_recovery(self, job_id: str, again_after: float) -> Recovery | None:
        """Win the right to send a due job again; one caller per moment gets it.

        A running job whose lease has lapsed becomes INTERRUPTED (a crash). Whoever wins
        keeps others away for *again_after* seconds, doubled for each time it was already
        sent since its last claim, at most 64-fold.

        Returns:
            None where nothing is to do: not due, gone, paused, ended, or a live lease.
        """
        ...

    def delete(self, job_id: str) -> None:
        """Forget a job and its checkpoint. Unknown ids are no error."""
        ...

    def purge(self) -> int:
        """Drop what is past its retention, where the store does not do so itself.

        Returns:
            How many jobs were dropped.
        """
        ...

    def close(self) -> None:
        """Give back connections. The store opens new ones if it is used again."""
        ...
