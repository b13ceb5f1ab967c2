"""How ciphertext looks where there is room for text only, and what is shown in its place."""

import re

MARK = "mp1."
"""What every encrypted text begins with; base64 follows."""
HIDDEN = "***"
"""What people see who do not have the key."""
NEEDS_KEY = "needs-key: "
"""How the reason of a job begins that is parked until its key is there."""
TOKEN = re.compile(r"mp1\.[A-Za-z0-9_-]{40,}")
"""What an encrypted text looks like among other words."""
_HEAD = re.compile(r"\w[\w -]{0,80}: ")


def holds_any(message: bytes) -> bool:
    """Whether a job's stored message has ciphertext in it: then nobody is told of its values."""
    return MARK.encode() in message


def hide(text: str) -> str:
    """Return a text with stars in place of all ciphertext in it."""
    return TOKEN.sub(HIDDEN, text) if MARK in text else text


def head_of(text: str) -> str:
    """Return what a reason or an error begins with that no user has written.

    ``needs-migration: …``, ``ValueError: …``: the words before the first colon are
    milepost's own, or the name of a class.
    """
    found = _HEAD.match(text)
    return found[0] if found else ""
