"""A file of secrets: who may read it, and how it is replaced in one step."""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from milepost.errors import ConfigurationError


def read_file(path: str) -> str:
    """Return the text of a key file.

    Raises:
        ConfigurationError: it cannot be read, is no regular file, or others than its owner
            and group may read it, or others than its owner write it.
    """
    try:
        # Not to wait for somebody to write, where it is a pipe.
        with open(path, encoding="utf-8", opener=_open_at_once) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ConfigurationError(f"key file {path}: it is no regular file")
            if found.st_mode & 0o027:
                raise ConfigurationError(
                    f"key file {path}: mode {stat.S_IMODE(found.st_mode):o} lets others in: "
                    f"chmod 600 {path} (640 for a group of its own)"
                )
            if found.st_uid not in (0, os.geteuid()):
                raise ConfigurationError(
                    f"key file {path}: it belongs to user {found.st_uid}, neither to root nor "
                    f"to user {os.geteuid()}, who runs this"
                )
            return file.read()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationError(f"key file {path}: {exc}") from None


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


@contextmanager
def alone(path: str) -> Iterator[str]:
    """Let nobody else replace a key file meanwhile; gives the path behind links.

    Raises:
        ConfigurationError: its folder cannot be opened.
    """
    path = os.path.realpath(path)
    try:
        folder = os.open(os.path.dirname(path), os.O_RDONLY)
    except OSError as exc:
        raise ConfigurationError(f"key file {path}: {exc}") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield path
    finally:
        os.close(folder)


def replace_file(path: str, text: str) -> None:
    """Put a text in place of that of a key file; one that is new is for its owner only.

    Raises:
        ConfigurationError: it cannot be written; the file is as it was. Or it is written, and
            might not outlive a crash of the machine.
    """
    draft = f"{path}.{secrets.token_hex(4)}"
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                _let_in_the_same(path, handle)
                file.write(text)
                file.flush()
                os.fsync(handle)
            os.replace(draft, path)
        except BaseException:
            os.unlink(draft)
            raise
        _sync_folder_of(path)
    except OSError as exc:
        raise ConfigurationError(f"key file {path}: {exc}") from None


NOT_KNOWN = (errno.EINVAL, errno.ENOTSUP)
"""What file systems answer that cannot sync a folder."""


def _sync_folder_of(path: str) -> None:
    """Have the new file outlive a crash of the machine: soon there is data that needs its key."""
    folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as exc:
        if exc.errno not in NOT_KNOWN:
            raise
    finally:
        os.close(folder)


def _let_in_the_same(path: str, handle: int) -> None:
    """Give a new file the owner, the group and the mode of the one it is to replace."""
    if os.path.exists(path):
        before = os.stat(path)
        os.fchown(handle, before.st_uid, before.st_gid)
        os.fchmod(handle, stat.S_IMODE(before.st_mode))
