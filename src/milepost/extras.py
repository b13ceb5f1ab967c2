"""Optional parts, loaded when they are first needed. The only imports inside functions."""

import importlib
from types import ModuleType
from typing import Any

from milepost.errors import MissingExtraError


def load(module: str, extra: str) -> Any:
    """Import an optional module.

    Args:
        module: dotted name of the module.
        extra: the extra of milepost that brings it; empty where milepost itself does.

    Returns:
        The module.

    Raises:
        MissingExtraError: it is not installed; the message holds the pip line.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        # A module that is there but fails on an import of its own is a bug to show, not an
        # extra to install.
        if exc.name is None or exc.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtraError(module, extra) from exc


def find(module: str) -> ModuleType | None:
    """Import an optional module that only makes things faster; None where it is missing."""
    try:
        return importlib.import_module(module)
    except ImportError:
        return None
