"""The work: one file after the other, going on where it was."""

import re
from collections import Counter
from pathlib import Path

from celery import shared_task
from pydantic import BaseModel, Field

from milepost import CheckpointableTask

LINES = "milepost_wordcount.count_lines"
"""The name of the shared task. The plugin uses it, since the task itself would want an app."""
WORD = re.compile(r"[^\W\d_]+")


class Words(BaseModel):
    """What a job of ``text.words`` is given."""

    folder: str
    top: int = Field(default=10, ge=1, le=1000)


class CountWords(CheckpointableTask):
    """Count the words of all text files in a folder."""

    name = "milepost_wordcount.count_words"
    job_type = "text.words"
    input_model = Words

    def run(self, folder, top=10):
        """Return the most frequent words with how often each occurs."""
        files = sorted(Path(folder).glob("*.txt"))
        for path in self.iterate(files, every=1):
            counts = Counter(self.state.get("counts", {}))
            counts.update(WORD.findall(path.read_text().lower()))
            self.state["counts"] = dict(counts)
        return Counter(self.state.get("counts", {})).most_common(top)


@shared_task(base=CheckpointableTask, bind=True, name=LINES)
def count_lines(self, folder):
    """Count the lines of all text files in a folder."""
    for path in self.iterate(sorted(Path(folder).glob("*.txt")), every=1):
        self.state["lines"] = self.state.get("lines", 0) + len(path.read_text().splitlines())
    return self.state.get("lines", 0)
