"""The checks: each takes the facts and yields what it finds in them."""

from collections.abc import Callable, Iterator

from milepost.integrations.cli.doctor.checks import records, servers, setup, workers
from milepost.integrations.cli.doctor.facts import Facts
from milepost.integrations.cli.doctor.finding import Finding, Level

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    *(*setup.CHECKS, *servers.CHECKS),
    *(*workers.CHECKS, *records.CHECKS),
)


def judge(facts: Facts) -> tuple[Finding, ...]:
    """Return all findings, the worst first."""
    found = [finding for check in CHECKS for finding in check(facts)]
    return tuple(sorted(found, key=lambda finding: list(Level).index(finding.level)))
