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
KINDS = ["redis", "redis+postgres", "redis+sqlite"] if WINDOWS > 3 else ["redis"]
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


def most_in_a_window(admitted):
    """Return the most calls that were certainly admitted within one window of PER seconds.

    A call that asked after the window began and was let go before it ended is in it.
    """
    return max(
        sum(begin <= asked and at < begin + PER for asked, at, _ in admitted)
        for begin, *_ in admitted
    )


def used(admitted, allowed):
    """Return which part of the limit was used, on the average of all windows that were full.

    Under full load each call takes the place of the one that is *allowed* calls before it;
    no limiter can give it that place in less than PER seconds.
    """
    times = [at for _, at, _ in admitted]
    gaps = [later - earlier for earlier, later in zip(times, times[allowed:], strict=False)]
    assert len(gaps) >= allowed, "too few windows to tell"
    return PER * len(gaps) / sum(gaps)


def check(what, admitted, allowed):
    """Print the figures, and hold them against what is promised."""
    most, share = most_in_a_window(admitted), used(admitted, allowed)
    print(
        f"\nFIGURE {what}: {PROCESSES} processes, {WINDOWS} windows of {PER:g} s, {allowed} calls "
        f"allowed: most in a window {most}, used {share:.1%}"
    )
    assert most <= allowed
    assert share >= 0.95


def test_requests(make_site):
    """Asked as fast as Redis answers."""
    limit = {"requests": 400, "per": PER}
    check("requests", hammered(make_site("redis"), "hammer", "k", limit, ..., 0, 0), 400)


def test_tokens(make_site):
    """What is estimated too high is given back and used by others."""
    limit = {"requests": 10_000, "tokens": 20_000, "per": PER}
    admitted = hammered(make_site("redis"), "hammer", "k", limit, ..., 100, 50)
    check("tokens", admitted, 20_000 // 50)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_through_the_guard(make_site, kind):
    """Two hundred coroutines in four processes, spread by their guards."""
    limit = {"requests": 400, "per": PER}
    admitted = hammered(make_site(kind), "hammer_guarded", "k", limit, ...)
    check(f"requests through the guard, {kind}", admitted, 400)
