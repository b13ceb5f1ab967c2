"""What a guard says to a call that must not be made now, or ever."""

from milepost.errors.root import MilepostError


class CallRefusedError(MilepostError):
    """A guard did not let a call through. Nothing was sent; the call may be made later.

    Args:
        name: which guard, or which limit.
        retry_after: seconds until it is worth trying again.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(name, retry_after)
        self.name, self.retry_after = name, retry_after

    def __str__(self) -> str:
        return f"{self.name!r} holds this call back: try again in {self.retry_after:.1f} s"


class RateLimitedError(CallRefusedError):
    """A limit admits nobody now, and the wait would be longer than the caller wants to.

    Args:
        name: the key of the limit.
        retry_after: seconds until it is worth trying again.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(name, retry_after)

    @property
    def key(self) -> str:
        """The key of the limit."""
        return self.name

    def __str__(self) -> str:
        return f"the limit {self.name!r} is used up: try again in {self.retry_after:.1f} s"


class CircuitOpenError(CallRefusedError):
    """A circuit breaker is open: what it stands before has failed too often.

    Args:
        name: the breaker's name.
        retry_after: seconds until it lets the next call try.
    """

    def __init__(self, name: str, retry_after: float) -> None:
        super().__init__(name, retry_after)

    def __str__(self) -> str:
        return f"the circuit {self.name!r} is open: try again in {self.retry_after:.1f} s"


class LimitExceededError(MilepostError):
    """One call asks for more than its limit allows in a whole window: it can never be made.

    Args:
        key: which limit.
        tokens: what the call asks for.
        limit: what is allowed.
    """

    def __init__(self, key: str, tokens: int, limit: int) -> None:
        super().__init__(key, tokens, limit)
        self.key, self.tokens, self.limit = key, tokens, limit

    def __str__(self) -> str:
        return (
            f"a call of {self.tokens:,} tokens under {self.key!r}, whose limit is {self.limit:,}: "
            "no waiting will admit it. Make the call smaller, or raise the limit"
        )
