"""What processes share beside jobs: documents and counters."""

from concurrent.futures import ThreadPoolExecutor

from milepost.documents import DOCUMENT_BYTES
from milepost.errors import ValueTooLargeError
from milepost.store import Store
from milepost.testing.contracts.base import StoreCase, raises


class DocumentsContract(StoreCase):
    """One writer per version, and sums to which nothing is added twice."""

    def test_a_document_that_nobody_wrote(self, store: Store) -> None:
        document = store.documents.read("flags/none")
        assert (document.data, document.version) == (b"", 0)
        assert document.read_at > 0

    def test_a_document_is_replaced_by_who_saw_it_last(self, store: Store) -> None:
        name, documents = "flags/a", store.documents
        assert documents.write(name, b"\x00first\n", version=0)
        assert not documents.write(name, b"late", version=0)
        assert documents.write(name, b"second", version=1)
        assert not documents.write(name, b"late", version=1)
        found = documents.read(name)
        assert (found.name, found.data, found.version) == (name, b"second", 2)

    def test_an_emptied_document_keeps_its_version(self, store: Store) -> None:
        name, documents = "flags/emptied", store.documents
        assert documents.write(name, b"x", version=0)
        assert documents.write(name, b"", version=1)
        assert (documents.read(name).data, documents.read(name).version) == (b"", 2)
        assert not documents.write(name, b"late", version=0)
        assert documents.read_all("flags/emptied") == []

    def test_documents_of_a_prefix(self, store: Store) -> None:
        for name in ("p/b", "p/ä", "p/a", "p_/c", "q/d", "P/e"):
            assert store.documents.write(name, name.encode(), version=0)
        found = store.documents.read_all("p/")
        assert [document.name for document in found] == ["p/a", "p/b", "p/ä"]
        assert [document.data.decode() for document in found] == ["p/a", "p/b", "p/ä"]
        assert {document.version for document in found} == {1}

    def test_a_document_that_is_too_large(self, store: Store) -> None:
        assert store.documents.write("large", b"x" * DOCUMENT_BYTES, version=0)
        with raises(ValueTooLargeError):
            store.documents.write("large", b"x" * (DOCUMENT_BYTES + 1), version=1)

    def test_of_several_writers_one_wins(self, store: Store) -> None:
        def increase(_: int) -> None:
            while True:
                found = store.documents.read("race")
                number = int(found.data or b"0") + 1
                if store.documents.write("race", str(number).encode(), version=found.version):
                    return

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(increase, range(20)))
        assert store.documents.read("race").data == b"20"

    def test_counters(self, store: Store) -> None:
        documents = store.documents
        assert documents.totals("runs") == {}
        assert documents.add("runs", {"ok": 2, "failed": 1}) == {"ok": 2, "failed": 1}
        assert documents.add("runs", {"ok": 3}) == {"ok": 5}
        assert documents.add("runs", {"failed": -1}) == {"failed": 0}
        assert documents.totals("runs") == {"ok": 5, "failed": 0}
        assert documents.totals("others") == {}

    def test_counters_of_many_at_once(self, store: Store) -> None:
        def work(n: int) -> None:
            for _ in range(10):
                store.documents.add("crowd", {"b": 1, "a": n})

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert store.documents.totals("crowd") == {"a": 60, "b": 40}
