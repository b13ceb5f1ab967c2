"""Which checkpoint versions a store has seen, so that a worker with older ones is noticed.

One shared document says for each task the highest version that a worker has started with.
"""

import json
import logging
from collections.abc import Iterable, Mapping

from milepost.errors import ConfigurationError
from milepost.jobtype import JobType
from milepost.runtime import Runtime

logger = logging.getLogger("milepost")

DOCUMENT = "checkpoint_versions"


def check_versions(runtime: Runtime, job_types: Iterable[JobType]) -> None:
    """Compare the versions of this process with those on record, and record what is newer.

    Args:
        runtime: the application's.
        job_types: those of this process.

    Raises:
        ConfigurationError: a version went backwards, unless ``allow_older_versions`` is set.
        StoreUnavailableError: the store does not answer.
    """
    mine = {one.task: one.checkpoint_version or 1 for one in job_types}
    while True:
        document = runtime.store.documents.read(DOCUMENT)
        seen: dict[str, int] = json.loads(document.data or b"{}")
        _refuse_older(mine, seen, runtime.settings.allow_older_versions)
        merged = {**seen, **{task: max(v, seen.get(task, 0)) for task, v in mine.items()}}
        if merged == seen:
            return
        data = json.dumps(merged, sort_keys=True).encode()
        if runtime.store.documents.write(DOCUMENT, data, version=document.version):
            return


def _refuse_older(mine: Mapping[str, int], seen: Mapping[str, int], allowed: bool) -> None:
    older = {task: v for task, v in mine.items() if v < seen.get(task, 0)}
    if not older:
        return
    said = ", ".join(
        f"{task!r} has {version}, the store has seen {seen[task]}"
        for task, version in sorted(older.items())
    )
    if not allowed:
        raise ConfigurationError(
            f"checkpoint_version went backwards: {said}. This code cannot read the checkpoints "
            "of newer jobs. To roll back on purpose, set allow_older_versions: those are parked"
        )
    logger.warning("checkpoint_version went backwards: %s; newer jobs will be parked", said)
