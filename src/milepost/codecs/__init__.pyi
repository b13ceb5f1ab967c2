from milepost.codecs import places as places
from milepost.codecs import texts as texts
from milepost.codecs import tokens as tokens
from milepost.codecs.encrypted import Cipher, is_record
from milepost.codecs.keyring import KeyProvider, Source, open_keys

__all__ = [
    "Cipher",
    "KeyProvider",
    "Source",
    "is_record",
    "open_keys",
    "places",
    "texts",
    "tokens",
]
