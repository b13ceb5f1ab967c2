"""Checks of the jobs on record: what waits, stands still, or was given up."""

from collections.abc import Iterator

from milepost.integrations.cli.doctor.facts import Facts
from milepost.integrations.cli.doctor.finding import Finding, error, note, some, warning


def store_answers(facts: Facts) -> Iterator[Finding]:
    """Without its store nothing durable starts."""
    if facts.here.store is not None and facts.jobs is None:
        why = facts.gaps.get("jobs", "no answer")
        yield error(
            "store-unavailable",
            f"the store {facts.here.store} does not answer: {why}",
            "No durable job can be sent, started or saved.",
            "See that it runs and can be reached from here.",
        )


def queues_are_consumed(facts: Facts) -> Iterator[Finding]:
    """A job in a queue that nobody consumes waits for ever."""
    if not facts.workers or facts.jobs is None:
        return
    if any(worker.queues is None for worker in facts.workers):
        return
    consumed = {queue for worker in facts.workers for queue in worker.queues or ()}
    for queue, number in facts.jobs.waiting.items():
        if queue not in consumed:
            yield error(
                "queue-unconsumed",
                f"{number} jobs wait in queue {queue!r}, which no worker consumes",
                "They wait until one does.",
                f"Start a worker with -Q {queue}, or route their tasks elsewhere.",
            )


def chords_outlive_their_members(facts: Facts) -> Iterator[Finding]:
    """A chord whose stored results expire before its last member ends never completes."""
    conf, jobs = facts.conf, facts.jobs
    if jobs is None or jobs.chord is None or conf.result_expires is None:
        return
    job_id, age = jobs.chord
    tended = conf.chords_are_tended and bool(facts.keepers)
    if age > conf.result_expires and not tended:
        yield error(
            "chord-expiry",
            f"job {job_id} is part of a chord and {age:,.0f} s old; results expire after "
            f"{conf.result_expires:,.0f} s",
            "What the chord has collected may be gone: it would never complete.",
            "Raise result_expires above the longest life of a chord"
            + ("." if conf.chords_are_tended else ", or take a result backend in Redis."),
        )


def jobs_move(facts: Facts) -> Iterator[Finding]:
    """Jobs that need somebody's eye."""
    jobs = facts.jobs
    if jobs is None:
        return
    more = ", or more" if jobs.cut else ""
    if jobs.stalled:
        yield note(
            "jobs-stalled",
            f"{len(jobs.stalled)} jobs are stalled{more}: {some(jobs.stalled)}",
            "They should be moving and are not.",
            "celery -A proj jobs explain ID",
        )
    if jobs.parked:
        yield note(
            "jobs-parked",
            f"{len(jobs.parked)} jobs are parked, needs-migration{more}: {some(jobs.parked)}",
            "Their checkpoints do not fit the code; they wait for a resume.",
            "Deploy migrate_checkpoint(), then `jobs resume`; or `jobs restart`.",
        )
    if jobs.crashed:
        yield note(
            "jobs-crashed",
            f"{len(jobs.crashed)} jobs failed by the crash limit{more}: {some(jobs.crashed)}",
            "Their workers died again and again without a checkpoint in between.",
            "Look for memory and native crashes; then `jobs retry`.",
        )


def jobs_are_of_this_app(facts: Facts) -> Iterator[Finding]:
    """A job of a task that the app does not have is another app's, or nobody's."""
    for task, number in facts.jobs.strangers.items() if facts.jobs else ():
        yield warning(
            "jobs-strange",
            f"{number} jobs are of task {task!r}, which this app does not have",
            "Its workers leave them alone: another app in this namespace has to carry them on.",
            "Give each app a namespace of its own. If the task was renamed or removed, keep "
            "the old name until its jobs have ended, or cancel them.",
        )


CHECKS = (
    *(store_answers, queues_are_consumed, chords_outlive_their_members, jobs_move),
    jobs_are_of_this_app,
)
