"""The host application: its Celery app, its tasks, and the router that all its code calls."""

import os
import time
from pathlib import Path
from typing import Any

import effects
from celery import Celery
from table import Table
from work import WORK

from milepost import CheckpointableTask, Milepost
from milepost.routing import ErrorLimit, Routing

FOLDER = Path(os.environ["DATA_TESTING_FOLDER"])
BROKER = os.environ.get("DATA_TESTING_BROKER", "filesystem://")
STORE = os.environ.get("DATA_TESTING_STORE", f"sqlite:///{FOLDER / 'jobs.db'}")

app = Celery("host", broker=BROKER)
app.conf.update(
    task_ignore_result=True,
    worker_hijack_root_logger=False,
    task_routes={f"tasks.{job_type}": f"data.{job_type}" for job_type in WORK},
)
if BROKER == "filesystem://":
    for name in ("queue", "control"):
        (FOLDER / name).mkdir(exist_ok=True)
    app.conf.broker_transport_options = {
        "data_folder_in": str(FOLDER / "queue"),
        "data_folder_out": str(FOLDER / "queue"),
        "control_folder": str(FOLDER / "control"),
        "polling_interval": 0.02,
    }
else:
    app.conf.broker_transport_options = {"unacked_restore_interval": 1}


def turn_traffic(reason: str) -> None:
    """Put up the maintenance page."""
    (FOLDER / "maintenance").write_text(reason)


milepost = Milepost(
    app,
    store=STORE,
    routing=Routing(
        legacy=Table(FOLDER),
        error_limit=ErrorLimit(rate=0.5, window=600.0, at_least=20),
        traffic=turn_traffic,
    ),
)
create_job = milepost.router.create_job
"""What every call site of the product says; none of them knows which system runs the job."""


def carry(self: CheckpointableTask, job_type: str, /, **payload: Any) -> Any:
    """Do a job of any type, item by item."""
    work = WORK[job_type]
    for item in self.iterate(work.items(payload), name="items", every=1):
        done = self.state.get("parts", [])
        self.state["parts"] = [*done, work.do(payload, item)]
        time.sleep(payload.get("pace", 0.0))
        effects.note(FOLDER, job_type, payload["unit"], len(done), "celery")
    effects.note(FOLDER, job_type, payload["unit"], effects.DONE, "celery")
    return work.combine(payload, self.state.get("parts", []))


def declare(job_type: str) -> None:
    """Make a durable task of one kind of work."""

    @app.task(
        base=CheckpointableTask,
        bind=True,
        shared=False,
        name=f"tasks.{job_type}",
        job_type=job_type,
    )
    def task(self: CheckpointableTask, **payload: Any) -> Any:
        return carry(self, job_type, **payload)


for job_type in WORK:
    declare(job_type)
