"""The rules of :class:`milepost.jobs.JobManager` as tests that any host's manager can run.

Subclass it in a pytest suite, and say what a job of yours is::

    class TestOurJobs(JobManagerContract):
        job_type, payload = "import", {"rows": 3}

        @pytest.fixture
        def manager(self):
            return OurJobs()

        def work(self, manager, job_id):
            ...  # let your system do the job to its end

No job may come to its end by itself before :meth:`JobManagerContract.work` is called for it.
"""

from collections.abc import Mapping
from typing import Any

from milepost import extras
from milepost.errors import InvalidTransitionError, JobNotFoundError
from milepost.jobs import Adopting, Answering, Counting, Handover
from milepost.model import JobStatus
from milepost.routing.pins import LONGEST_ID

pytest: Any = extras.find("pytest")

NOTHING_DONE: Mapping[str, Any] = {
    "steps": {},
    "loops": {},
    "maps": {},
    "state": None,
    "data": None,
}
"""The checkpoint of a job that has not begun."""


class JobManagerContract:
    """What a manager of jobs must keep, so that the router can rely on it.

    Attributes:
        job_type: one that the system does.
        payload: a job of it.
        pauses: whether jobs of the system can be paused.
    """

    job_type: str
    payload: Mapping[str, Any]
    pauses = True

    def work(self, manager: Any, job_id: str) -> None:
        """Let the system do a job to its end, and wait for that."""
        raise NotImplementedError

    def new(self, manager: Any, key: str | None = None) -> str:
        """Create a job."""
        job_id: str = manager.create_job(self.job_type, self.payload, idempotency_key=key)
        return job_id

    def test_a_job_is_known_by_its_id(self, manager: Any) -> None:
        """A text that fits where ids are noted."""
        job_id = self.new(manager)
        assert isinstance(job_id, str)
        assert job_id.isprintable()
        assert 0 < len(job_id) <= LONGEST_ID
        report = manager.get_job_status(job_id)
        assert (report.id, report.job_type) == (job_id, self.job_type)
        assert not JobStatus(report.status).is_terminal

    def test_a_job_comes_to_its_end(self, manager: Any) -> None:
        job_id = self.new(manager)
        self.work(manager, job_id)
        assert manager.get_job_status(job_id).status == JobStatus.SUCCEEDED

    def test_the_same_key_gives_the_same_job(self, manager: Any) -> None:
        """Also after its end: a caller that died asks again, however late."""
        first = self.new(manager, "key")
        assert self.new(manager, "key") == first
        assert self.new(manager, "another key") != first
        assert self.new(manager) not in (first, self.new(manager))
        self.work(manager, first)
        assert self.new(manager, "key") == first

    def test_an_id_that_nobody_has_given(self, manager: Any) -> None:
        for verb in (
            manager.get_job_status,
            manager.pause,
            manager.resume,
            manager.cancel,
        ):
            with pytest.raises(JobNotFoundError):
                verb("milepost-knows-no-such-job")

    def test_cancel(self, manager: Any) -> None:
        """One that waits ends by it."""
        job_id = self.new(manager)
        manager.cancel(job_id, by="ann")
        assert manager.get_job_status(job_id).status == JobStatus.CANCELLED

    def test_pause_and_resume(self, manager: Any) -> None:
        """Or a clear no."""
        job_id = self.new(manager)
        if not self.pauses:
            with pytest.raises(InvalidTransitionError):
                manager.pause(job_id, by="ann")
            return
        manager.pause(job_id, by="ann")
        assert manager.get_job_status(job_id).status == JobStatus.PAUSED
        manager.resume(job_id, by="ann")
        self.work(manager, job_id)
        assert manager.get_job_status(job_id).status == JobStatus.SUCCEEDED

    def test_what_has_ended_is_not_steered(self, manager: Any) -> None:
        job_id = self.new(manager)
        self.work(manager, job_id)
        for verb in (manager.pause, manager.resume, manager.cancel):
            with pytest.raises(InvalidTransitionError):
                verb(job_id)
        assert manager.get_job_status(job_id).status == JobStatus.SUCCEEDED

    def test_an_adopted_job_is_one_however_often_it_is_handed_over(self, manager: Any) -> None:
        if not isinstance(manager, Adopting):
            pytest.skip("this manager does not adopt")
        handover = Handover("celery-1", self.job_type, self.payload)
        job_id = manager.adopt(handover, dict(NOTHING_DONE))
        assert manager.adopt(handover, dict(NOTHING_DONE)) == job_id
        other = Handover("celery-2", self.job_type, self.payload)
        assert manager.adopt(other, dict(NOTHING_DONE)) != job_id
        self.work(manager, job_id)
        assert manager.get_job_status(job_id).status == JobStatus.SUCCEEDED
        assert manager.adopt(handover, dict(NOTHING_DONE)) == job_id

    def test_a_result_can_be_read_after_the_end(self, manager: Any) -> None:
        if not isinstance(manager, Answering):
            pytest.skip("this manager keeps no results")
        one, other = self.new(manager), self.new(manager)
        self.work(manager, one)
        self.work(manager, other)
        assert manager.result(one) == manager.result(other)

    def test_counts_follow(self, manager: Any) -> None:
        if not isinstance(manager, Counting):
            pytest.skip("this manager does not count")
        before = manager.counts(self.job_type)
        done, _ = self.new(manager), self.new(manager)
        self.work(manager, done)
        after = manager.counts(self.job_type)
        assert after.succeeded - before.succeeded == 1
        assert after.open - before.open == 1
