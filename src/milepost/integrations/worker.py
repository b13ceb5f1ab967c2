"""The keeper's place in Celery's worker: its threads, its start and its end."""

import logging
import sys
import threading
import time
import uuid
from typing import Any

from celery import bootsteps
from celery.signals import worker_shutdown, worker_shutting_down

import milepost.integrations.inspection  # noqa: F401  (workers answer to its command)
from milepost import engine
from milepost.engine.drain import DrainFlag
from milepost.engine.recovery import BATCH, Keeper
from milepost.engine.trouble import NOT_RENEWED, Trouble
from milepost.errors import ConfigurationError, NoKeysError, StoreError
from milepost.face import load_all
from milepost.integrations.aftermath import aftermath_of
from milepost.integrations.chores import OUTAGES, chores_of
from milepost.integrations.queues import Queues
from milepost.integrations.watch import ATTRIBUTE, Watch
from milepost.registry import registry_of
from milepost.runtime import OVERSEER, attached, cipher_of, runtime_of
from milepost.tasks import station
from milepost.tasks.base import resend
from milepost.tasks.declaring import check_deliveries, check_leases
from milepost.versions import check_versions

logger = logging.getLogger("milepost")

WATCH_SECONDS = 0.1
"""How often the main process looks whether a pool process that runs a job is still there."""
RUNS_A_LOOP = ("milepost_is_async", "milepost_runs_a_loop")
"""What tasks say of themselves that need an event loop."""


class KeeperStep(bootsteps.StartStopStep):
    """Starts the keeper with the worker, after the pool has its processes.

    Two daemon threads: one renews leases and watches processes, the other recovers and talks
    to the broker. They are apart because that may block for as long as the broker does, and a
    lease must not lapse meanwhile.
    """

    requires = ("celery.worker.components:Pool",)

    def __init__(self, worker: Any, **kwargs: Any) -> None:
        super().__init__(worker, **kwargs)
        load_all(engine)  # here once, and not in each process of the pool that carries a job
        self._runtime = runtime_of(worker.app)
        registry_of(worker.app).check()
        include_project(worker.app)
        check_leases(worker.app, self._runtime.settings)
        check_deliveries(worker.app)
        check_keys(worker.app)
        check_pool(worker)
        self._stopping = threading.Event()
        self._incarnation = uuid.uuid4().hex
        self._flag = DrainFlag.make()
        station.announce(worker.app, self._incarnation, self._flag)  # before the pool starts

    def start(self, worker: Any) -> None:
        app = worker.app
        self._check_versions(app)
        watch = Watch(worker)
        watch.keeper = Keeper(
            self._runtime,
            self._incarnation,
            resend=lambda job, finishing: resend(app, job, finishing=finishing),
            is_lost=Queues(app, self._runtime.store).has_lost,
            aftermath=lambda job: aftermath_of(app, job),
            stop=watch.stop,
            knows=lambda job: job.task in app.tasks,
        )
        setattr(app, ATTRIBUTE, watch)
        for name, run in (("lease", self._renew), ("recovery", self._recover)):
            threading.Thread(
                target=run, args=(watch, app), name=f"milepost-{name}", daemon=True
            ).start()
        self._oversee(app)
        self._drain_in_time(worker)
        worker_shutdown.connect(lambda **_: self._finish_all(watch), sender=worker, weak=False)

    def _check_versions(self, app: Any) -> None:
        """Refuse to work on jobs of newer code; not before the pool is forked: it connects."""
        try:
            check_versions(self._runtime, registry_of(app).get_all_job_types())
        except StoreError as exc:
            # A checkpoint that does not fit parks its job in any case.
            logger.warning("the checkpoint versions are not compared: %s", exc)

    def _oversee(self, app: Any) -> None:
        """Be ready to make the rounds of a move from another system, where there is one."""
        overseer = attached(app, OVERSEER)()
        if overseer is not None:
            threading.Thread(
                target=overseer.run, args=(self._stopping,), name="milepost-overseer", daemon=True
            ).start()

    def _drain_in_time(self, worker: Any) -> None:
        """Let running jobs know of a shutdown when it begins, not when Celery is done waiting.

        Celery's signal comes at once for a warm shutdown, but only after the wait of a soft
        one, which is just the time in which jobs are to step aside.
        """
        worker_shutting_down.connect(
            lambda **_: self._flag.set(), sender=worker.hostname, weak=False
        )
        wait = worker.wait_for_soft_shutdown

        def drain_and_wait() -> Any:
            self._flag.set()
            return wait()

        worker.wait_for_soft_shutdown = drain_and_wait

    def stop(self, parent: Any) -> None:
        # Recovery ends here; leases are renewed until the last running job has ended, which
        # in a warm shutdown is after this.
        self._flag.set()
        self._stopping.set()

    def terminate(self, parent: Any) -> None:
        self.stop(parent)

    def _renew(self, watch: Watch, _: Any) -> None:
        renew_at, trouble = 0.0, Trouble(NOT_RENEWED, self._runtime.clock)
        while not (self._stopping.is_set() and watch.keeper.is_idle):
            with trouble:
                watch.look()
                if time.monotonic() >= renew_at:
                    watch.keeper.renew()
                    renew_at = time.monotonic() + self._runtime.settings.renew_seconds
            time.sleep(WATCH_SECONDS)

    def _finish_all(self, watch: Watch) -> None:
        """Say once more what has ended: another worker would else look whether it was all done.

        It would find the stored result; where results are ignored, it could only do it again.
        """
        try:
            watch.look()
            watch.keeper.renew()
        except StoreError as exc:
            logger.warning("the jobs that ended last are not marked as finished: %s", exc)
        finally:
            self._flag.remove()

    def _recover(self, watch: Watch, app: Any) -> None:
        trouble = Trouble("no recovery for now", self._runtime.clock, OUTAGES)
        chores = chores_of(watch, app, self._runtime)
        while not (self._stopping.is_set() or self._flag.is_set()):
            more = False
            with trouble:
                more = watch.keeper.recover() >= BATCH
            for chore in chores:
                chore.do()
            if not more:
                self._stopping.wait(self._runtime.settings.scan_seconds)


