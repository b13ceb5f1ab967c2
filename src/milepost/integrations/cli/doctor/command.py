"""The command that gathers, judges and tells."""

from collections import Counter
from dataclasses import asdict

from milepost.integrations.cli.codes import Exit
from milepost.integrations.cli.doctor.checks import judge
from milepost.integrations.cli.doctor.finding import Finding, Level
from milepost.integrations.cli.doctor.gathering import gather
from milepost.integrations.cli.frame import Desk, command
from milepost.integrations.cli.options import worker_timeout


@command("doctor", needs_milepost=False)
@worker_timeout
def doctor(desk: Desk, timeout: float) -> Exit:
    """Look for what loses work: in the configuration, the servers, the workers, the jobs."""
    found = judge(gather(desk.app, desk.jobs, timeout))
    counts = Counter(finding.level for finding in found)
    document = {
        "findings": [asdict(finding) for finding in found],
        **{f"{level}s": counts[level] for level in Level},
    }
    desk.screen.say(document, lambda: tell(desk, found, counts))
    if counts[Level.ERROR]:
        return Exit.ERRORS
    return Exit.WARNINGS if counts[Level.WARNING] else Exit.DONE


def tell(desk: Desk, found: tuple[Finding, ...], counts: Counter[Level]) -> None:
    """Tell people what was found."""
    for finding in found:
        desk.screen.facts(
            (
                (f"{finding.level:<7}", f"{finding.what} [{finding.code}]"),
                ("", finding.why),
                ("", f"→ {finding.change}"),
            )
        )
        desk.screen.line()
    numbers = ", ".join(f"{counts[level]} {level}{'s' * (counts[level] != 1)}" for level in Level)
    desk.screen.line(numbers if found else "Nothing found.")
