"""Documents that all processes share: changed and emptied by the same rules."""

import pytest

from milepost.errors import StoreError
from milepost.routing import shared
from milepost.stores.memory import MemoryStore

NAME = "migrations/import"


@pytest.fixture
def documents():
    return MemoryStore().documents


def let_others_be_faster(documents, monkeypatch, times):
    write, left = documents.write, iter(range(times))

    def slow(name, data, *, version):
        if next(left, None) is not None:
            write(name, b'{"other":1}', version=version)
        return write(name, data, version=version)

    monkeypatch.setattr(documents, "write", slow)


ACTS = [
    lambda documents: shared.change(
        documents, NAME, lambda said: {**said, "a": said.get("a", 0) + 1}
    ),
    lambda documents: shared.clear(documents, NAME),
]


@pytest.mark.parametrize("act", ACTS)
def test_others_who_are_faster(documents, monkeypatch, act):
    """It is decided anew a few times, and never given up without a word."""
    documents.write(NAME, b'{"a":1}', version=0)
    with monkeypatch.context() as patch:
        let_others_be_faster(documents, patch, shared.TRIES - 1)
        act(documents)
    with monkeypatch.context() as patch:
        documents.write(NAME, b'{"a":1}', version=documents.read(NAME).version)
        let_others_be_faster(documents, patch, shared.TRIES)
        with pytest.raises(StoreError, match="others were faster"):
            act(documents)


def test_a_document_that_says_nothing_is_empty(documents):
    """Whether it was emptied or changed to that: nobody finds it any more."""
    documents.write(NAME, b'{"a":1}', version=0)
    assert shared.change(documents, NAME, lambda said: {}) == {}
    assert documents.read_all("migrations/") == []
    version = documents.read(NAME).version
    shared.clear(documents, NAME)
    assert documents.read(NAME).version == version
