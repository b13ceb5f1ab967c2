"""Checks of where things are kept: Redis servers, memory, files."""

import re
from collections.abc import Iterator

from milepost.integrations.cli.doctor.facts import Facts, Server
from milepost.integrations.cli.doctor.finding import Finding, error, note, warning

NEARLY_FULL = 0.85
OLDEST = 6
"""The first version of Redis that the store works with."""


def redis_evicts_nothing(facts: Facts) -> Iterator[Finding]:
    """A server that evicts keys loses jobs and messages."""
    for server in facts.servers:
        if server.policy and server.policy != "noeviction":
            # Without a limit nothing is evicted; the policy then waits for one to be set.
            level = error if server.maxmemory else warning
            yield level(
                "redis-eviction",
                f"{_who(server)}: maxmemory-policy is {server.policy}",
                "Short of memory it drops keys: a job's record, or messages that wait.",
                "maxmemory-policy noeviction",
            )


def redis_keeps_what_it_has(facts: Facts) -> Iterator[Finding]:
    """A server without persistence forgets everything when it restarts."""
    for server in facts.servers:
        if server.appendonly:
            continue
        if server.save == "":
            yield warning(
                "redis-persistence",
                f"{_who(server)}: no persistence (appendonly no, save empty)",
                "When it restarts, all it has is gone: messages, records, checkpoints.",
                "appendonly yes",
            )
        elif server.save is not None:
            yield note(
                "redis-snapshots",
                f"{_who(server)}: snapshots only (save {server.save!r}, appendonly no)",
                "When it dies, what came after the last snapshot is gone.",
                "appendonly yes",
            )


def redis_is_new_enough(facts: Facts) -> Iterator[Finding]:
    """The store needs Redis 6."""
    for server in facts.servers:
        major = re.match(r"\d+", server.version)
        if major and int(major[0]) < OLDEST and "store" in server.roles:
            yield error(
                "redis-version",
                f"{_who(server)}: version {server.version}",
                f"The store needs Redis {OLDEST} or newer.",
                "Upgrade it.",
            )


def redis_has_room(facts: Facts) -> Iterator[Finding]:
    """A full server refuses writes."""
    for server in facts.servers:
        if server.maxmemory and server.used > NEARLY_FULL * server.maxmemory:
            yield warning(
                "redis-memory",
                f"{_who(server)}: {server.used / server.maxmemory:.0%} of maxmemory is in use",
                "A full server refuses checkpoints and messages, or evicts keys.",
                "Raise maxmemory, or shorten retention and result_expires.",
            )


def memory_is_for_one_process(facts: Facts) -> Iterator[Finding]:
    """What is in memory is seen by one process and gone with it."""
    here = facts.here
    if (here.store or "").startswith("memory:"):
        apart = [w.name for w in facts.keepers if (w.host, w.pid) != (here.host, here.pid)]
        level = error if apart else note
        yield level(
            "memory-store",
            f"the store is memory://{f', and workers run apart: {apart[0]}' if apart else ''}",
            "Each process has a store of its own, which is gone with it.",
            "Take Redis, PostgreSQL or SQLite for anything but tests.",
        )
    if facts.conf.broker == "memory":
        yield note(
            "memory-broker",
            "the broker is memory://",
            "Messages never leave this process.",
            "Take a broker for anything but tests.",
        )


def files_are_for_one_host(facts: Facts) -> Iterator[Finding]:
    """Folders and SQLite files do not work over a network."""
    kept = []
    if facts.conf.broker == "filesystem":
        kept.append("the broker is a folder")
    if (facts.here.store or "").startswith("sqlite:"):
        kept.append("the store is an SQLite file")
    hosts = {worker.host for worker in facts.keepers} | {facts.here.host}
    if kept:
        level = error if len(hosts) > 1 else note
        yield level(
            "one-host",
            f"{' and '.join(kept)}; seen on {len(hosts)} host{'s' * (len(hosts) > 1)}",
            "Network file systems do not lock as this needs: all workers must be on one host.",
            "Take Redis or PostgreSQL for more than one host.",
        )


def _who(server: Server) -> str:
    return f"Redis {server.name} ({' and '.join(server.roles)})"


CHECKS = (
    *(redis_evicts_nothing, redis_keeps_what_it_has, redis_is_new_enough, redis_has_room),
    *(memory_is_for_one_process, files_are_for_one_host),
)
