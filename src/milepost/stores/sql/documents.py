"""Documents and counters in two tables of their own."""

from collections.abc import Mapping, Sequence

from milepost.documents import DOCUMENT_BYTES, Document
from milepost.stores.bounds import check_size
from milepost.stores.sql.database import Database, transaction
from milepost.stores.sql.dialect import Link


class SqlDocuments:
    """The verbs of :class:`milepost.documents.Documents`.

    Args:
        database: where the tables are.
    """

    def __init__(self, database: Database) -> None:
        self._call, self._sql = database.call, database.sql

    def read(self, name: str) -> Document:
        rows = self._call(lambda link, _: link.fetch(self._sql.document, {"name": name}))
        version, data, _, now = rows[0]
        return Document(name, data or b"", version or 0, now)

    def read_all(self, prefix: str) -> Sequence[Document]:
        rows = self._call(lambda link, _: link.fetch(self._sql.documents, {"prefix": prefix}))
        return [Document(name, data, version, now) for name, version, data, now in rows]

    def write(self, name: str, data: bytes, *, version: int) -> bool:
        check_size(name, data, DOCUMENT_BYTES)
        sql = self._sql.next_document if version else self._sql.first_document

        def work(link: Link, call: int) -> bool:
            params = {"name": name, "data": data, "version": version, "call": call}
            if link.run(sql, params) == 1:
                return True
            rows = link.fetch(self._sql.document, {"name": name})
            return bool(rows[0][2] == call)

        return self._call(work)

    def add(self, name: str, amounts: Mapping[str, int]) -> Mapping[str, int]:
        def work(link: Link, call: int) -> dict[str, int]:
            totals = {}
            with transaction(link):
                for counter in sorted(amounts):  # one order for all, so that none waits in a ring
                    params = {"name": name, "counter": counter, "call": call}
                    params["amount"] = amounts[counter]
                    totals[counter] = link.fetch(self._sql.add, params)[0][0]
            return totals

        return self._call(work)

    def totals(self, name: str) -> Mapping[str, int]:
        rows = self._call(lambda link, _: link.fetch(self._sql.totals, {"name": name}))
        return {str(counter): int(total) for counter, total in rows}
