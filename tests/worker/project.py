"""The Celery project that the workers of these tests run: configured by its environment.

Every body and every item leaves one line in the file ``effects``, written in one append, so
that a test can count what really ran, in whichever process, dead or alive::

    <job id> <word> <fence> <item> <pid>
"""

import asyncio
import contextlib
import ctypes
import functools
import json
import os
import signal
import sys
import time
from pathlib import Path

import secrets_of
from celery import Celery, Task, current_task
from celery import chord as celery_chord
from kombu.exceptions import OperationalError

from milepost import BaseTask, CheckpointableTask, Milepost
from milepost.errors import CircuitOpenError, StoreUnavailableError
from milepost.events import JobSettled
from milepost.guards.breaker import BreakerGuard
from milepost.guards.declared import Rate
from milepost.guards.rate import RateGuard
from milepost.limits import Admitted, Limit

FOLDER = Path(os.environ["PROJECT_FOLDER"])
GATE_LIMIT = 60.0

app = Celery("project", broker=os.environ["PROJECT_BROKER"], backend=os.environ["PROJECT_BACKEND"])
app.conf.update(
    task_default_queue="work",
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    **json.loads(os.environ.get("PROJECT_CONF", "{}")),
)


def die_once_settled(event):
    """Kill this process right after a success is on record, if the test asks for it."""
    if isinstance(event, JobSettled) and event.status == "succeeded" and take("die-once-settled"):
        os.kill(os.getpid(), signal.SIGKILL)


milepost = Milepost(app, store=os.environ["PROJECT_STORE"], observers=[die_once_settled])


# Not shared: a test process imports this file many times, each time with an app of its own.
plain = functools.partial(app.task, shared=False)
durable = functools.partial(plain, base=CheckpointableTask, bind=True)


def effect(word, item="-"):
    """Append one line about the running task."""
    fence = getattr(current_task, "fence", 0) if _is_durable() else 0
    line = f"{current_task.request.id} {word} {fence} {item} {os.getpid()}\n".encode()
    file = os.open(FOLDER / "effects", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, line)
    finally:
        os.close(file)


def _is_durable():
    return getattr(current_task, "durable", False)


def take(name):
    """Take a marker that the test has laid out; one process gets it."""
    try:
        (FOLDER / name).unlink()
    except FileNotFoundError:
        return False
    return True


def wait_for_gate(name):
    """Wait until the test opens a gate."""
    give_up_at = time.monotonic() + GATE_LIMIT
    while not (FOLDER / name).exists():
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"gate {name} stayed shut")
        time.sleep(0.01)


# -- loops ---------------------------------------------------------------------------------


@durable(name="count")
def count(self, n, pause=0.0, every=1, gate=None):
    """Add up ``range(n)``; the sum is right only if no item is lost or counted twice."""
    effect("body")
    for item in self.iterate(range(n), every=every):
        effect("item", item)
        time.sleep(pause)
        if gate and item == 2:
            wait_for_gate(gate)
        self.state["sum"] = self.state.get("sum", 0) + item
    return self.state.get("sum", 0)


@durable(name="count_more")
def count_more(self, before, n, pause=0.0):
    """A link of a chain, or the body of a chord: go on from what was before."""
    effect("body")
    for item in self.iterate(range(n), every=1):
        effect("item", item)
        time.sleep(pause)
        self.state["sum"] = self.state.get("sum", 0) + item
    if isinstance(before, list):
        before = sum(before)
    return before + self.state.get("sum", 0)


def _die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def _lose(*_, **__):
    raise OperationalError("the broker is away")


IN_THE_CHORD = {
    "before its part is returned": ("on_chord_part_return", _die),
    "with the right to send the body": ("_chord_claim_extend_script", _die),
    "once the body is sent": ("_chord_cleanup_script", _die),
    "while the backend is away": ("on_chord_part_return", _lose),
}
"""What happens to a member of a chord when Celery collects its result, in this process."""


@durable(name="fall")
def fall(self, when):
    """Return 1 as a member of a chord; what Celery does with that goes wrong, once."""
    effect("body")
    if when == "while the broker is away":
        self.app.amqp.send_task_message = _lose
        return 1
    if when == "while the store is away":
        kind, create = type(milepost.store), type(milepost.store).create

        def once_away(store, job):
            kind.create = create
            raise StoreUnavailableError("the store", "it is away")

        kind.create = once_away
        return 1
    name, fault = IN_THE_CHORD[when]

    def once(*args, **kwargs):
        vars(self.backend).pop(name)
        return fault()

    vars(self.backend)[name] = once
    return 1


@durable(name="pass_gates")
def pass_gates(self, n, how="loop"):
    """Stop at gate 0, 1, …; *how* says what the task does once the last is open."""
    effect("body")
    if how == "loop":
        for item in self.iterate(range(n), every=1):
            effect("item", item)
            wait_for_gate(f"gate-{self.fence}-{item}")
        return f"by fence {self.fence}"
    wait_for_gate(f"gate-{self.fence}-0")
    effect("passed")
    if how == "fail":
        raise ValueError(f"by fence {self.fence}")
    if how == "retry":
        raise self.retry(countdown=0, max_retries=5)
    if how == "replace":
        raise self.replace(add.s(self.fence, 0))
    return f"by fence {self.fence}"


