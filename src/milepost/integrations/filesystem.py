"""Kombu's ``filesystem://`` broker, with files that appear whole.

Kombu opens a message's file under its final name and writes to it afterwards. A worker that
looks at the folder in between takes an empty message, loses it and goes down with a
``JSONDecodeError``. Here a file gets its name when everything is in it.
"""

import os
from pathlib import Path
from time import monotonic_ns
from typing import Any
from uuid import uuid4

from kombu.exceptions import ChannelError
from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    """A channel whose messages and bindings other processes see complete or not at all."""

    def _put(self, queue: str, payload: Any, **_: Any) -> None:  # type: ignore[override]
        # As kombu's, which begin with milliseconds; within one of them the first goes first too.
        milliseconds, rest = divmod(monotonic_ns(), 1_000_000)
        name = f"{milliseconds}_{rest:06}_{uuid4()}.{queue}.msg"
        folder = Path(self.data_folder_out)
        part = _written(folder, dumps(payload))
        os.replace(part, folder / name)

    def next_in(self, queue: str, most: int) -> list[str]:
        """Return the messages that a queue delivers next, at most so many."""
        folder, end = Path(self.data_folder_in), f"{queue}.msg"
        names = sorted(name for name in os.listdir(folder) if name.partition(".")[2] == end)
        return [text for name in names[:most] if (text := _read(folder / name))]

    def _queue_bind(self, exchange: Any, routing_key: Any, pattern: Any, queue: Any) -> None:
        # Kombu changes an existing table under a lock, but makes a new one in plain sight.
        table: Path = self._exchange_file(exchange)  # type: ignore[attr-defined]
        if not table.exists():
            self.control_folder.mkdir(exist_ok=True)
            part = _written(self.control_folder, "[]")
            try:
                os.link(part, table)
            except FileExistsError:  # somebody else made it just now
                pass
            finally:
                part.unlink()
        super()._queue_bind(exchange, routing_key, pattern, queue)


class Transport(filesystem.Transport):
    """Kombu's transport with our channel."""

    Channel = Channel


def _read(file: Path) -> str:
    """Return a message, or nothing where a worker was quicker."""
    try:
        return file.read_text("utf-8")
    except OSError:
        return ""


def _written(folder: Path, text: str) -> Path:
    part = folder / f".{uuid4()}.part"
    try:
        part.write_text(text, "utf-8")
    except OSError as exc:
        raise ChannelError(f"cannot write to the broker's folder {folder}: {exc}") from exc
    return part
