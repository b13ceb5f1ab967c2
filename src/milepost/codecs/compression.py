"""Compression of large values, before they are encrypted; with a limit on the way back."""

import zlib
from collections.abc import Callable
from typing import Any

from milepost import extras
from milepost.errors import ConfigurationError

NONE, ZLIB, ZSTD = 0, 1, 2
"""How a value is compressed, as its record says."""
NAMES = {None: NONE, "zlib": ZLIB, "zstd": ZSTD}
LEVEL = 1


def compressor(name: str | None) -> tuple[int, Callable[[bytes], bytes]]:
    """Return the mark of a way to compress, and what does it.

    Args:
        name: ``"zlib"``, ``"zstd"``, or None for none.

    Raises:
        ConfigurationError: no such way, or nothing here that does it.
    """
    if name not in NAMES:
        raise ConfigurationError(f"compression={name!r}: it must be 'zlib', 'zstd' or None")
    if name == "zstd":
        library = _zstd()
        return ZSTD, lambda data: bytes(library.compress(data, LEVEL))
    return NAMES[name], lambda data: zlib.compress(data, LEVEL)


def decompress(mark: int, data: bytes, limit: int) -> bytes:
    """Return what was compressed.

    Args:
        mark: how.
        data: the compressed bytes.
        limit: how many bytes may come out.

    Raises:
        ConfigurationError: nothing here can undo it.
        Exception: damaged data, an unknown mark, or more than *limit*.
    """
    if mark == ZLIB:
        stream: Any = zlib.decompressobj()
        value = bytes(stream.decompress(data, limit + 1))
        is_whole = stream.eof
    elif mark == ZSTD:
        value = _inflate(_zstd().ZstdDecompressor(), data, limit + 1)
        is_whole = True  # the library refuses what is cut off
    else:
        raise ValueError(mark)
    if len(value) > limit or not is_whole:
        raise ValueError(len(value))
    return value


def _inflate(stream: Any, data: bytes, most: int) -> bytes:
    if hasattr(stream, "stream_reader"):  # the package's way, not the standard library's
        return bytes(stream.stream_reader(data).read(most))
    return bytes(stream.decompress(data, most))


def _zstd() -> Any:
    """Return what does zstd: the standard library from Python 3.14 on, else a package."""
    library = extras.find("compression.zstd") or extras.find("zstandard")
    if library is None:
        raise ConfigurationError(
            "zstd needs Python 3.14 or the package zstandard, in every process that shares "
            "these jobs; zlib is always there"
        )
    return library
