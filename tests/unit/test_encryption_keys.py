"""Keyrings: where keys come from, what is refused, and how a file of them is kept."""

import base64
import errno
import json
import os
import stat
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest

from milepost.codecs import keyring
from milepost.codecs.keyfile import read_file
from milepost.codecs.keyring import (
    Key,
    Keyring,
    SourcedKeys,
    add_to_file,
    new_entry,
    open_keys,
    path_of,
)
from milepost.errors import ConfigurationError


def text_of(*entries):
    return json.dumps({"keys": list(entries)})


def entry(key_id="k1", secret=b"s" * 32, **more):
    return {"id": key_id, "secret": base64.b64encode(secret).decode(), **more}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "keys.json"
    path.write_text(text_of(entry("old"), entry("new", use="current")))
    path.chmod(0o600)
    return path


def test_from_a_file(file):
    keys = open_keys(f"file:{file}")
    assert keys.current().id == "new"
    assert keys.get("old").secret == b"s" * 32
    assert [key.id for key in keys.all()] == ["old", "new"]
    assert open_keys(f"file://{file}").current().id == "new"


def test_from_the_environment(monkeypatch):
    monkeypatch.setenv("SHOP_KEYS", text_of(entry(use="current")))
    assert open_keys("env:SHOP_KEYS").current().id == "k1"
    monkeypatch.delenv("SHOP_KEYS")
    with pytest.raises(ConfigurationError, match="SHOP_KEYS is not set"):
        open_keys("env:SHOP_KEYS").current()


def test_from_a_callable_and_from_keys_themselves():
    assert open_keys(lambda: text_of(entry(use="current"))).current().id == "k1"
    ring = Keyring([Key("k", b"s" * 32)])
    assert open_keys(ring) is ring


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o620, 0o666, 0o644])
def test_a_file_that_lets_others_in_is_refused(file, mode):
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        open_keys(f"file:{file}").current()


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_a_file_of_its_own_or_its_groups_is_taken(file, mode):
    file.chmod(mode)
    assert open_keys(f"file:{file}").current().id == "new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_somebody_else_is_refused(file, monkeypatch):
    os.chown(file, 4711, -1)
    with pytest.raises(ConfigurationError, match="belongs to user 4711"):
        read_file(str(file))


