"""The Celery app of the demo: one durable task, and a log of what really happened."""

import json
import os
import time
from pathlib import Path

import profiling
from celery import Celery

from milepost import CheckpointableTask, Milepost
from milepost.events import CheckpointSaved, Event, JobStarted

FOLDER = Path(os.environ["FLIGHTS_FOLDER"])
BROKER = os.environ.get("FLIGHTS_BROKER", "filesystem://")
STORE = os.environ.get("FLIGHTS_STORE", f"sqlite:///{FOLDER / 'jobs.db'}")

app = Celery("flights", broker=BROKER)
app.conf.update(
    task_ignore_result=True,
    task_default_queue=os.environ.get("FLIGHTS_QUEUE", "flights"),
    worker_hijack_root_logger=False,
)
if BROKER == "filesystem://":
    for name in ("queue", "control"):
        (FOLDER / name).mkdir(exist_ok=True)
    app.conf.broker_transport_options = {
        "data_folder_in": str(FOLDER / "queue"),
        "data_folder_out": str(FOLDER / "queue"),
        "control_folder": str(FOLDER / "control"),
        "polling_interval": 0.1,
    }


def log(what: str, **facts: object) -> None:
    """Append one line to the log: a single write, so that lines of two processes never mix."""
    line = json.dumps({"what": what, "at": time.time(), **facts}) + "\n"
    with (FOLDER / "log").open("a") as file:
        file.write(line)


def observe(event: Event) -> None:
    """Log the attempts and the checkpoints."""
    if isinstance(event, JobStarted):
        log("attempt", fence=event.fence)
    elif isinstance(event, CheckpointSaved):
        log("checkpoint", fence=event.fence)


milepost = Milepost(app, store=STORE, observers=[observe], namespace="flights")


@app.task(base=CheckpointableTask, bind=True)
def profile_flights(self: CheckpointableTask, columns: str) -> dict[str, str]:
    """Profile every column, infer rules, and hold every row against them."""
    items = profiling.plan(profiling.read_meta(columns))
    done = self.state or profiling.new_state()
    for item in self.iterate(items, every=4):
        done = profiling.advance(columns, done, item)
        self.state.update(done)
        log("item", fence=self.fence, rows=item.stop - item.start)
    return {"digest": profiling.digest(done), "summary": profiling.summary(done)}
