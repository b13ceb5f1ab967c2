"""Encrypted records: they open in their place with their key, and nowhere else."""

import os
import threading

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from milepost.codecs import compression, encrypted
from milepost.codecs.encrypted import Cipher, as_text, from_text, is_record, key_id_of
from milepost.codecs.keyring import Key, Keyring
from milepost.errors import (
    ConfigurationError,
    EncryptedDataError,
    KeyUnknownError,
    MilepostError,
    NoKeysError,
    PlaintextError,
    TamperedError,
    UnknownFormatError,
    ValueTooLargeError,
    WrongKeyError,
)

OLD, NEW = Key("2026-01", b"o" * 32), Key("2026-11", b"n" * 32, is_current=True)
ACME = Key("acme-1", b"a" * 32, tenant="acme", is_current=True)
RING = Keyring([OLD, NEW, ACME])
PLACE, NAME = b"place", "job-1: step"
CANARY = b"canary-4711"

GOLDEN = {
    "version 1, plain": (
        "TUUBEAcyMDI2LTEx75PUb33we9qC6utNlBKKktjNHmwAAAAHs15mLQs8kgKqnOGlOMSckknzNDTpQFwaSAsGIB7A"
        "GKL4WH1vCg",
        b"golden \x00\xff",
    ),
    "version 1, zlib": (
        "TUUBEQcyMDI2LTEx75PUb1Kn-6QJautywjYFrfn9CsQAAAAHumJA2HsGVeWRp7cD7NdvgdeeDHcUql9vDTYqRUIG"
        "N6QSxcA7K3EJF4QZfyHvg_lmEy6j9kJO3Nq3EdYsIBn266dNbvJlAK1Avv1lkJq-vhPpqDtwX9HlgUbuyh8nTGlw"
        "ZvCg-e4WNQ",
        b"golden " * 1000,
    ),
}


def cipher(compress="zlib", ring=RING):
    return Cipher(ring, compress)


@given(st.binary(max_size=9000), st.binary(max_size=40), st.integers(0, 2**32 - 1))
def test_what_goes_in_comes_out(data, place, sequence):
    """Every value, in every place, under every number."""
    sealed = cipher().sealer().seal(place, data, sequence)
    opened = cipher().open(place, sealed, NAME)
    assert (opened.data, opened.key_id, opened.sequence) == (data, "2026-11", sequence)


@given(st.binary(max_size=300), st.data())
def test_no_other_bytes_open(data, draw):
    """One changed bit anywhere, or a cut anywhere, is refused with an error of ours."""
    sealed = cipher().sealer().seal(PLACE, data)
    changed = bytearray(sealed)
    at = draw.draw(st.integers(0, len(sealed) - 1))
    changed[at] ^= 1 << draw.draw(st.integers(0, 7))
    cut = sealed[: draw.draw(st.integers(0, len(sealed) - 1))]
    padded = cut + b"\0"
    assume(padded != sealed)  # where a zero is just what was cut off
    for damaged in (bytes(changed), cut, padded, sealed + b"\0"):
        with pytest.raises(EncryptedDataError):
            cipher().open(PLACE, damaged, NAME)


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda b: b"ME\x01" + b)))
def test_no_bytes_break_the_decoder(data):
    """Whatever somebody puts there: only our errors."""
    with pytest.raises(EncryptedDataError):
        cipher().open(PLACE, data, NAME)


@given(st.text(max_size=60))
def test_no_text_breaks_the_decoder(text):
    assert from_text(text) is None or isinstance(from_text(text), bytes)


@pytest.mark.parametrize("compress", [None, "zlib", "zstd"])
@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 100_000])
def test_compression_is_seen_by_nobody(compress, size):
    """Any reader reads what any writer wrote."""
    data = (b"abc" * size)[:size]
    assert cipher().open(PLACE, cipher(compress).sealer().seal(PLACE, data), NAME).data == data


