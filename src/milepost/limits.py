"""The socket for limits: how much all processes together may ask of somebody.

A provider allows so many requests, or tokens, a minute, and so many calls at once. Whoever
wants to call asks here first, and is admitted or told how long to wait.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from milepost.errors import ConfigurationError, LimitExceededError


@dataclass(frozen=True, slots=True)
class Limit:
    """What is allowed under one key.

    Attributes:
        requests: how many in any window of *per* seconds; None: any number.
        tokens: how many in any window of *per* seconds; None: any number. A token is what
            the caller counts in: an LLM's tokens, bytes, rows.
        concurrency: how many at once; None: any number.
        per: length of the window in seconds.
        lease: seconds after which the place of a permit under *concurrency* is free again
            when nobody renews it, because its process is dead.
    """

    requests: int | None = None
    tokens: int | None = None
    concurrency: int | None = None
    per: float = 60.0
    lease: float = 60.0

    def __post_init__(self) -> None:
        given = {"requests": self.requests, "tokens": self.tokens, "concurrency": self.concurrency}
        if all(value is None for value in given.values()):
            raise ConfigurationError("a Limit that limits nothing: give requests=, tokens= or more")
        for name, value in given.items():
            if value is not None and (type(value) is not int or value < 1):
                raise ConfigurationError(
                    f"{name} = {value!r} in a Limit: it must be a whole number from 1"
                )
        for name, seconds in (("per", self.per), ("lease", self.lease)):
            if isinstance(seconds, bool) or not 0.001 <= seconds <= 366 * 86400:
                raise ConfigurationError(
                    f"{name} = {seconds!r} in a Limit: it must be seconds, from 0.001 to a year"
                )


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to make one call, as it travels with the call.

    Attributes:
        key: whose limit it counts under.
        id: the store's name for it.
        tokens: what it was admitted for.
        lease: as in the :class:`Limit`.
    """

    key: str
    id: str
    tokens: int
    lease: float


@dataclass(frozen=True, slots=True)
class Admitted:
    """Go ahead."""

    permit: Permit


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now. Nothing was counted.

    Attributes:
        seconds: until it is worth asking again, if nobody else comes first. The wait for
            a place under *concurrency* is a guess: it ends when somebody else does.
        which: what stands in the way longest: ``requests``, ``tokens``, ``concurrency``, or
            ``pushed``.
    """

    seconds: float
    which: str


Answer: TypeAlias = Admitted | Wait


class Limits(Protocol):
    """The limits of one store.

    A key is words joined by ``/``: ``llm/openai/gpt-4/tenant``. Who shares a key shares its
    limit; all should bring the same :class:`Limit`. Rules, all of them in
    :class:`milepost.testing.StoreContract`:

    * **All or nothing.** Requests, tokens and concurrency are taken together or not at all.
    * **Never above, in any window.** Not in any stretch of ``per`` seconds, wherever it
      begins, are more admitted than the limit says, as long as no settlement is higher than
      its estimate.
    * **The store's own clock.** Those of the callers do not matter.
    * **A dead process holds nothing for ever.** Its place under ``concurrency`` lapses, what
      it was admitted for leaves the window like everything else.
    * **An answer that gets lost** on its way may cost an admission, never give one away.
    """

    @property
    def is_shared(self) -> bool:
        """Whether other processes count in the same limits; False: they are this one's."""
        ...

    def acquire(self, key: str, limit: Limit, tokens: int = 0) -> Answer:
        """Ask to make one call.

        Args:
            key: what the call counts under.
            limit: what is allowed there.
            tokens: how many the call will take, by estimate.

        Raises:
            LimitExceededError: more than *limit* allows in a whole window: waiting is no use.
        """
        ...

    def settle(self, permit: Permit, tokens: int) -> None:
        """Say what a call really took; what it was admitted for is replaced by that.

        Counts once, and only as long as the call is in the window. More than the estimate
        may go above the limit; others then wait until it has left the window.
        """
        ...

    def release(self, permit: Permit, tokens: int | None = None) -> None:
        """Give the place under ``concurrency`` back. Once is enough, twice is no harm.

        Args:
            permit: whose place.
            tokens: what the call really took, to settle it in the same act.
        """
        ...

    def renew(self, permit: Permit) -> bool:
        """Keep the place under ``concurrency`` for another lease.

        Returns:
            False where there is none to keep: it has lapsed, or never was.
        """
        ...

    def push(self, key: str, seconds: float) -> None:
        """Admit nobody under *key* for so long: the provider said so.

        Only ever lengthens what is left of an earlier push.
        """
        ...


def check_request(key: str, limit: Limit, tokens: int) -> None:
    """Refuse what no waiting could admit; each store asks this first.

    Raises:
        LimitExceededError: more tokens than the limit allows in a whole window.
        ConfigurationError: no key, or a number of tokens below 0.
    """
    if not key:
        raise ConfigurationError("a limit needs a key, such as 'llm/openai/gpt-4'")
    check_tokens(key, tokens)
    if limit.tokens is not None and tokens > limit.tokens:
        raise LimitExceededError(key, tokens, limit.tokens)


def check_tokens(key: str, tokens: int) -> None:
    """Refuse what is no number of tokens.

    Raises:
        ConfigurationError: it is below 0, or not whole.
    """
    if type(tokens) is not int or tokens < 0:
        raise ConfigurationError(
            f"tokens = {tokens!r} under {key!r}: it must be a whole number from 0"
        )