def test_what_is_no_file_is_refused(tmp_path):
    """Nor is waited for what nobody writes into a pipe."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    for path in (tmp_path, tmp_path / "none.json", pipe):
        with pytest.raises(ConfigurationError, match="key file"):
            read_file(str(path))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("s3cret", "expected JSON"),
        ("[]", "expected JSON"),
        ('{"keys": ["s3cret"]}', "expected JSON"),
        (text_of({"secret": "s3cret"}), "without an id"),
        (text_of(entry(secret=b"s3cret")), "has 6 bytes"),
        (text_of({"id": "k1", "secret": "s3cret!"}), "no base64"),
        (text_of({"id": "k1"}), "one of secret and wrapped"),
        (text_of(entry(use="s3cret")), "'current' or 'read'"),
        (text_of(entry(kind="s3cret")), "unknown member 'kind'"),
        (text_of(entry("a b")), "key id 'a b'"),
        (text_of(entry(), entry()), "two keys of one id"),
        (text_of(entry("a", use="current"), entry("b", use="current")), "two current keys"),
        (text_of({"id": "k1", "wrapped": "c2VjcmV0"}), "wrapped keys"),
        (text_of(entry(tenant=None)), "key 'k1': its tenant is NoneType"),
        (text_of(entry(tenant=["s3cret"])), "key 'k1': its tenant is list"),
    ],
)
def test_bad_sources_are_refused_without_telling_them(text, problem):
    with pytest.raises(ConfigurationError, match=problem) as caught:
        open_keys(lambda: text).current()
    assert "s3cret" not in str(caught.value)


def test_an_unknown_kind_of_source_is_refused_without_telling_it():
    with pytest.raises(ConfigurationError, match="'file:/path', 'env:NAME'") as caught:
        open_keys("c2VjcmV0c2VjcmV0c2VjcmV0:x")
    assert "c2VjcmV0c2" not in str(caught.value)


def test_a_key_never_shows_its_secret():
    assert "sss" not in repr(Key("k", b"s" * 32))


def test_wrapped_keys_are_unwrapped_once():
    asked = []

    def unwrap(wrapped):
        asked.append(wrapped)
        return b"s" * 32

    wrapped = {"id": "k1", "wrapped": base64.b64encode(b"opaque").decode(), "use": "current"}
    keys = open_keys(lambda: text_of(wrapped), unwrap=unwrap)
    assert keys.current().secret == b"s" * 32
    keys.reread()
    assert keys.get("k1").secret == b"s" * 32
    assert asked == [b"opaque"]


def test_what_others_say_of_their_failure_is_in_no_traceback():
    """A client of a service may well say what it was given, or what it found."""

    def fail(*_):
        raise RuntimeError("s3cret")

    wrapped = text_of({"id": "k1", "wrapped": "c2VjcmV0", "use": "current"})
    for keys in (open_keys(fail), open_keys(lambda: wrapped, unwrap=fail)):
        with pytest.raises(ConfigurationError, match="RuntimeError") as caught:
            keys.current()
        lines = traceback.format_exception(caught.value)
        assert not [line for line in lines if "RuntimeError: s3cret" in line]
        assert caught.value.__context__ is None


def test_running_processes_see_keys_come_and_go(monkeypatch):
    """A source is read again after a while; while it fails, the keys read last stay."""
    now, texts = [0.0], [text_of(entry(use="current"))]
    monkeypatch.setattr(keyring.time, "monotonic", lambda: now[0])
    keys = SourcedKeys(lambda: texts[-1], "test")
    assert keys.current().id == "k1"
    texts.append(text_of(entry("k2", use="current")))
    assert keys.current().id == "k1"
    now[0] += keyring.MAX_AGE + 1
    assert keys.current().id == "k2"
    assert keys.get("k1") is None
    texts.append("broken")
    now[0] += keyring.MAX_AGE + 1
    assert keys.current().id == "k2"


def test_a_source_that_fails_for_a_while_stops_nobody(monkeypatch, caplog):
    """Whatever it raises: a job that is running goes on with the keys that were read last."""
    now, answers = [0.0], [text_of(entry("k1", use="current"))]
    monkeypatch.setattr(keyring.time, "monotonic", lambda: now[0])

    def read():
        if not answers:
            raise TimeoutError("vault: s3cret")
        return answers.pop()

    keys = open_keys(read)
    assert keys.current().id == "k1"
    for answer in ([], [None]):
        answers[:] = answer
        now[0] += keyring.MAX_AGE + 1
        assert keys.current().id == "k1"
    assert caplog.text.count("the keys read before stay in use") == 2
    assert "s3cret" not in caplog.text
    with pytest.raises(ConfigurationError, match="TimeoutError"):
        open_keys(read).current()


def test_a_file_is_made_and_added_to(tmp_path):
    """A new current key takes the place of the old one, which stays to decrypt."""
    path = tmp_path / "keys.json"
    add_to_file(str(path), new_entry("a", current=True))
    add_to_file(str(path), new_entry("t", "acme", current=True))
    add_to_file(str(path), new_entry("b"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert open_keys(f"file:{path}").current().id == "a"
    add_to_file(str(path), new_entry("c", current=True))
    keys = open_keys(f"file:{path}")
    assert keys.current().id == "c"
    assert keys.current("acme").id == "t"
    assert [key.id for key in keys.all()] == ["a", "t", "b", "c"]
    assert len({key.secret for key in keys.all()}) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["keys.json"]
    with pytest.raises(ConfigurationError, match="has a key 'a' already"):
        add_to_file(str(path), new_entry("a"))


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_adding_a_key_shuts_nobody_out(file, tmp_path, mode):
    """Workers that run as another user of the file's group read it again; a link stays one."""
    file.chmod(mode)
    if os.geteuid() == 0:
        os.chown(file, -1, 4711)
    before = file.stat()
    link = tmp_path / "link.json"
    link.symlink_to(file)
    add_to_file(str(link), new_entry("more"))
    after = file.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (
        *(before.st_mode, before.st_uid, before.st_gid),
    )
    assert link.is_symlink()
    assert [key.id for key in open_keys(f"file:{file}").all()] == ["old", "new", "more"]


def test_keys_that_are_added_at_once_are_all_there(tmp_path):
    """A key that was lost may have encrypted something in the meantime."""
    path = str(tmp_path / "keys.json")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: add_to_file(path, new_entry(f"k{n}", current=True)), range(40)))
    assert len(open_keys(f"file:{path}").all()) == 40
    assert os.listdir(tmp_path) == ["keys.json"]


@pytest.mark.parametrize(("code", "is_said"), [(errno.EINVAL, False), (errno.EIO, True)])
def test_a_new_key_file_outlives_a_crash_of_the_machine(tmp_path, monkeypatch, code, is_said):
    """Its folder is synced as well, where the file system can do that."""
    synced = []

    def fsync(handle):
        synced.append(stat.S_ISDIR(os.fstat(handle).st_mode))
        if synced[-1]:
            raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fsync)
    path = tmp_path / "keys.json"
    expected = pytest.raises(ConfigurationError, match="key file") if is_said else nullcontext()
    with expected:
        add_to_file(str(path), new_entry("k"))
    assert synced == [False, True]
    assert [key.id for key in open_keys(f"file:{path}").all()] == ["k"]


def test_a_file_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(ConfigurationError, match="No such file"):
        add_to_file(str(tmp_path / "none" / "keys.json"), new_entry("k"))


def test_the_path_of_a_source():
    assert path_of("file:/x/y") == path_of("file:///x/y") == "/x/y"
    assert path_of("env:X") is None
    assert path_of(Keyring([])) is None