def test_large_values_shrink_and_small_ones_do_not():
    seal = cipher().sealer().seal
    assert len(seal(PLACE, b"a" * 100_000)) < 1000
    assert len(seal(PLACE, b"a" * 4000)) > 4000
    noise = os.urandom(100_000)
    assert len(seal(PLACE, noise)) < len(noise) + 100


@pytest.mark.parametrize("compress", ["zlib", "zstd"])
def test_a_decompression_bomb_is_refused(monkeypatch, compress):
    """What would not have been written is not read."""
    bomb = cipher(compress).sealer().seal(PLACE, b"\0" * 1_000_000)
    monkeypatch.setattr(encrypted, "LARGEST", 999_999)
    with pytest.raises(TamperedError):
        cipher().open(PLACE, bomb, NAME)
    with pytest.raises(ValueTooLargeError):
        cipher(compress).sealer().seal(PLACE, b"\0" * 1_000_000)


def test_an_unknown_compression_is_a_mistake_in_the_configuration():
    with pytest.raises(ConfigurationError, match="'zlib', 'zstd' or None"):
        cipher("lz4")
    with pytest.raises(ValueError):
        compression.decompress(9, b"", 10)


def test_each_refusal_has_its_own_error_and_tells_no_content():
    """Wrong key, unknown key, tampering, plaintext and a newer form are told apart by name."""
    sealed = cipher().sealer().seal(PLACE, CANARY)
    tampered = sealed[:-1] + bytes([sealed[-1] ^ 1])
    newer = sealed[:2] + b"\x02" + sealed[3:]
    stranger = Keyring([Key("2026-11", b"x" * 32, is_current=True)])
    cases = [
        (RING, PLACE, tampered, TamperedError),
        (RING, b"elsewhere", sealed, TamperedError),
        (RING, PLACE, CANARY, PlaintextError),
        (RING, PLACE, b"", PlaintextError),
        (RING, PLACE, newer, UnknownFormatError),
        (stranger, PLACE, sealed, WrongKeyError),
        (Keyring([OLD]), PLACE, sealed, KeyUnknownError),
    ]
    for ring, place, data, error in cases:
        with pytest.raises(error) as caught:
            cipher(ring=ring).open(place, data, NAME)
        assert NAME in str(caught.value)
        assert "canary" not in str(caught.value)
        assert caught.value.__context__ is None or "canary" not in repr(caught.value.__context__)
        if error in (TamperedError, WrongKeyError, KeyUnknownError):
            assert "2026-11" in str(caught.value)


@pytest.mark.parametrize("length", [0, 6, 20, 33, 60])
def test_a_key_id_that_no_key_can_have_is_not_told(length):
    """Its length was changed: what stands there is something of the rest, not an id."""
    sealed = bytearray(cipher().sealer().seal(PLACE, CANARY * 20))
    sealed[4] = length
    sealed[5] |= 0x80 if length else 0
    with pytest.raises(TamperedError) as caught:
        cipher().open(PLACE, bytes(sealed), NAME)
    assert caught.value.key_id == ""
    assert str(caught.value) == f"{NAME}: changed since, or moved from another place"


def test_a_moved_sequence_is_refused():
    """The number is bound: nobody can make an old record look new."""
    sealed = cipher().sealer().seal(PLACE, b"x", 3)
    at = sealed.index(b"\x00\x00\x00\x03")
    with pytest.raises(TamperedError):
        cipher().open(PLACE, sealed[:at] + b"\x00\x00\x00\x04" + sealed[at + 4 :], NAME)


def test_each_tenant_has_a_key_of_its_own():
    sealed = cipher().sealer("acme").seal(PLACE, b"x")
    assert key_id_of(sealed, NAME) == "acme-1"
    with pytest.raises(NoKeysError, match="tenant 'other'"):
        cipher().sealer("other")


