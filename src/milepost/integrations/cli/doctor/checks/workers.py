"""Checks of the workers that answer: their keepers, versions and clocks."""

from collections.abc import Iterator

from milepost.integrations.cli.doctor.facts import Facts
from milepost.integrations.cli.doctor.finding import Finding, error, note, some, warning

SKEW = 5.0
"""Seconds that clocks may be apart."""


def somebody_works(facts: Facts) -> Iterator[Finding]:
    """Without a worker nothing runs, and nothing is recovered."""
    if facts.workers == ():
        yield warning(
            "no-workers",
            "no worker answers (one of the solo pool does so only between tasks)",
            "Jobs wait, and nobody carries on those whose worker died.",
            "Start one: celery -A proj worker",
        )


def broker_answers(facts: Facts) -> Iterator[Finding]:
    """Without its broker nothing is sent, and no worker can be asked."""
    if facts.workers is None and "workers" in facts.gaps:
        yield error(
            "broker-unavailable",
            f"the broker does not answer: {facts.gaps['workers']}",
            "No job can be sent; what is recorded waits until it can.",
            "See that it runs and can be reached from here.",
        )


def workers_have_keepers(facts: Facts) -> Iterator[Finding]:
    """A worker without a keeper renews and recovers nothing."""
    without = [worker.name for worker in facts.workers or () if not worker.answers]
    if without and facts.here.store is not None:
        yield warning(
            "no-keeper",
            f"workers without milepost's keeper: {some(without)}",
            "Durable jobs they take fail or lose their lease; they carry on nobody else's.",
            "Start them with the app that has the milepost, in this version; or give them "
            "queues of their own.",
        )
    dead = [w.name for w in facts.keepers if not (w.keeper or w.draining)]
    if dead:
        yield error(
            "keeper-dead",
            f"workers whose keeper has stopped: {some(dead)}",
            "Their jobs lose their leases while they run.",
            "Restart them, and look for the reason in their logs.",
        )


def workers_share_the_store(facts: Facts) -> Iterator[Finding]:
    """Workers on another store run jobs that nobody here can see."""
    here = (facts.here.store, facts.here.namespace)
    if facts.here.store is None:
        return
    other = {
        f"{worker.name} ({worker.store}, {worker.namespace})"
        for worker in facts.keepers
        if (worker.store, worker.namespace) != here
    }
    if other:
        yield error(
            "other-store",
            f"here is {here[0]}, {here[1]}; elsewhere: {some(list(other))}",
            "A job recorded in one store and run in another has two records, and control "
            "acts do not reach it.",
            "Give all processes the same store and namespace.",
        )


def versions_are_one(facts: Facts) -> Iterator[Finding]:
    """Mixed versions are for the length of a deploy."""
    for what, here, theirs in (
        ("milepost", facts.here.version, {w.version for w in facts.keepers}),
        ("celery", facts.here.celery, {w.celery for w in facts.keepers}),
    ):
        mixed = sorted({*theirs, here} - {""})
        if theirs and len(mixed) > 1:
            yield warning(
                "mixed-versions",
                f"{what} in several versions: {', '.join(mixed)} (here {here})",
                "What one version records another may not know.",
                "Finish the deploy.",
            )


def clocks_agree(facts: Facts) -> Iterator[Finding]:
    """Leases go by the store's clock; ETAs, expiries and visibility by each machine's."""
    clocks = {worker.name: worker.skew for worker in facts.keepers}
    if facts.jobs is not None and facts.jobs.skew is not None:
        clocks["the store"] = facts.jobs.skew
    for name, skew in clocks.items():
        if abs(skew) > SKEW:
            yield warning(
                "clock-skew",
                f"the clock of {name} is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}",
                "Leases go by the store's clock alone, but Celery's ETAs, expiries and the "
                "broker's visibility timeout by each machine's.",
                "Let all machines keep their time by NTP.",
            )


def all_was_seen(facts: Facts) -> Iterator[Finding]:
    """What could not be looked at is not thereby well."""
    for what, why in facts.gaps.items():
        if what in ("jobs", "workers"):
            continue  # each is an error of its own
        yield note(
            "not-checked",
            f"{what}: not looked at ({why})",
            "What rests on it was not checked.",
            "See that it can be reached from here, and run the doctor again.",
        )


CHECKS = (
    *(broker_answers, somebody_works, workers_have_keepers, workers_share_the_store),
    *(versions_are_one, clocks_agree, all_was_seen),
)
