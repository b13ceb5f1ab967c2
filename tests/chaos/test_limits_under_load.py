"""One limit, hammered by four worker processes: never above it, and at least 95 % of it used.

A short form runs with the tests. ``nox -s chaos`` runs the long one; MILEPOST_WINDOWS says
for how many windows. Admissions are timed by the machine's monotonic clock, which all
processes share.
"""

import os

import pytest
from workers import wait_until

pytestmark = [pytest.mark.worker, pytest.mark.campaign]

WINDOWS = int(os.environ.get("MILEPOST_WINDOWS", "3"))
PER = 4.0
PROCESSES = 4


def hammered(site, task, *args):
    """Let four processes hammer for so many windows; return (asked, admitted, tokens), sorted."""
    seconds = WINDOWS * PER * 1.03
    for _ in range(2):
        site.start_worker(concurrency=2, options=("--prefetch-multiplier=1",))
    for _ in range(PROCESSES):
        site.send(task, *(seconds if arg is ... else arg for arg in args))
    site.open_gate("go")

    def files():
        found = list(site.folder.glob("admitted-*"))
        return found if len(found) == PROCESSES else None

    paths = wait_until(files, "all have hammered", limit=seconds + 60)
    lines = [line.split() for path in paths for line in path.read_text().splitlines()]
    assert all(path.read_text() for path in paths), "one of them was never admitted"
    return sorted((float(asked), float(at), int(tokens)) for asked, at, tokens in lines)


def most_in_a_window(admitted, amount):
    """Return the most that was certainly admitted within one window of PER seconds.

    A call that asked after the window began and was let go before it ended is in it.
    """
    most = 0
    for begin, *_ in admitted:
        inside = [call for call in admitted if begin <= call[0] and call[1] < begin + PER]
        most = max(most, sum(amount(call) for call in inside))
    return most


def show(what, admitted, amount, limit):
    """Print and return how much of the limit was used, the first window left out.

    What is admitted at the very beginning is free of any wait: counting it would make a
    limiter that pauses for too long look better than it is.
    """
    total = sum(amount(call) for call in admitted)
    used = (total - limit) / (admitted[-1][1] - admitted[0][1]) * PER / limit
    most = most_in_a_window(admitted, amount)
    print(
        f"\nFIGURE {what}: {PROCESSES} processes, {WINDOWS} windows, limit {limit}: "
        f"most in a window {most}, used {used:.1%}"
    )
    return most, used


def requests(_):
    return 1


def tokens(call):
    return call[2]


def test_requests(make_site):
    """Asked as fast as Redis answers."""
    site, limit = make_site("redis"), {"requests": 400, "per": PER}
    admitted = hammered(site, "hammer", "k", limit, ..., 0, 0)
    most, used = show("requests", admitted, requests, 400)
    assert most <= 400
    assert used >= 0.95


def test_tokens(make_site):
    """What is estimated too high is given back and used by others."""
    site, limit = make_site("redis"), {"requests": 10_000, "tokens": 20_000, "per": PER}
    admitted = hammered(site, "hammer", "k", limit, ..., 100, 60)
    most, used = show("tokens", admitted, tokens, 20_000)
    assert most <= 20_000
    assert used >= 0.95


@pytest.mark.parametrize("kind", ["redis", "redis+postgres", "redis+sqlite"])
def test_requests_through_the_guard(make_site, kind):
    """Two hundred coroutines in four processes, spread by their guards."""
    site, limit = make_site(kind), {"requests": 400, "per": PER}
    admitted = hammered(site, "hammer_guarded", "k", limit, ...)
    most, used = show(f"requests through the guard, {kind}", admitted, requests, 400)
    assert most <= 400
    assert used >= 0.95
