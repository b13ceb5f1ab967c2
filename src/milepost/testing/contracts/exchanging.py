"""Values that take the place of others which mean the same, while anybody may be writing."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from milepost.errors import JobNotFoundError
from milepost.model import RECORDED, Delta, JobStatus, Progress, Settlement, Swap
from milepost.store import Store
from milepost.testing.contracts.base import DONE, StoreCase, raises


class ExchangeContract(StoreCase):
    """Each swap for itself, and only where the value is still the one that was read."""

    def test_fields_are_exchanged_where_they_are_as_they_were_read(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.commit(lease, Delta({"a": b"1", "b": b"\x00\xff", "c": b"3"}))
        swaps = [
            Swap("a", b"1", b"one"),
            Swap("b", b"\x00\xff", b"\xff\x00"),
            Swap("c", b"4", b"four"),
            Swap("d", b"", b"none"),
        ]
        assert store.exchange(job_id, swaps) == 2
        assert store.load(job_id) == {"a": b"one", "b": b"\xff\x00", "c": b"3"}
        assert store.exchange(job_id, swaps) == 0

    def test_parts_of_the_record_are_exchanged(self, store: Store) -> None:
        job_id = self.new(store, message=b"m\x00")
        lease = self.granted(store, job_id)
        progress = Progress(3, None, "half/way, ä")
        end = Settlement(
            JobStatus.FAILED, "why", b"r", "E: x", delta=Delta({}, (), progress), finishing=True
        )
        store.settle(lease, end)
        job = store.get(job_id)
        found: dict[str, Any] = {
            **{name: getattr(job, name, None) for name in RECORDED},
            "doing": "half/way, ä",
        }
        assert found["message"] == b"m\x00"
        swaps = [
            Swap(name, value, b"new\x00" if isinstance(value, bytes) else "neu/ä", of_record=True)
            for name, value in found.items()
        ]
        assert store.exchange(job_id, swaps) == len(RECORDED)
        after = store.get(job_id)
        assert (after.message, after.result) == (b"new\x00", b"new\x00")
        assert (after.error, after.reason) == ("neu/ä", "neu/ä")
        assert after.progress == Progress(3, None, "neu/ä")
        assert store.exchange(job_id, swaps) == 0

    def test_nothing_else_changes(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.commit(lease, Delta({"a": b"1"}, (), Progress(1, 2, "x")))
        before = store.get(job_id)
        store.exchange(job_id, [Swap("a", b"1", b"2"), Swap("doing", "x", "y", of_record=True)])
        after = store.get(job_id)
        for name in ("status", "fence", "worker", "lease_until", "moved_at", "history", "attempts"):
            assert getattr(after, name) == getattr(before, name)
        store.commit(lease, Delta({"a": b"3"}))
        store.settle(lease, DONE)
        assert store.load(job_id) == {"a": b"3"}

    def test_a_job_that_has_ended_still_expires(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.settle(lease, Settlement(JobStatus.SUCCEEDED, delta=Delta({"a": b"1"})))
        assert store.exchange(job_id, [Swap("a", b"1", b"2")]) == 1
        self.elapse(self.RETENTION + 0.05)
        with raises(JobNotFoundError):
            store.get(job_id)

    def test_an_unknown_job_has_nothing_to_exchange(self, store: Store) -> None:
        with raises(JobNotFoundError):
            store.exchange("nobody", [Swap("a", b"1", b"2")])

    def test_a_newer_value_always_stays(self, store: Store) -> None:
        """An attempt writes while somebody exchanges: none of its writes is undone."""
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.commit(lease, Delta({"a": b"0"}))

        def exchange(_: int) -> None:
            for _ in range(40):
                seen = store.load(job_id)["a"]
                if not seen.endswith(b"!"):
                    store.exchange(job_id, [Swap("a", seen, seen + b"!")])

        def write(_: int) -> None:
            for number in range(1, 41):
                store.commit(lease, Delta({"a": b"%d" % number}))
                kept = int(store.load(job_id)["a"].rstrip(b"!"))
                assert kept == number

        with ThreadPoolExecutor(2) as pool:
            work = [pool.submit(exchange, 0), pool.submit(write, 0)]
            for one in work:
                one.result()
        assert store.load(job_id)["a"].rstrip(b"!") == b"40"

    def test_many_at_once(self, store: Store) -> None:
        job_id = self.new(store)
        lease = self.granted(store, job_id)
        store.commit(lease, Delta({f"f{n}": b"%d" % n for n in range(1500)}))
        swaps = [Swap(f"f{n}", b"%d" % n, b"x") for n in range(1500)]
        assert store.exchange(job_id, swaps) == 1500
        assert set(store.load(job_id).values()) == {b"x"}
