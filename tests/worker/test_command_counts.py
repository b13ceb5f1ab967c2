"""How many commands reach the store, exactly: what a job costs is decided by its round trips."""

import redis

from benchmarks.commands import EXACT, counts, overheard
from milepost.stores.redis import lua

JOBS = 20
NO_HOUSEKEEPING = {"lease_seconds": 600, "renew_seconds": 300, "scan_seconds": 300}


def test_what_each_part_of_an_attempt_sends(redis_server):
    """A step and a checkpoint are one command each, a memo hit none."""
    url = redis_server.url
    assert counts(url, redis.Redis.from_url(url)) == EXACT


def test_a_short_job_is_three_commands(make_site):
    """The publisher creates; the worker claims and settles; nothing else mentions the job."""
    site = make_site("redis", settings=NO_HOUSEKEEPING)
    site.start_worker("solo")
    first = site.send("count", 0, ignore_result=True)
    site.wait_for_end(first.id)  # connected, scripts loaded
    with overheard(redis.Redis.from_url(site.store_url)) as heard:
        jobs = [site.send("count", 0, ignore_result=True) for _ in range(JOBS)]
        for job in jobs:
            site.wait_for_end(job.id)
    for job in jobs:
        record = f"milepost:{{{job.id}}}"
        look = lua.script("get").sha  # this test's own
        sent = [words for words in heard if record in words and look not in words]
        assert [words.split()[0] for words in sent] == ["EVALSHA"] * 3
