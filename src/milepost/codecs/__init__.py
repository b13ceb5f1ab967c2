"""Codecs: implementations of the socket :mod:`milepost.codec`."""

from milepost.face import face

_HOMES = {
    "encrypted": ("Cipher", "is_record"),
    "keyring": ("KeyProvider", "Source", "open_keys"),
    "places": ("places",),
    "texts": ("texts",),
    "tokens": ("tokens",),
}

__getattr__, __dir__, __all__ = face(__name__, _HOMES)
