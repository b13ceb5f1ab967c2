"""How jobs are found again by those who do not know their ids."""

from milepost.errors import ConfigurationError
from milepost.model import NOTHING, Delivery, Delta, Job, JobStatus, Progress, Settlement, Signal
from milepost.query import Query
from milepost.store import Store
from milepost.testing.contracts.base import DONE, StoreCase, raises


class ListingContract(StoreCase):
    """How jobs are found again by those who do not know their ids."""

    def found(self, store: Store, **wanted: object) -> list[str]:
        return [job.id for job in self.found_jobs(store, **wanted)]

    def found_jobs(self, store: Store, **wanted: object) -> tuple[Job, ...]:
        return store.find(Query(**wanted)).jobs  # type: ignore[arg-type]

    def test_what_its_owner_says_of_a_job_is_kept(self, store: Store) -> None:
        metadata = {"tenant": "åcme", "n": 1, "tags": ["a", None], "deep": {"x": 1.5}}
        job_id = self.new(store, owner="ann", idempotency_key="k-1", metadata=metadata)
        job = store.get(job_id)
        assert (job.owner, job.idempotency_key, job.metadata) == ("ann", "k-1", metadata)
        store.settle(self.granted(store, job_id), DONE)
        assert store.get(job_id).metadata == metadata
        plain = store.get(self.new(store))
        assert (plain.owner, plain.idempotency_key, plain.metadata) == (None, None, {})

    def test_jobs_are_found_newest_first(self, store: Store) -> None:
        ids = []
        for _ in range(3):
            ids.append(self.new(store))
            self.elapse(0.002)
        assert self.found(store) == ids[::-1]

    def test_each_filter_narrows(self, store: Store) -> None:
        ann = self.new(store, owner="ann")
        other = self.new(store, owner="ann", task="other")
        bob = self.new(store, owner="bob")
        paused = self.new(store)
        store.signal(paused, Signal.PAUSE)
        assert set(self.found(store, owner="ann")) == {ann, other}
        assert self.found(store, task="other") == [other]
        assert self.found(store, owner="bob", task="t") == [bob]
        assert self.found(store, statuses=frozenset({JobStatus.PAUSED})) == [paused]
        alive = frozenset({JobStatus.PAUSED, JobStatus.PENDING})
        assert set(self.found(store, statuses=alive)) == {ann, other, bob, paused}
        assert self.found(store, owner="nobody") == []

    def test_since_is_inclusive(self, store: Store) -> None:
        old = self.new(store)
        self.elapse(0.01)
        new = self.new(store)
        since = store.get(new).created_at
        assert self.found(store, since=since) == [new]
        assert set(self.found(store, since=since - 3600)) == {old, new}
        assert self.found(store, since=since + 3600) == []

    def test_pages_name_each_job_once(self, store: Store) -> None:
        ids = {self.new(store) for _ in range(7)}
        pages, cursor = [], None
        for _ in range(10):
            page = store.find(Query(limit=3, cursor=cursor))
            pages.append([job.id for job in page.jobs])
            self.elapse(0.01)
            self.new(store)  # it comes too late for this listing
            if (cursor := page.cursor) is None:
                break
        assert [len(page) for page in pages] == [3, 3, 1]
        assert {job_id for page in pages for job_id in page} == ids

    def test_last_page_has_no_cursor(self, store: Store) -> None:
        for _ in range(4):
            self.new(store, owner="ann")
            self.new(store, owner="bob")
        first = store.find(Query(owner="ann", limit=2))
        assert first.cursor is not None
        second = store.find(Query(owner="ann", limit=2, cursor=first.cursor))
        assert (len(second.jobs), second.cursor) == (2, None)

    def test_a_filter_that_few_jobs_pass_finds_them_among_many(self, store: Store) -> None:
        needle = self.new(store, owner="needle")
        for _ in range(700):
            self.new(store)
        assert self.found(store, owner="needle", limit=1) == [needle]
        assert len(self.found(store, limit=1000)) == 701

    def test_a_cursor_of_nobody(self, store: Store) -> None:
        for cursor in ("", "nonsense", "x:y", "nan:x", "inf:x"):
            with raises(ConfigurationError):
                store.find(Query(cursor=cursor))

    def test_gone_jobs_are_not_found(self, store: Store) -> None:
        deleted, expired, kept = self.new(store), self.new(store), self.new(store)
        store.delete(deleted)
        store.settle(self.granted(store, expired), DONE)
        self.elapse(self.RETENTION + 0.1)
        assert self.found(store) == [kept]
        assert store.tally() == {("t", JobStatus.PENDING): 1}
        store.purge()
        assert self.found(store) == [kept]

    def test_a_job_without_record_before_its_claim_is_found_too(self, store: Store) -> None:
        store.claim(Delivery("by-name", "t", message=b"m"), "w1:1", 60.0)
        assert self.found(store) == ["by-name"]

    def test_tally(self, store: Store) -> None:
        self.new(store)
        self.new(store, task="other")
        self.granted(store, self.new(store))
        self.granted(store, self.new(store))
        assert store.tally() == {
            ("t", JobStatus.PENDING): 1,
            ("other", JobStatus.PENDING): 1,
            ("t", JobStatus.RUNNING): 2,
        }

    def test_record_tells_how_fast_a_job_is(self, store: Store) -> None:
        job_id = self.new(store)
        first = self.granted(store, job_id)
        store.commit(first, Delta(progress=Progress(10, 100, "warming up")))
        store.settle(first, Settlement(JobStatus.INTERRUPTED, delay=0.0))
        lease = self.granted(store, job_id)
        job = store.get(job_id)
        assert (job.begun_done, job.progress) == (10, Progress(10, 100, "warming up"))
        assert job.rate is None
        self.elapse(0.1)
        store.commit(lease, Delta({"a": b"1"}, progress=Progress(30, 100)))
        job = store.get(job_id)
        assert job.begun_at is not None
        assert job.moved_at is not None
        assert job.moved_at - job.begun_at >= 0.09
        assert job.rate is not None
        assert 0 < job.rate <= 20 / 0.09
        assert job.seconds_left is not None
        assert abs(job.seconds_left - 70 / job.rate) < 1e-6

    def test_record_tells_how_long_a_job_has_stood_still(self, store: Store) -> None:
        job_id = self.new(store)
        assert store.get(job_id).still_for is None
        lease = self.granted(store, job_id)
        self.elapse(0.1)
        store.renew("w1", [job_id])
        store.commit(lease, NOTHING)
        job = store.get(job_id)
        assert job.still_for is not None
        assert job.still_for >= 0.09
        assert job.heartbeat_age is not None
        store.commit(lease, Delta(progress=Progress(1)))
        still = store.get(job_id).still_for
        assert still is not None
        assert still < job.still_for
        store.settle(lease, DONE)
        assert store.get(job_id).still_for is None
