"""The socket for codecs: values to bytes and back."""

from typing import Any, Protocol


class Codec(Protocol):
    """Turns what a task keeps into bytes.

    Rules every codec keeps:

    * Bytes begin with a tag and a version of the codec's own; anything else is refused on
      decoding, by name, never guessed.
    * What comes back equals what went in, types included, or encoding fails.
    * It is safe to call from several threads.
    """

    def encode(self, value: Any) -> bytes:
        """Return *value* as bytes.

        Raises:
            EncodeError: the value, or a part of it, has no faithful form; names the path.
        """
        ...

    def decode(self, data: bytes) -> Any:
        """Return the value that :meth:`encode` made *data* from.

        Raises:
            DecodeError: wrong tag, unknown version, or damaged bytes.
        """
        ...
