"""The faces of packages: what each offers, loaded from its home when it is first asked for.

A process pays for what it uses. An application without encryption never makes the classes of
ciphers, and a web server that only sends jobs never loads what carries them.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Homes: TypeAlias = Mapping[str, tuple[str, ...]]
"""Module, as the package calls it → the names that live there, its own for all of it."""


def face(
    package: str, homes: Homes
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the ``__getattr__``, ``__dir__`` and ``__all__`` of a package (PEP 562).

    What a name gives is kept in the package, so that the next look finds it there. Its types
    stand in ``__init__.pyi`` beside the package; a test holds the two together.

    Args:
        package: the package's ``__name__``.
        homes: what it offers.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def load(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(f"{package}.{home}")
        found = module if name == home else getattr(module, name)
        setattr(sys.modules[package], name, found)
        return found

    names = sorted(home_of)
    return load, names.copy, names


def load_all(package: Any) -> None:
    """Load everything that a package offers: before a fork, say, so that each child has it."""
    for name in package.__all__:
        getattr(package, name)
