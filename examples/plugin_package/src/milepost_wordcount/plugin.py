"""What this distribution brings to milepost."""

from milepost.hookspecs import hookimpl
from milepost.registry import JobType
from milepost_wordcount.journal import Journal
from milepost_wordcount.tasks import LINES, CountWords


@hookimpl
def milepost_job_types():
    """Bring ``text.words`` by its class, ``text.lines`` by the name of a shared task."""
    return [CountWords, JobType("text.lines", LINES)]


@hookimpl
def milepost_observers():
    """Bring an observer that writes down which jobs have ended."""
    return {"wordcount-journal": Journal}
