"""What calls may cost, and what they have cost: frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any, TypeVar

from milepost.errors import ConfigurationError
from milepost.llm import NO_USAGE, Usage

NOTHING = Decimal(0)


@dataclass(frozen=True, slots=True)
class Budget:
    """The most that the calls of one job may cost, over all its attempts.

    Attributes:
        tokens: of input and output together; None: any number.
        money: in the currency of the prices; None: any amount.

    Raises:
        ConfigurationError: a part is no number above 0.
    """

    tokens: int | None = None
    money: Decimal | float | str | None = None

    def __post_init__(self) -> None:
        try:
            money = None if self.money is None else Decimal(str(self.money))
        except InvalidOperation:
            money = Decimal("NaN")
        if not (money is None or (money.is_finite() and money > 0)):
            raise ConfigurationError(f"Budget(money={self.money!r}): give an amount above 0")
        if self.tokens is not None and not (isinstance(self.tokens, int) and self.tokens > 0):
            raise ConfigurationError(f"Budget(tokens={self.tokens!r}): give a number above 0")
        object.__setattr__(self, "money", money)

    def refuses(self, spend: "Spend", held: "Estimate", wanted: "Estimate") -> str | None:
        """Say why a call may not be made, or None where it may.

        Args:
            spend: what is spent.
            held: what calls in flight may still cost.
            wanted: what this one may cost.
        """
        # A call takes something, whatever its estimate says.
        tokens = spend.tokens + held.tokens, max(wanted.tokens, 1), self.tokens
        money = spend.total_money + held.money, wanted.money, self._money
        return _refusal(*tokens, "tokens") or _refusal(*money, "in money")

    @property
    def _money(self) -> Decimal | None:
        return self.money if isinstance(self.money, Decimal) else None

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {"tokens": self.tokens, "money": None if self.money is None else f"{self.money:f}"}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Budget":
        """Return what :meth:`plain` made *plain* of."""
        return cls(plain.get("tokens"), plain.get("money"))


Amount = TypeVar("Amount", int, Decimal)


def _refusal(used: Amount, more: Amount, most: Amount | None, what: str) -> str | None:
    if most is None or (used + more <= most and used < most):
        return None
    return f"{used:,} of {most:,} {what} are spent, the next call takes about {more:,}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a call may cost, before it is made."""

    tokens: int = 0
    money: Decimal = NOTHING

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.tokens + other.tokens, self.money + other.money)

    def __sub__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.tokens - other.tokens, self.money - other.money)


@dataclass(frozen=True, slots=True)
class Spend:
    """What the calls of one job have cost, over all its attempts.

    Attributes:
        calls: calls whose answer arrived, whole or not.
        usage: what those used.
        money: what those cost, as far as prices are known.
        ambiguous: calls that were about to be sent and whose answer never arrived, since the
            worker died, the time was over or the connection broke: perhaps billed.
        ambiguous_tokens: what those may have used, by estimate.
        ambiguous_money: what those may have cost, by estimate.
    """

    calls: int = 0
    usage: Usage = NO_USAGE
    money: Decimal = NOTHING
    ambiguous: int = 0
    ambiguous_tokens: int = 0
    ambiguous_money: Decimal = NOTHING

    @property
    def tokens(self) -> int:
        """Return all tokens that count against a budget, ambiguous ones included."""
        return self.usage.total + self.ambiguous_tokens

    @property
    def total_money(self) -> Decimal:
        """Return all money that counts against a budget, ambiguous included."""
        return self.money + self.ambiguous_money

    def with_call(self, usage: Usage, money: Decimal | None) -> "Spend":
        """Return it with one more call that was answered."""
        return replace(
            self,
            calls=self.calls + 1,
            usage=self.usage + usage,
            money=self.money + (money or NOTHING),
        )

    def with_ambiguous(self, estimate: Estimate) -> "Spend":
        """Return it with one more call whose answer never arrived."""
        return replace(
            self,
            ambiguous=self.ambiguous + 1,
            ambiguous_tokens=self.ambiguous_tokens + estimate.tokens,
            ambiguous_money=self.ambiguous_money + estimate.money,
        )

    def plain(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "calls": self.calls,
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "money": f"{self.money:f}",
            "ambiguous": self.ambiguous,
            "ambiguous_tokens": self.ambiguous_tokens,
            "ambiguous_money": f"{self.ambiguous_money:f}",
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Spend":
        """Return what :meth:`plain` made *plain* of."""
        return cls(
            plain["calls"],
            Usage(plain["input_tokens"], plain["output_tokens"], plain["cached_tokens"]),
            Decimal(plain["money"]),
            plain["ambiguous"],
            plain["ambiguous_tokens"],
            Decimal(plain["ambiguous_money"]),
        )