def check_keys(app: Any) -> None:
    """Refuse to start a worker whose tasks encrypt, and have no keys.

    Raises:
        ConfigurationError: there are none, or their source cannot be read.
    """
    for task in app.tasks.values():
        if getattr(task, "milepost_encrypts", False):
            if not any(key.is_current for key in cipher_of(app).keys.all()):
                raise NoKeysError(f"task {task.name}")
            return


def check_pool(worker: Any) -> None:
    """Refuse to start a worker on greenlets that would be sent tasks with event loops.

    All greenlets share one thread, which can run one event loop: the second job would fail.

    Raises:
        ConfigurationError: there is such a task, in a queue that the worker consumes.
    """
    if not worker.pool_cls.is_green:
        return
    app = worker.app
    for task in app.tasks.values():
        if not any(getattr(task, said, False) for said in RUNS_A_LOOP):
            continue
        queue = app.amqp.router.route(dict(task._get_exec_options()), task.name)["queue"]
        if getattr(queue, "name", queue) in app.amqp.queues.consume_from:
            raise ConfigurationError(
                f"task {task.name!r} runs an event loop, which the gevent and eventlet pools "
                "cannot: use prefork, threads or solo, or send it to a queue that this worker "
                "does not consume"
            )


def include_project(app: Any) -> None:
    """Let pool processes that are spawned import the project, which makes its milepost there.

    Celery lets them import the modules that have tasks. The app's own may have none: those of
    a plugin, or shared ones, do not import it.
    """
    homes = {
        name
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] not in ("celery", "__main__")
        and any(value is app for value in list(getattr(module, "__dict__", {}).values()))
    }
    app.conf.include = tuple({*(app.conf.include or ()), *homes})
