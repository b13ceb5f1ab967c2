"""The contract of managers of jobs, on a host's own, the example's and the one in threads."""

import sys
import threading
from pathlib import Path

import pytest

from deliveries import make_app
from hosts import AdoptingHost
from milepost.routing import BackgroundJobManager
from milepost.testing import JobManagerContract

EXAMPLE = Path(__file__).parents[2] / "examples" / "data_testing"


class TestHostJobs(JobManagerContract):
    """A host's own, in a few lines."""

    job_type, payload = "import", {"rows": 3}

    @pytest.fixture
    def manager(self):
        return AdoptingHost()

    def work(self, manager, job_id):
        manager.end(job_id, 3)


class TestTable(JobManagerContract):
    """The example's table."""

    job_type, payload = "rule_execution", {"column": "dep_delay", "unit": 1}

    @pytest.fixture
    def manager(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(str(EXAMPLE))
        import table

        manager = table.Table(tmp_path)
        manager.make()
        yield manager
        for name in ("table", "effects", "work", "flights"):
            sys.modules.pop(name, None)

    def work(self, manager, job_id):
        while manager.get_job_status(job_id).status != "succeeded":
            manager.work_off(manager.take())


class TestBackgroundJobManager(JobManagerContract):
    """Jobs in threads: each waits until it is let go."""

    job_type, payload = "wait", {"rows": 3}

    @pytest.fixture
    def manager(self):
        manager = BackgroundJobManager(make_app(), threads=16)
        self.gates = {}

        @manager.job_type("wait", bind=True)
        def wait(run, rows=0):
            gate = self.gates.setdefault(run.job_id, threading.Event())
            while not gate.wait(0.01):
                run.save(None)
            return rows

        yield manager
        for gate in self.gates.values():
            gate.set()
        for job_id in list(manager._running):
            self.gates.setdefault(job_id, threading.Event()).set()
        manager.close()

    def work(self, manager, job_id):
        self.gates.setdefault(job_id, threading.Event()).set()
        manager.result(job_id, timeout=30)

    def test_cancel(self, manager):
        """It ends where it saves, which is soon."""
        job_id = self.new(manager)
        manager.cancel(job_id, by="ann")
        until(lambda: manager.get_job_status(job_id).status == "cancelled")

    def test_pause_and_resume(self, manager):
        """The same."""
        job_id = self.new(manager)
        manager.pause(job_id, by="ann")
        until(lambda: manager.get_job_status(job_id).status == "paused")
        manager.resume(job_id, by="ann")
        self.work(manager, job_id)


def until(condition):
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it does not come to that")
