"""What a keeper is told of the time after a body: whether its job needs another message."""

from enum import Enum


class Aftermath(Enum):
    """How far Celery is with what follows a body that has ended."""

    DONE = "done"
    OPEN = "open"
    """Some of it is to be done, by whoever is sent the job for that."""
    UNDER_WAY = "under way"
    """Somebody is doing it, or has died just now; nobody else can, until that is known."""
