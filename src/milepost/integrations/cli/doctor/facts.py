"""What the doctor judges: plain values, gathered elsewhere. None is what nobody could tell."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Here:
    """This process: the app as its own configuration has it.

    Attributes:
        store: name of the store, without password; None where the app has no milepost.
        problem: why the app has no usable milepost.
    """

    version: str = ""
    celery: str = ""
    host: str = ""
    pid: int = 0
    store: str | None = None
    namespace: str = "milepost"
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Conf:
    """What Celery's configuration says, as far as it matters here. Times are in seconds.

    Attributes:
        broker: kind of the broker's transport: ``redis``, ``amqp``, ``filesystem``, ``memory``.
        broker_timeout: of the broker's sockets; None: they wait for ever.
        visibility_timeout: of a Redis broker.
        redis_backend: whether results are kept in a Redis.
        backend_timeout: of the result backend's sockets.
        chords_are_tended: whether milepost can renew what this backend stores of chords.
        result_expires: when results are dropped; None: never.
        explicit: names of the settings that are set.
        deprecated: names of settings in the form that Celery 6 no longer reads.
        acks_late: whether every task is acknowledged late.
        always_eager: whether tasks run in the process that calls them.
        retries_connection: whether workers connect to the broker again.
    """

    broker: str = ""
    broker_timeout: float | None = None
    visibility_timeout: float = 3600.0
    redis_backend: bool = False
    backend_timeout: float | None = None
    chords_are_tended: bool = True
    result_expires: float | None = 86400.0
    explicit: frozenset[str] = frozenset()
    deprecated: tuple[str, ...] = ()
    acks_late: bool = False
    always_eager: bool = False
    retries_connection: bool = True


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """One registered task.

    Attributes:
        contradictions: attributes that a durable task must not have, as ``name=value``.
        routing: attributes of the class that Celery 6 will no longer read.
    """

    name: str
    durable: bool = False
    acks_late: bool = False
    reject_on_worker_lost: bool = False
    contradictions: tuple[str, ...] = ()
    routing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Server:
    """A Redis server, and what it is here.

    Attributes:
        roles: ``broker``, ``store`` or both.
        policy: its ``maxmemory-policy``.
        maxmemory: in bytes; 0: no limit.
        appendonly: whether it writes an append-only file.
        save: its ``save`` setting; None where it may not be asked.
        run: the id of this run of it.
    """

    name: str
    roles: tuple[str, ...]
    version: str = ""
    policy: str = ""
    maxmemory: int = 0
    used: int = 0
    appendonly: bool = False
    save: str | None = None
    run: str = ""


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """One worker that answers.

    Attributes:
        queues: what it consumes; None where it did not say.
        answers: whether it knows milepost's command: the rest is known only then.
        skew: seconds its clock is ahead of this machine's.
    """

    name: str
    queues: tuple[str, ...] | None = None
    answers: bool = False
    version: str = ""
    celery: str = ""
    host: str = ""
    pid: int = 0
    store: str = ""
    namespace: str = ""
    skew: float = 0.0
    draining: bool = False
    keeper: bool = False


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What is on record.

    Attributes:
        longest: id of the job whose attempt has run longest, and for how many seconds.
        waiting: how many jobs wait in each queue.
        chord: id of the oldest live job in a chord, and its age.
        stalled: ids of jobs that should be moving and are not.
        parked: ids of jobs whose checkpoint does not fit the code.
        crashed: ids of jobs that failed by the crash limit.
        strangers: how many live jobs there are of each task that the app does not have.
        skew: seconds the store's clock is ahead of this machine's; None: not known.
        cut: whether there were more jobs than were looked at.
    """

    longest: tuple[str, float] | None = None
    waiting: Mapping[str, int] = field(default_factory=dict)
    chord: tuple[str, float] | None = None
    stalled: tuple[str, ...] = ()
    parked: tuple[str, ...] = ()
    crashed: tuple[str, ...] = ()
    strangers: Mapping[str, int] = field(default_factory=dict)
    skew: float | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """All of it.

    Attributes:
        servers: the Redis servers in use, as far as they answered.
        workers: those that answered; None where nobody could be asked.
        jobs: None where the store did not answer, or there is none.
        gaps: what could not be gathered, and why.
    """

    here: Here = Here()
    conf: Conf = Conf()
    tasks: tuple[TaskFacts, ...] = ()
    servers: tuple[Server, ...] = ()
    workers: tuple[WorkerFacts, ...] | None = None
    jobs: JobFacts | None = None
    gaps: Mapping[str, str] = field(default_factory=dict)

    @property
    def keepers(self) -> tuple[WorkerFacts, ...]:
        """Return the workers that have a keeper to speak for them."""
        return tuple(worker for worker in self.workers or () if worker.answers)
