"""The bounds that every store shares: how large a value may be, how long a lease may get."""

from milepost.errors import ValueTooLargeError
from milepost.model import Delta, Settlement

MAX_DOUBLINGS = 6
"""How often a lease, or the wait between two sends, may double."""


def check_size(field: str, value: bytes | None, limit: int) -> None:
    """Refuse one value that is over the limit (in bytes)."""
    if value is not None and len(value) > limit:
        raise ValueTooLargeError(field, len(value), limit)


def check_delta(delta: Delta, limit: int) -> None:
    """Refuse a delta that holds a value over the limit (in bytes)."""
    for field, value in delta.writes.items():
        if len(value) > limit:
            raise ValueTooLargeError(field, len(value), limit)


def check_settlement(settlement: Settlement, limit: int) -> None:
    """Refuse a settlement that holds a value over the limit (in bytes)."""
    check_size("result", settlement.result, limit)
    check_size("message", settlement.message, limit)
    check_delta(settlement.delta, limit)


def lengthened(lease_seconds: float, strikes: int) -> float:
    """Return how long a lease holds after that many deaths without a checkpoint."""
    return lease_seconds * float(2 ** min(max(strikes - 1, 0), MAX_DOUBLINGS))
