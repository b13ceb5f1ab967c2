"""Which serializers an app may accept: none whose reading can run code."""

from collections.abc import Iterable
from typing import Any

from milepost.errors import ConfigurationError

PICKLE = frozenset({"pickle", "application/x-python-serialize"})
"""Names and content types of it."""
ACCEPTING = ("accept_content", "result_accept_content")
WRITING = ("task_serializer", "result_serializer", "event_serializer")


def refuse_pickle(conf: Any) -> None:
    """Refuse a configuration under which messages or results may be pickled.

    Raises:
        ConfigurationError: it names the setting.
    """
    for name in ACCEPTING:
        accepted: Iterable[str] = getattr(conf, name, None) or ()
        if PICKLE.intersection(accepted):
            raise ConfigurationError(_refusal(name))
    for name in WRITING:
        if getattr(conf, name, None) in PICKLE:
            raise ConfigurationError(_refusal(name))


def is_pickle(name: str | None) -> bool:
    """Whether a serializer or a content type is pickle's."""
    return name in PICKLE


def _refusal(name: str) -> str:
    return (
        f"{name} of the Celery app has pickle: whoever can write to the broker could run code "
        "in the workers. Use JSON; or, where nobody else can, Milepost(app, allow_pickle=True)"
    )
