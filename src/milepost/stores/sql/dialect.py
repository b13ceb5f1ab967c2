"""What differs between SQL databases, as two small sockets: the dialect and the link.

Statements are written once, with ``:name`` for parameters and ``{word}`` for what the
dialect puts in: ``{jobs}``, ``{fields}``, ``{meta}`` (tables), ``{now}`` (the clock),
``{ids}`` (membership in the list parameter ``:ids``), ``{lock}`` and ``{skip}`` (row
locks), ``{columns}`` and the column types of the schema.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from enum import Enum
from typing import Any, Protocol, TypeAlias

from milepost.model import Delta

Row: TypeAlias = tuple[Any, ...]
Params: TypeAlias = dict[str, Any]


class Trouble(Enum):
    """What an exception of the driver means for the store."""

    LOST = "lost"
    """The connection broke: a new one may work, and whether the call was done is unknown."""
    UNAVAILABLE = "unavailable"
    """Nobody answered in time: trying again at once would only wait longer."""
    REFUSED = "refused"
    """The database answered, and said no."""


class Link(Protocol):
    """One open connection, used by one thread at a time."""

    def fetch(self, sql: str, params: Params) -> list[Row]:
        """Run one rendered statement and return its rows."""
        ...

    def run(self, sql: str, params: Params) -> int:
        """Run one rendered statement and return how many rows it touched."""
        ...

    def begin(self) -> None:
        """Open a transaction that may write."""
        ...

    def commit(self) -> None:
        """End the transaction and keep it."""
        ...

    def rollback(self) -> None:
        """End the transaction and drop it; no error when there is none or the link is broken."""
        ...

    def save(self, update: str, params: Params, delta: Delta) -> list[Row]:
        """Run *update* on the job's row and, only if it hit, apply *delta* to its fields.

        All of it is one atomic act. *update* returns the row it hit, else nothing.
        """
        ...

    def check(self) -> None:
        """Refuse a connection whose database is no longer where the store's URL points.

        Raises:
            StoreError: what happened, and what to do.
        """
        ...

    def is_usable(self) -> bool:
        """Return whether the connection can be used again."""
        ...

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        ...


class Dialect(Protocol):
    """One kind of database behind one driver. Stateless apart from its URL."""

    @property
    def name(self) -> str:
        """The database in words for people: its URL without the password."""
        ...

    @property
    def words(self) -> Mapping[str, str]:
        """What to put in for each ``{word}`` of a statement, tables excepted."""
        ...

    def render(self, sql: str) -> str:
        """Turn ``:name`` into the driver's own kind of placeholder."""
        ...

    def list_of(self, values: Sequence[str]) -> Any:
        """Return *values* as the one parameter that ``{ids}`` expects."""
        ...

    def connect(self) -> Link:
        """Open a connection of the store's own."""
        ...

    def lock_schema(self, link: Link, namespace: str) -> None:
        """Within a transaction: keep every other process from changing the schema."""
        ...

    def has_table(self, link: Link, table: str) -> bool:
        """Return whether *table* exists where the link looks for it."""
        ...

    def join(self, connection: Any) -> Link:
        """Return a link over a driver's connection of the user's, inside their transaction.

        Raises:
            NotTransactionalError: another driver, no transaction, or plainly another
                database; the store itself checks whose tables are there.
        """
        ...

    def diagnose(self, error: BaseException) -> Trouble | None:
        """Return what *error* means, or None when it is not about the database."""
        ...


@dataclass(frozen=True, slots=True)
class Tables:
    """The names of a namespace's tables."""

    jobs: str
    fields: str
    documents: str
    counters: str
    limits: str
    meta: str

    @classmethod
    def of(cls, namespace: str) -> "Tables":
        """Return the tables of *namespace*, which is a plain identifier."""
        return cls(*(f"{namespace}_{field.name}" for field in fields(cls)))

    @property
    def words(self) -> Mapping[str, str]:
        """Return what to put in for each table's ``{word}`` in a statement."""
        return asdict(self)


def clean(text: str | None) -> str | None:
    """Return *text* without what no database stores: NUL and lone surrogates."""
    if text is None:
        return None
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()
