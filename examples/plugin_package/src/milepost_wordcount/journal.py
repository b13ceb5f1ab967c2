"""An observer: one line for each job that has ended, in a file of the operator's choice."""

import os

from milepost.events import JobSettled


class Journal:
    """Writes to the file that ``WORDCOUNT_JOURNAL`` names; without it, nothing."""

    def __call__(self, event):
        """Write down the end of a job."""
        path = os.environ.get("WORDCOUNT_JOURNAL")
        if path and isinstance(event, JobSettled) and event.status.is_terminal:
            with open(path, "a") as file:
                file.write(f"{event.job_id} {event.task} {event.status}\n")
