"""The scripts, read from the package when they are first needed."""

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

_NEEDS = "-- needs: "


@dataclass(frozen=True, slots=True)
class Script:
    """One verb in Lua.

    Attributes:
        text: what the server runs: the parts it needs, then its own lines.
        sha: the name the server knows it by.
    """

    text: str
    sha: str


_by_sha: dict[str, Script] = {}


@cache
def script(verb: str) -> Script:
    """Return the script of a verb, with the parts that its ``-- needs:`` line names."""
    folder = files(__package__) / "scripts"
    own = (folder / f"{verb}.lua").read_text("utf-8")
    needs = [line.removeprefix(_NEEDS) for line in own.splitlines() if line.startswith(_NEEDS)]
    parts = [(folder / "parts" / f"{part}.lua").read_text("utf-8") for part in _words(needs)]
    text = "".join([*parts, own])
    found = Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())
    _by_sha[found.sha] = found
    return found


def text_of(sha: str) -> str:
    """Return the text of a script that was loaded by :func:`script`."""
    return _by_sha[sha].text


def _words(lines: list[str]) -> list[str]:
    return [word for line in lines for word in line.split()]
