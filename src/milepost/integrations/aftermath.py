"""What Celery still owes a job whose body has ended: its stored result, its part of a chord."""

from typing import Any

from celery.backends.base import DisabledBackend
from celery.states import READY_STATES, SUCCESS

from milepost.engine.aftermath import Aftermath
from milepost.integrations.chords import chord_of
from milepost.model import Job, JobStatus
from milepost.tasks import message

COLLECTS = "_chord_part_return_script"
"""What a result backend of Celery's has that collects chords itself, each part once."""
CLAIM = ".c"
"""What the key ends with under which it keeps who may send a chord's body."""
SENT = b"done"
"""What stands there once the body was sent, for five minutes at least."""


def aftermath_of(app: Any, job: Job) -> Aftermath:
    """Return how far Celery is with what follows the body of a job.

    It sends callbacks first, then stores the result, then hands it to the job's chord. Who
    hands in the last part claims the right to send the body, for six seconds up to half a
    minute; whoever dies with that claim leaves the chord to those who hand in a part again
    after it has lapsed.
    """
    if isinstance(app.backend, DisabledBackend) or message.is_reply(app.backend):
        return Aftermath.OPEN  # nobody knows
    if not _is_stored(app, job):
        return Aftermath.OPEN
    chord = chord_of(message.unpack(job.message, app))
    if chord is None or not hasattr(type(app.backend), COLLECTS):
        return Aftermath.DONE
    claim = app.backend.get(app.backend.get_key_for_group(chord, CLAIM))
    if claim is None:
        return Aftermath.OPEN
    return Aftermath.DONE if claim in (SENT, SENT.decode()) else Aftermath.UNDER_WAY


def _is_stored(app: Any, job: Job) -> bool:
    """Whether Celery has the outcome of a job: a success is not the failure it may have."""
    state = app.AsyncResult(job.id).state
    return state == SUCCESS if job.status is JobStatus.SUCCEEDED else state in READY_STATES
