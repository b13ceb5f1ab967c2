"""Workers, servers and jobs in the storm: what can be done to them, and what was done."""

import os
import random
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from celery.exceptions import CeleryError
from kombu.exceptions import OperationalError
from workers import Site, WorkerProcess, wait_until

from milepost.codecs.keyring import add_to_file, new_entry
from milepost.errors import InvalidTransitionError, JobNotFoundError, MilepostError, StoreError
from milepost.tasks.base import resend
from storm.evidence import Act, EffectLog, Evidence, Sample, Sent

PROCESSES = 3
"""Prefork workers that are kept alive, beside one of threads."""
SLOTS = 3
THREADS = 6
SETTINGS = {"resend_after": 5.0}
"""So that what a broker has forgotten comes back within the storm; all else is the default."""
RESTORE_SOON = {"unacked_restore_interval": 1, "unacked_restore_throttle": 1}
SAMPLE_SECONDS = 0.1
PAUSE = 0.02
"""What an item takes."""
WORD = "elderflower-marmalade"
"""What encrypted jobs are given, and nobody may read."""
PLAIN_WORD = "gooseberry-fool"
"""What the others are given, so that it is known to be found."""


class StormSite(Site):
    home = Path(__file__).parent


class Fleet:
    """A site whose workers are replaced when they die, and a log of all that hits it."""

    def __init__(self, folder: Path, redis, seed: int) -> None:
        self.redis, self.chance = redis, random.Random(seed)
        base = redis.url.rpartition("/")[0]
        conf = {"broker_transport_options": RESTORE_SOON}
        urls = [f"{base}/{number}" for number in (1, 2, 3)]
        add_to_file(str(folder / "keys.json"), new_entry("storm-1", current=True))
        self.site = StormSite(folder, *urls, conf=conf, settings=SETTINGS)
        self.acts: list[Act] = []
        self.samples: list[Sample] = []
        self.sent: list[Sent] = []
        self.cancelled: set[str] = set()
        self._log = EffectLog(folder / "effects")
        self.alone: list[str] = []
        """Jobs that no canvas waits for: those may be cancelled."""
        self._busy = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        for _ in range(PROCESSES):
            self.add_worker()
        self.threads_worker = self.site.start_worker("threads", THREADS)
        self._start(self._sample)

    @property
    def workers(self) -> list[WorkerProcess]:
        """The prefork workers that are alive, some of them frozen perhaps."""
        return [w for w in self.site.workers if w.process.poll() is None and w.pool == "prefork"]

    def add_worker(self) -> None:
        self.site.start_worker(concurrency=SLOTS, ready=False)

    # -- jobs ------------------------------------------------------------------------------

    def send(self) -> None:
        """Send one piece of work: a loop, steps, calls of a model, a chain or a chord."""
        kinds = {"loop": 5, "steps": 2, "asking": 2, "chain": 2, "chord": 2}
        kind = self.chance.choices(list(kinds), list(kinds.values()))[0]
        # Where a server is down nothing is promised, so nothing is counted.
        with suppress(OperationalError, CeleryError, StoreError, OSError, RuntimeError):
            getattr(self, f"_send_{kind}")()

    def _size(self) -> tuple[int, int]:
        return self.chance.randint(40, 300), self.chance.choice((1, 1, 1, 10))

    def _loop(self, *args: int) -> Any:
        """Return the signature of a loop, readable or not."""
        task = self.chance.choice((self.site.project.loop, self.site.project.secret))
        return task.s(*args, PAUSE, word=WORD if task.name == "secret" else PLAIN_WORD)

    def _send_loop(self) -> None:
        n, every = self._size()
        job = self._loop(0, n, every).apply_async()
        self.alone.append(job.id)
        self.sent.append(Sent(job.id, n, every, sum(range(n))))

    def _send_steps(self) -> None:
        n = self.chance.randint(20, 100)
        job = self.site.send("steps", n, PAUSE)
        self.alone.append(job.id)
        self.sent.append(Sent(job.id, n, 1, sum(item * item for item in range(n))))

    def _send_asking(self) -> None:
        n, at_once = self.chance.randint(20, 100), self.chance.choice((1, 4))
        job = self.site.send("ask", n, PAUSE, at_once)
        self.alone.append(job.id)
        self.sent.append(Sent(job.id, n, at_once, sum(item * item for item in range(n))))

    def _send_chain(self) -> None:
        (n, every), project = self._size(), self.site.project
        last = (project.add.s(1, 2) | self._loop(n, every) | project.add.s(5))()
        total = 3 + sum(range(n))
        self.sent += [
            Sent(last.parent.parent.id, 0, 1, 3),
            Sent(last.parent.id, n, every, total),
            Sent(last.id, 0, 1, total + 5),
        ]

    def _send_chord(self) -> None:
        project, sizes = self.site.project, [self._size(), self._size()]
        header = [self._loop(0, n, every) for n, every in sizes]
        body = project.chord(header, self._loop(30, 1)).apply_async()
        sums = [sum(range(n)) for n, _ in sizes]
        members = zip(body.parent.results, sizes, sums, strict=True)
        self.sent += [Sent(job.id, n, every, total) for job, (n, every), total in members]
        self.sent.append(Sent(body.id, 30, 1, sum(sums) + sum(range(30))))

    def unfinished(self) -> list[Sent]:
        """Return the jobs that have not left their last effect, and were not cancelled."""
        self._log.look()
        return [
            s for s in self.sent if s.job not in self._log.ended and s.job not in self.cancelled
        ]

    # -- what hits it ----------------------------------------------------------------------

    def kill_child(self) -> None:
        """SIGKILL a pool process that is at work."""
        at_work = [e.pid for e in self._log.look()[-200:] if e.word == "item"]
        children = [pid for w in self.workers for pid in w.child_pids() if pid in at_work]
        if children:
            pid = self.chance.choice(children)
            self._hit("kill child", {pid})
            with suppress(ProcessLookupError):  # it has just ended by other means
                os.kill(pid, signal.SIGKILL)

    def kill_worker(self) -> None:
        """SIGKILL a worker; another one comes up."""
        victim = self.chance.choice(self.workers)
        self._hit("kill worker", {victim.pid, *victim.child_pids()})
        victim.kill()
        self.add_worker()

    def drain(self) -> None:
        """SIGTERM: a deploy."""
        victim = self.chance.choice(self.workers)
        self.add_worker()
        self._hit("drain", {victim.pid, *victim.child_pids()})
        victim.ask_to_stop()

    def freeze(self) -> None:
        """SIGSTOP a worker until its leases have lapsed, then let it go on."""
        victim = self.chance.choice(self.workers)
        pids = {victim.pid, *victim.child_pids()}
        seconds = self.chance.uniform(4.0, 6.0)
        now = time.monotonic()
        self.acts.append(Act(now, "freeze", frozenset(pids), until=now + seconds))
        victim.freeze()

        def thaw() -> None:
            time.sleep(seconds)
            if victim.process.poll() is None:
                victim.thaw()

        self._start(thaw)

    def restart_redis(self) -> None:
        """Stop Redis and start it again from its append-only file."""
        now = time.monotonic()
        self.redis.restart()
        self.acts.append(Act(now, "restart redis", until=time.monotonic() + 1.0))

    def flush_broker(self) -> None:
        """Lose every message that the broker holds, delivered or not."""
        with self.site.app.connection_for_write() as connection:
            client = connection.default_channel.client
            client.delete("work", "unacked", "unacked_index")
        now = time.monotonic()
        self.acts.append(Act(now, "flush broker", until=now + 2 * SETTINGS["resend_after"]))

    def duplicate(self) -> None:
        """Send some job's message once more, wherever the job stands."""
        if self.sent:
            with suppress(JobNotFoundError):  # a later part of a chain: not sent at all yet
                resend(self.site.app, self.site.jobs.get(self.chance.choice(self.sent).job))

    def pause(self) -> None:
        """Pause a running job, look until it has stopped, and let it go on."""
        running = self.site.jobs.find(status="running", limit=100).jobs
        if running:
            job = self.chance.choice(running).id
            self._start(lambda: self._pause(job))

    def _pause(self, job: str) -> None:
        asked = time.monotonic()
        seen = 0.0
        try:
            self.site.jobs.pause(job, by="storm")
            while time.monotonic() < asked + 20:
                status = self.site.jobs.get(job).status
                if status == "paused":
                    seen = time.monotonic()
                    break
                if status.is_terminal:
                    break
                time.sleep(0.01)
        except MilepostError:
            pass
        self.acts.append(Act(asked, "pause", job=job, until=seen))
        time.sleep(0.5)
        self._resume(job)

    def _resume(self, job: str) -> None:
        for _ in range(100):
            try:
                self.site.jobs.resume(job, by="storm")
                return
            except InvalidTransitionError:
                return
            except (StoreError, OperationalError, OSError):
                time.sleep(0.2)

    def cancel(self) -> None:
        """Cancel a job that nothing waits for, by force sometimes."""
        under_way = {sent.job for sent in self.unfinished()}
        if alone := [job for job in self.alone if job in under_way]:
            job = self.chance.choice(alone)
            force = self.chance.random() < 0.5
            now = time.monotonic()
            try:
                self.site.jobs.cancel(job, force=force, by="storm")
            except InvalidTransitionError:
                return
            self.acts.append(Act(now, "cancel", job=job, until=now))
            self.cancelled.add(job)

    def _hit(self, what: str, pids: set[int]) -> None:
        now = time.monotonic()
        self.acts.append(Act(now, what, frozenset(pids), until=now))

    # -- the end ---------------------------------------------------------------------------

    def settle(self, limit: float) -> Evidence:
        """Let everything end, and return all that was written down."""
        for thread in self._threads[1:]:
            thread.join(60)
        jobs, left = self.site.jobs, {sent.job for sent in self.sent}

        def over() -> bool:
            for job in list(left):
                try:
                    if jobs.get(job).status.is_terminal:
                        left.discard(job)
                except MilepostError:
                    continue
            return not left

        with suppress(AssertionError):  # the checker says which have not
            wait_until(over, "every job ended", limit=limit, interval=0.5)
        self._over.set()
        self._threads[0].join(30)
        return self._evidence()

    def _evidence(self) -> Evidence:
        ends = {}
        for sent in self.sent:
            try:
                job = self.site.jobs.get(sent.job)
                result = self.site.jobs.result(job.id) if job.status == "succeeded" else None
                ends[sent.job] = (str(job.status), result)
            except MilepostError as exc:
                ends[sent.job] = (f"unknown: {exc}", None)
        effects, acts = sorted(self._log.look()), sorted(self.acts)
        places = [self._places_of(word) for word in (WORD, PLAIN_WORD)]
        return Evidence(self.sent, effects, acts, self.samples, ends, *places)

    def _places_of(self, word: str) -> list[str]:
        """Return the files with a word in them: workers' logs, and all that Redis was told."""
        logs = [worker.log for worker in self.site.workers]
        files = [path for path in Path(self.redis.directory).rglob("*") if path.is_file()]
        return [path.name for path in (*files, *logs) if word.encode() in path.read_bytes()]

    def close(self) -> None:
        self._over.set()
        self.site.close()

    def _start(self, work) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _sample(self) -> None:
        """Look at records in passing, all the time."""
        store, chance = self.site.milepost.store, random.Random(1)
        while not self._over.wait(SAMPLE_SECONDS):
            for sent in chance.sample(self.sent[-150:], min(20, len(self.sent[-150:]))):
                try:
                    job = store.get(sent.job)
                except MilepostError:
                    continue
                facts = (str(job.status), job.fence, job.attempts, job.progress.done)
                self.samples.append(Sample(job.read_at, sent.job, *facts))
