"""The socket for what processes share beside jobs: small documents and counters.

A feature flag, the state of a circuit breaker, how far a migration is: each is one document,
read whole and replaced whole, by whoever saw its latest version. Counters are for what many
add to at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

DOCUMENT_BYTES = 256 * 1024
"""The largest document a store takes."""


@dataclass(frozen=True, slots=True)
class Document:
    """One shared value, as it was when it was read.

    Attributes:
        name: words joined by ``/``: ``flags/celery_import``.
        data: what was last written; empty where nothing was.
        version: grows with each write, also with one that empties it; 0: never written.
        read_at: when it was read, on the store's clock, in seconds since the epoch.
    """

    name: str
    data: bytes
    version: int
    read_at: float


class Documents(Protocol):
    """Documents and counters of one store.

    Rules, all of them in :class:`milepost.testing.StoreContract`:

    * **One writer per version.** Of several writers who read the same version, one wins.
    * **A version never comes back.** Emptying a document does not start it over.
    * **Nothing is lost or added twice** when a reply gets lost on its way, as long as no
      other writer comes between the two sendings.
    * **Nothing expires.** Names are few and chosen by code: never one per job.
    """

    def read(self, name: str) -> Document:
        """Return a document; one that was never written is empty and of version 0."""
        ...

    def read_all(self, prefix: str) -> Sequence[Document]:
        """Return every document that is not empty and whose name begins so, by name."""
        ...

    def write(self, name: str, data: bytes, *, version: int) -> bool:
        """Replace a document if it is still of that version.

        Returns:
            False where it is not: somebody else has written it. Read again and decide anew.

        Raises:
            ValueTooLargeError: over DOCUMENT_BYTES.
        """
        ...

    def add(self, name: str, amounts: Mapping[str, int]) -> Mapping[str, int]:
        """Add to counters, in one act.

        Args:
            name: which group of counters.
            amounts: counter → what to add; counters begin at 0.

        Returns:
            The new totals of these counters.
        """
        ...

    def totals(self, name: str) -> Mapping[str, int]:
        """Return every counter of a group that something was ever added to."""
        ...
