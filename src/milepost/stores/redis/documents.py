"""Documents and counters in Redis.

Keys, where ``ns`` is the namespace::

    ns:documents               hash   name → ``<version> <nonce of the last write>\\n<data>``
    ns:counters:{<name>}       hash   counter → total; ``\\0`` → nonce of the last addition
"""

import secrets
from collections.abc import Mapping, Sequence
from itertools import chain

from milepost.documents import DOCUMENT_BYTES, Document
from milepost.stores.bounds import check_size
from milepost.stores.redis.record import text
from milepost.stores.redis.wire import Wire

NONCE = b"\0"


class RedisDocuments:
    """The verbs of :class:`milepost.documents.Documents`.

    Args:
        wire: the way to the server.
        namespace: of all keys.
    """

    def __init__(self, wire: Wire, namespace: str) -> None:
        self._wire = wire
        self._key = f"{namespace}:documents"
        self._counters = f"{namespace}:counters:"

    def read(self, name: str) -> Document:
        kept, moment = self._wire.run("read_document", 1, self._key, name)
        return _document(name, kept, moment)

    def read_all(self, prefix: str) -> Sequence[Document]:
        flat, moment = self._wire.run("read_documents", 1, self._key)
        found = zip(map(text, flat[::2]), flat[1::2], strict=True)
        wanted = sorted((name, kept) for name, kept in found if name.startswith(prefix))
        documents = [_document(name, kept, moment) for name, kept in wanted]
        return [document for document in documents if document.data]

    def write(self, name: str, data: bytes, *, version: int) -> bool:
        check_size(name, data, DOCUMENT_BYTES)
        nonce = secrets.token_hex(6)
        return bool(self._wire.run("write_document", 1, self._key, name, version, nonce, data))

    def add(self, name: str, amounts: Mapping[str, int]) -> Mapping[str, int]:
        flat = chain.from_iterable(amounts.items())
        nonce = secrets.token_hex(6)
        totals = self._wire.run("add", 1, self._counters_of(name), NONCE, nonce, *flat)
        return {counter: int(total) for counter, total in zip(amounts, totals, strict=True)}

    def totals(self, name: str) -> Mapping[str, int]:
        flat = self._wire.ask(("HGETALL", self._counters_of(name)))
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return {text(counter): int(total) for counter, total in pairs if counter != NONCE}

    def _counters_of(self, name: str) -> str:
        return f"{self._counters}{{{name}}}"


def _document(name: str, kept: bytes | None, moment: int) -> Document:
    if kept is None:
        return Document(name, b"", 0, moment / 1000)
    head, _, data = kept.partition(b"\n")
    return Document(name, data, int(head.split()[0]), moment / 1000)