@durable(name="count_in_steps")
def count_in_steps(self, n, pause=0.0):
    """Memoised calls, one after the other."""
    effect("body")
    return sum(self.step(_square, item, pause, name=f"square-{item}") for item in range(n))


def _square(item, pause):
    effect("step", item)
    time.sleep(pause)
    return item * item


ELSEWHERE = {"queue": "loops"} if any("gevent" in word for word in sys.argv) else {}
"""Greenlets run no event loops."""


@durable(name="count_async", bind=False, **ELSEWHERE)
async def count_async(n, pause=0.0):
    """As ``count``, in a coroutine that leaves a task of its own running behind it."""
    effect("body")
    _leftovers.append(asyncio.create_task(_linger()))
    for item in current_task.iterate(range(n), every=1):
        effect("item", item)
        await asyncio.sleep(pause)
        current_task.state["sum"] = current_task.state.get("sum", 0) + item
    return current_task.state.get("sum", 0)


_leftovers = []


async def _linger():
    try:
        await asyncio.sleep(GATE_LIMIT)
    except asyncio.CancelledError:
        (FOLDER / "leftover-cancelled").touch()
        raise


# -- failures and ends -----------------------------------------------------------------------


@durable(name="kill_itself", max_crashes=2)
def kill_itself(self, *_):
    """End its own process, each time."""
    effect("body")
    os.kill(os.getpid(), signal.SIGKILL)


class FirstTimesError(Exception):
    """What a task raises until it is tried often enough."""


@durable(name="retry_at", max_retries=3)
def retry_at(self, n, at, countdown, every, pause=0.0):
    """Ask for a retry at one item, the first time it is reached."""
    effect("body")
    for item in self.iterate(range(n), every=every):
        if item == at and not self.request.retries:
            raise self.retry(countdown=countdown)
        effect("item", item)
        time.sleep(pause)
        self.state["sum"] = self.state.get("sum", 0) + item
    return self.state["sum"]


def _fail_at(self, n, at, pause=0.0):
    effect("body")
    for item in self.iterate(range(n), every=1000):
        if item == at and not self.request.retries:
            raise FirstTimesError("not yet")
        effect("item", item)
        time.sleep(pause)
        self.state["sum"] = self.state.get("sum", 0) + item
    return self.state["sum"]


for _seconds in (0, 1):
    durable(
        name=f"autoretry_{_seconds}",
        autoretry_for=(FirstTimesError,),
        retry_kwargs={"max_retries": 3, "countdown": _seconds},
    )(_fail_at)


@durable(name="fail", throws=(ValueError,))
def fail(self, *_):
    """Fail with an expected error."""
    effect("body")
    raise ValueError("as expected")


@durable(name="fail_until", throws=(ValueError,))
def fail_until(self, n, at):
    """Fail at one item until the test has fixed what is wrong."""
    effect("body")
    for item in self.iterate(range(n), every=1):
        if item == at and not (FOLDER / "fixed").exists():
            raise ValueError("not fixed yet")
        effect("item", item)
        self.state["sum"] = self.state.get("sum", 0) + item
    return self.state["sum"]


for _policy in ("fail", "continue"):

    class _Limited(CheckpointableTask):
        abstract = True
        on_soft_time_limit = _policy

    @plain(name=f"count_until_{_policy}", base=_Limited, bind=True)
    def count_until(self, n, pause):
        """Count, with a soft time limit that is shorter than that takes."""
        effect("body")
        for item in self.iterate(range(n), every=5):
            effect("item", item)
            time.sleep(pause)
            self.state["sum"] = self.state.get("sum", 0) + item
        return self.state["sum"]


@durable(name="snooze_once")
def snooze_once(self, seconds):
    """Step aside for a while, once."""
    if self.step(str, "slept", name="mark") and not self.job.history:
        self.snooze(seconds)
    return "awake"


@durable(name="be_slow")
def be_slow(self, seconds):
    """Run without a loop: nothing but the keeper speaks for it meanwhile."""
    effect("body")
    time.sleep(seconds)
    return "slow"


@plain(name="be_slow_plainly", acks_late=True)
def be_slow_plainly(seconds):
    """The control: the same as a plain Celery task."""
    effect("body")
    time.sleep(seconds)
    return "slow"


@durable(name="hold_the_gil")
def hold_the_gil(self, seconds):
    """Keep the interpreter lock in C: no other thread of the process runs meanwhile."""
    effect("body")
    libc = ctypes.PyDLL(None)
    libc.usleep(int(seconds * 1_000_000))
    return "held"


# -- guarded calls -----------------------------------------------------------------------------


