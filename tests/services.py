"""Servers that the tests start for themselves: free loopback ports, temporary directories.

A missing binary skips the test locally and fails it where ``CI=true``.
"""

import importlib
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

START_TIMEOUT = 10.0
PORTS = 3
"""How many free ports are tried: another process may take one before the server does."""


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def require_binary(name: str) -> str:
    """Return the path of a server's binary, or skip (in CI: fail) the test that needs it."""
    path = shutil.which(name)
    if path is None:
        missing(f"{name} is not installed")
    return str(path)


def require_module(name: str) -> ModuleType:
    """Import an optional module, or skip (in CI: fail) the test that needs it."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        missing(f"{name} is not installed")
        raise


def require_data(name: str) -> None:
    """Find a package that is read for its data alone, or skip (in CI: fail) the test.

    It is not imported: its own module may need packages that its data does not.
    """
    if importlib.util.find_spec(name) is None:
        missing(f"{name} is not installed")


def missing(reason: str) -> None:
    """Skip the test that needs a service; fail it in CI, where every service must be."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _on_some_port(server: "RedisServer | PostgresServer") -> None:
    """Start a server on a free port, another one if that turns out to be taken."""
    for left in reversed(range(PORTS)):
        server.port = free_port()
        try:
            server.start()
        except RuntimeError:
            if not left:
                raise
        else:
            return


class RedisServer:
    """One ``redis-server`` process; :func:`start_redis` makes it."""

    port: int

    def __init__(self, binary: str, options: tuple[str, ...], password: str | None) -> None:
        self._binary, self._options, self._password = binary, options, password
        self.directory = Path(tempfile.mkdtemp(prefix="milepost-redis-"))
        self._process: subprocess.Popen[bytes] | None = None
        _on_some_port(self)

    @property
    def url(self) -> str:
        secret = f":{self._password}@" if self._password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the process and wait until it answers."""
        secret = ("--requirepass", self._password) if self._password else ()
        self._process = subprocess.Popen(
            [
                *(self._binary, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self.directory), "--save", "", *secret, *self._options),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_TIMEOUT
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._end(signal.SIGKILL)
                raise RuntimeError(f"redis-server did not start on port {self.port}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1.0) as sock:
                sock.sendall(b"PING\r\n")
                return sock.recv(64).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def restart(self) -> None:
        """Stop and start again on the same port; data survives with ``--appendonly yes``."""
        self._end(signal.SIGTERM)
        self.start()

    def kill(self) -> None:
        """End the process as ``kill -9`` does, and keep its directory."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts connections, nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the process and remove its directory."""
        self._end(signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, signum: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signum)
            self._process.wait(START_TIMEOUT)


def start_redis(*options: str, password: str | None = None) -> RedisServer:
    """Start a Redis of the test's own; the caller stops it.

    Args:
        options: more of the server's options, e.g. ``"--appendonly", "yes"``.
        password: what clients must authenticate with.
    """
    return RedisServer(require_binary("redis-server"), options, password)


class PostgresServer:
    """One ``postgres`` with a cluster of its own; :func:`start_postgres` makes it."""

    port: int

    def __init__(
        self, binaries: Path, options: tuple[str, ...], files: Mapping[str, bytes]
    ) -> None:
        self._binaries, self._options = binaries, options
        self.directory = Path(tempfile.mkdtemp(prefix="milepost-postgres-"))
        self._user = _unprivileged()
        for name, content in files.items():
            (self.directory / name).write_bytes(content)
            (self.directory / name).chmod(0o600)
        if self._user is not None:
            for path in (self.directory, *self.directory.iterdir()):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            *("initdb", "-D", self._data, "-U", "milepost", "-A", "trust"),
            *("-E", "UTF8", "--no-locale", "--no-sync"),
        )
        _on_some_port(self)

    @property
    def _data(self) -> str:
        return str(self.directory / "data")

    @property
    def url(self) -> str:
        return f"postgresql://milepost@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def _popen(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a program of PostgreSQL's, which refuses to run as root."""
        user = self._user
        return subprocess.Popen(
            [str(self._binaries / command[0]), *command[1:]],
            cwd=self.directory,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "HOME": str(self.directory)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=None if user is None else user.pw_uid,
            group=None if user is None else user.pw_gid,
            extra_groups=None if user is None else [],
        )

    def _run(self, *command: str) -> None:
        if self._popen(*command).wait(60.0):
            raise RuntimeError(f"{command[0]} failed")

    def start(self) -> None:
        """Start the server and wait until it takes connections."""
        self._process = self._popen(
            *("postgres", "-D", self._data, "-p", str(self.port)),
            *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
            *self._options,
        )
        deadline = time.monotonic() + 30.0
        ask = ("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres")
        while self._popen(*ask).wait(10.0):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"postgres did not start on port {self.port}")
            time.sleep(0.05)

    def restart(self) -> None:
        """Break every connection, stop, and start again on the same port with all data."""
        self._end(signal.SIGINT)
        self.start()

    def kill(self) -> None:
        """End the server at once, as ``pg_ctl stop -m immediate`` does."""
        self._end(signal.SIGQUIT)

    def freeze(self) -> None:
        """SIGSTOP the server and all its backends: the kernel still takes connections."""
        for pid in (self.pid, *_children(self.pid)):
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in (self.pid, *_children(self.pid)):
            os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """End the server and remove its directory."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _end(self, signum: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signum)
            self._process.wait(30.0)


def _unprivileged() -> "pwd.struct_passwd | None":
    """Return who is to run a server that refuses root, or None when we are not root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    missing("PostgreSQL does not run as root, and there is no user postgres or nobody")
    return None


def _children(pid: int) -> list[int]:
    answer = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True)
    return [int(word) for word in answer.stdout.split()]


def _postgres_binaries() -> Path:
    """Return the directory with initdb and postgres: from PATH, pg_config or the usual place."""
    found = shutil.which("initdb")
    places = [Path(found).resolve().parent] if found else []
    config = shutil.which("pg_config")
    if config:
        answer = subprocess.run([config, "--bindir"], capture_output=True, text=True)
        places.append(Path(answer.stdout.strip()))
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    missing("PostgreSQL is not installed")
    raise AssertionError


def start_postgres(*options: str, files: Mapping[str, bytes] | None = None) -> PostgresServer:
    """Start a PostgreSQL of the test's own; the caller stops it.

    Args:
        options: more of the server's options, e.g. ``"-c", "fsync=off"``.
        files: what to lay beside its data for it alone, by name: keys, say.
    """
    return PostgresServer(_postgres_binaries(), options, files or {})
