"""Small facts that all processes share: JSON in the store's documents."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from milepost.documents import Document, Documents
from milepost.errors import StoreError

TRIES = 50
"""How often a change is decided anew because somebody else was faster."""

Edit = Callable[[dict[str, Any]], Mapping[str, Any] | None]
"""Takes what a document says and returns what it shall say; None: as it is."""


def said_by(document: Document) -> dict[str, Any]:
    """Return what a document says; one that was never written says nothing."""
    if not document.data:
        return {}
    said = json.loads(document.data)
    assert isinstance(said, dict)
    return said


def read(documents: Documents, name: str) -> dict[str, Any]:
    """Return what the document of that name says."""
    return said_by(documents.read(name))


def change(documents: Documents, name: str, edit: Edit) -> dict[str, Any]:
    """Change a document; whoever else writes it meanwhile, no change is lost.

    Args:
        documents: the store's.
        name: which document.
        edit: called with what it says, again whenever somebody else was faster.

    Returns:
        What it says now. A document that says nothing is empty.

    Raises:
        StoreError: it never got its turn.
    """
    for _ in range(TRIES):
        document = documents.read(name)
        wanted = edit(said_by(document))
        if wanted is None:
            return said_by(document)
        data = json.dumps(dict(wanted), separators=(",", ":")).encode() if wanted else b""
        if data == document.data or documents.write(name, data, version=document.version):
            return dict(wanted)
    raise StoreError(f"document {name!r}: others were faster {TRIES} times; try again")


def clear(documents: Documents, name: str) -> None:
    """Empty a document.

    Raises:
        StoreError: as for :func:`change`.
    """
    change(documents, name, lambda _: {})
