"""What a limit decides, for the stores that decide in Python: memory and SQL.

A window that slides exactly would need every admission of the last ``per`` seconds. Here they
are counted together in buckets a fraction of the window wide, and a bucket counts until its
*last* moment has left the window, and one bucket's width longer. That is a little too long,
never too short: no window of ``per`` seconds, wherever it begins, holds more than the limit,
and what reaches the provider a moment later than it was admitted finds room.

Moments are whole microseconds of the store's clock.
"""

from dataclasses import dataclass, field
from typing import Any

from milepost.limits import Admitted, Answer, Limit, Permit, Wait

BUCKETS = 80
"""How many buckets a window has. Under full load 80 of 82 parts of the limit are used."""
POLL = 0.1
"""Seconds until a caller who waits for somebody else's end should look again, at most."""
SECOND = 1_000_000


@dataclass(slots=True)
class Window:
    """What is known of one key.

    Attributes:
        counted: end of a bucket → its requests and tokens.
        longest: the longest ``per`` anybody has asked with.
        until: nobody is admitted before.
        held: permit → when its place under ``concurrency`` lapses.
        open: permit → when it can no longer be settled.
    """

    counted: dict[int, tuple[int, int]] = field(default_factory=dict)
    longest: int = 0
    until: int = 0
    held: dict[str, int] = field(default_factory=dict)
    open: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, kept: Any) -> "Window":
        """Return what :meth:`plain` gave."""
        counted, longest, until, held, open_ = kept
        pairs = {int(end): (requests, tokens) for end, (requests, tokens) in counted.items()}
        return cls(pairs, longest, until, held, open_)

    def plain(self) -> Any:
        """Return everything as JSON knows it."""
        return [self.counted, self.longest, self.until, self.held, self.open]

    @property
    def idle_from(self) -> int:
        """The moment from which nothing here matters any more."""
        last = max(self.counted, default=0) + self.longest
        return max(last, self.until, *self.held.values(), *self.open.values())

    def acquire(self, now: int, key: str, limit: Limit, tokens: int, nonce: str) -> Answer:
        """Admit a call, or tell how long it has to wait."""
        per = round(limit.per * SECOND)
        self._forget(now, per)
        wait = self._wait(now, per, limit, tokens)
        if wait is not None:
            return wait
        width = max(per // BUCKETS, 1)
        end = (now // width + 2) * width
        permit = Permit(key, f"{end}.{nonce}", tokens, limit.lease)
        requests, before = self.counted.get(end, (0, 0))
        self.counted[end] = (requests + 1, before + tokens)
        if limit.tokens is not None:
            self.open[permit.id] = end + per
        if limit.concurrency is not None:
            self.held[permit.id] = now + round(limit.lease * SECOND)
        return Admitted(permit)

    def settle(self, permit: Permit, tokens: int) -> None:
        """Replace a permit's estimate by what it was."""
        end = int(permit.id.partition(".")[0])
        if self.open.pop(permit.id, None) is None or end not in self.counted:
            return
        requests, before = self.counted[end]
        self.counted[end] = (requests, before + tokens - permit.tokens)

    def release(self, permit: Permit) -> None:
        """Free a permit's place."""
        self.held.pop(permit.id, None)

    def renew(self, now: int, permit: Permit) -> bool:
        """Keep a permit's place, unless it has lapsed."""
        if self.held.get(permit.id, 0) <= now:
            return False
        self.held[permit.id] = now + round(permit.lease * SECOND)
        return True

    def push(self, now: int, seconds: float) -> None:
        """Admit nobody for so long."""
        self.until = max(self.until, now + round(seconds * SECOND))

    def _forget(self, now: int, per: int) -> None:
        """Drop what has left the window; also what a clock that was set back left far ahead."""
        self.longest = max(self.longest, per)
        low, high = now - self.longest, now + self.longest
        self.counted = {end: sums for end, sums in self.counted.items() if low < end <= high}
        self.held = {permit: lapse for permit, lapse in self.held.items() if lapse > now}
        self.open = {permit: lapse for permit, lapse in self.open.items() if lapse > now}

    def _wait(self, now: int, per: int, limit: Limit, tokens: int) -> Wait | None:
        """Return what stands in the way longest, or None."""
        ends = sorted(end for end in self.counted if end > now - per)
        waits = {"pushed": self.until - now}
        if limit.requests is not None:
            sums = [self.counted[end][0] for end in ends]
            waits["requests"] = self._left(now, per, ends, sums, limit.requests - 1)
        if limit.tokens is not None:
            sums = [self.counted[end][1] for end in ends]
            waits["tokens"] = self._left(now, per, ends, sums, limit.tokens - tokens)
        if limit.concurrency is not None and len(self.held) >= limit.concurrency:
            waits["concurrency"] = min(min(self.held.values()) - now, round(POLL * SECOND))
        which = max(waits, key=waits.__getitem__)
        return Wait(waits[which] / SECOND, which) if waits[which] > 0 else None

    def _left(self, now: int, per: int, ends: list[int], sums: list[int], room: int) -> int:
        """Return how long until no more than *room* is counted; 0: it is so now."""
        over, left = sum(sums) - room, 0
        for end, amount in zip(ends, sums, strict=True):
            if over <= 0:
                break
            over, left = over - amount, end + per - now
        return left