@plain(name="hammer", acks_late=True)
def hammer(key, limit, seconds, estimate, actual):
    """Ask under one limit as fast as it lets, and note when each call was admitted.

    The lines say when a call asked, when it was let go, and how many tokens it took.
    """
    limits, limit, lines = milepost.store.limits, Limit(**limit), []
    wait_for_gate("go")
    end = time.monotonic() + seconds
    while (asked := time.monotonic()) < end:
        answer = limits.acquire(key, limit, estimate)
        if isinstance(answer, Admitted):
            lines.append(f"{asked} {time.monotonic()} {actual}\n")
            limits.settle(answer.permit, actual)
        else:
            time.sleep(answer.seconds)
    _leave(lines)


def _leave(lines):
    """Lay out the lines of this process, all at once."""
    part = FOLDER / f"part-{os.getpid()}"
    part.write_text("".join(lines))
    part.rename(FOLDER / f"admitted-{os.getpid()}")


@plain(name="hammer_guarded", acks_late=True)
def hammer_guarded(key, limit, seconds):
    """The same through the guard, from fifty coroutines."""
    guard, lines = RateGuard(milepost.store.limits, key, Limit(**limit), max_wait=None), []
    wait_for_gate("go")
    end = time.monotonic() + seconds

    async def call():
        while True:
            async with guard.calling():
                now = time.monotonic()
                lines.append(f"{now} {now} 0\n")

    async def main():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(end - time.monotonic()):
                await asyncio.gather(*(call() for _ in range(50)))

    asyncio.run(main())
    _leave(lines)


@durable(name="limited", guards=(Rate("limited", Limit(requests=2, per=2.0)),))
def limited(self):
    """Two of these in two seconds, in all workers."""
    effect("body", time.monotonic())


@plain(name="hold_a_place")
def hold_a_place(key, limit):
    """Make a call that takes longer than its permit's lease."""
    with RateGuard(milepost.store.limits, key, Limit(**limit)).calling():
        effect("holding")
        wait_for_gate("never")


@plain(name="call_what_is_down", acks_late=True)
def call_what_is_down(name, given):
    """Call through a breaker until the test says stop; each call that goes through is noted."""
    guard = BreakerGuard(milepost.store.documents, name, **given)
    wait_for_gate("go")
    while not (FOLDER / "stop").exists():
        try:
            with guard.calling():
                effect("called", time.monotonic())
                if take("hang"):
                    wait_for_gate("never")
                if not (FOLDER / "up").exists():
                    raise OSError("down")
        except (OSError, CircuitOpenError):
            time.sleep(0.002)


# -- what is read by nobody ---------------------------------------------------------------


@durable(name="keep_openly")
def keep_openly(self, word):
    """The same in the clear."""
    self.report(f"working on {word}")
    self.step(str, word)
    return word


# -- canvas ------------------------------------------------------------------------------------


@plain(name="add", base=BaseTask)
def add(x, y):
    """A task that is not durable, between durable ones."""
    effect("body")
    return x + y


@plain(name="note")
def note(value, word):
    """A callback: one line each time it is called."""
    effect(word, str(value).replace(" ", "_"))
    return value


class Distant(Task):
    """A task whose messages do not get through while the test says so."""

    abstract = True

    def apply_async(self, *args, **options):
        for error in (OperationalError, ConnectionError):
            if (FOLDER / error.__name__).exists():
                (FOLDER / "missed").touch()
                raise error("nobody home")
        return super().apply_async(*args, **options)


@plain(name="note_far", base=Distant)
def note_far(value, word):
    """A callback that is hard to reach."""
    effect(word, value)
    return value


@plain(name="note_error")
def note_error(job_id):
    """An errback."""
    effect("errback", job_id)


class Strange:
    """What no serializer knows."""


@durable(name="give_back")
def give_back(self, kind):
    """Return what the result backend may not take."""
    effect("body")
    return {"object": Strange(), "set": {Strange()}, "bytes": b"plain", "int": 1}[kind]


@durable(name="replace_itself")
def replace_itself(self, n):
    """Let another durable task go on under this id."""
    effect("body")
    raise self.replace(count.s(n))


@durable(name="ignore", ignore_result=True)
def ignore(self, n, pause=0.0):
    """Keep no result in Celery's backend."""
    effect("body")
    for item in self.iterate(range(n), every=1):
        effect("item", item)
        time.sleep(pause)


if os.environ.get("PROJECT_MODEL"):
    import asking

    asking.define(plain, effect)
    if os.environ.get("PROJECT_REQUESTS") and os.environ.get("PROJECT_WORKER"):
        asking.log_admissions(milepost.store.limits, FOLDER / "admissions")
if "MILEPOST_KEYS" in os.environ:
    secrets_of.declare(plain, effect, FirstTimesError)

for _name in filter(None, os.environ.get("PROJECT_WITHOUT", "").split(",")):
    app.tasks.pop(_name)  # as in a worker of older code

__all__ = ["app", "celery_chord"]