def test_a_destroyed_key_makes_unreadable_at_once():
    """Also in a process that has read with it a moment ago."""

    class Ring(Keyring):
        gone = False

        def get(self, key_id):
            return None if self.gone and key_id == "acme-1" else super().get(key_id)

    ring = Ring([NEW, ACME])
    reader = cipher(ring=ring)
    sealed = reader.sealer("acme").seal(PLACE, b"x")
    assert reader.open(PLACE, sealed, NAME).data == b"x"
    ring.gone = True
    with pytest.raises(KeyUnknownError, match="acme-1"):
        reader.open(PLACE, sealed, NAME)


@pytest.mark.parametrize("name", GOLDEN)
def test_records_of_earlier_versions_still_open(name):
    """What a released milepost wrote is read for ever."""
    text, content = GOLDEN[name]
    record = from_text(text)
    assert is_record(record)
    assert cipher().open(PLACE, record, NAME).data == content
    assert as_text(record) == text


def nonce_of(record):
    at = 5 + record[4] + encrypted.AFTER_ID
    return record[at : at + encrypted.NONCE]


def salt_of(record):
    at = 5 + record[4] + encrypted.CHECK
    return record[at : at + encrypted.SALT]


def test_nonces_are_never_the_same_also_after_a_fork():
    """A forked child draws a data key of its own, from a sealer that its parent has used."""
    sealer = cipher().sealer()
    ours = [sealer.seal(PLACE, b"x") for _ in range(2000)]
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        records = [sealer.seal(PLACE, b"x") for _ in range(500)]
        os.write(write, b"\n".join(as_text(r).encode() for r in records))
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        theirs = [from_text(line.decode()) for line in pipe.read().split(b"\n")]
    os.waitpid(pid, 0)
    everything = ours + theirs
    assert len({nonce_of(r) for r in everything}) == len(everything) == 2500
    assert {salt_of(r) for r in ours}.isdisjoint({salt_of(r) for r in theirs})
    assert cipher().open(PLACE, theirs[0], NAME).data == b"x"


def test_a_data_key_is_left_before_its_nonces_could_meet(monkeypatch):
    monkeypatch.setattr(encrypted, "RECORDS_PER_KEY", 10)
    sealer = cipher().sealer()
    records = [sealer.seal(PLACE, b"x") for _ in range(40)]
    assert len({salt_of(r) for r in records}) == 4


def test_threads_share_a_sealer(monkeypatch):
    """No record gets the head of one data key and the ciphertext of another."""
    monkeypatch.setattr(encrypted, "RECORDS_PER_KEY", 3)
    shared, records = cipher(), []

    def work():
        records.extend(shared.sealer().seal(PLACE, b"x") for _ in range(300))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(records) == 1200
    assert all(shared.open(PLACE, record, NAME).data == b"x" for record in records)


def test_many_at_once_are_read_as_one_by_one_is():
    """Of several keys, compressed or not; and what is wrong with one is said as for one."""
    other = Cipher(RING, None)
    records = [
        (
            f"f{n}",
            (cipher() if n % 2 else other)
            .sealer("acme" if n % 3 else "")
            .seal(PLACE + b"f%d" % n, b"x" * (5000 if n % 5 else 10), n),
        )
        for n in range(60)
    ]
    reader = cipher()
    opened = list(reader.open_all(PLACE, records, NAME))
    assert opened == [
        (f, reader.open(PLACE + f.encode(), r, NAME).data, n) for n, (f, r) in enumerate(records)
    ]
    sealer = cipher().sealer()
    good = [(f"f{n}", sealer.seal(PLACE + b"f%d" % n, b"x")) for n in range(3)]
    bad = good[1][1]
    cases = [(bad[:-1] + bytes([bad[-1] ^ 1]), TamperedError), (bad[:40], PlaintextError)]
    cases += [(b"", PlaintextError), (bad[:3] + b"\x1f" + bad[4:], TamperedError)]
    cases += [(good[0][1], TamperedError)]
    for data, error in cases:
        with pytest.raises(error):
            list(reader.open_all(PLACE, [good[0], ("f1", data), good[2]], NAME))


def test_errors_are_ours():
    assert issubclass(EncryptedDataError, MilepostError)
