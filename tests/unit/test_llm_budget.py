"""Budgets, prices, limits and breakers of tasks that ask models."""

import asyncio
import gc
import threading
import weakref
from dataclasses import replace
from decimal import Decimal

import pytest

from harness import Bench, Killed, away_once
from milepost import LLMTask
from milepost.budget import Budget, Estimate, Spend
from milepost.engine.migration import as_people_see_it
from milepost.engine.scope import without_books, without_loops
from milepost.errors import (
    ConfigurationError,
    LimitExceededError,
    LLMPriceUnknownError,
    StoreUnavailableError,
)
from milepost.limits import Admitted, Limit
from milepost.llm import LLMRequest, LLMResponse, Usage, estimated_tokens, most_output
from milepost.llms import GenAIPrices, Price, PriceTable
from milepost.model import JobStatus
from milepost.stores.memory import MemoryStore
from milepost.tasks.family import FamilyBudget
from models import ScriptedModel, limited, overloaded

PRICES = PriceTable({"m": Price(input=1_000_000, output="2000000")})
"""One unit of money per token of input, two per token of output."""


def bench_of(body, model=None, **declared):
    model = model or ScriptedModel()
    bench = Bench(body, base=LLMTask, declared={"llm_client": model, "llm_model": "m", **declared})
    bench.model = model
    return bench


def spend(bench):
    return Spend.of(as_people_see_it(bench.runtime.codec, bench.inner.load("job"))["spend"])


def ask(n, **how):
    """A body that asks *n* times, one after the other."""
    return lambda task: [task.llm("p", key=str(i), max_tokens=10, **how).text for i in range(n)]


# -- budgets ---------------------------------------------------------------------------------


def test_a_spent_budget_pauses_the_job():
    """It is no failure: the job waits, and nothing was sent beyond the budget."""
    bench = bench_of(ask(10), llm_budget=Budget(tokens=50))
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED
    assert bench.job.reason.startswith("budget: 45 of 50 tokens are spent")
    assert len(bench.model.asked) == 3
    assert spend(bench).tokens == 45


def test_a_body_that_catches_everything_does_not_go_on_without_a_budget():
    """It asked in a loop that lets nothing through: no success with most of it undone."""

    def body(task):
        texts = []
        for i in range(10):
            try:
                texts.append(task.llm("p", key=str(i), max_tokens=10).text)
            except BaseException:
                texts.append(None)
        return texts

    bench = bench_of(body, llm_budget=Budget(tokens=50))
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED
    assert bench.job.reason.startswith("budget: ")
    assert len(bench.model.asked) == 3


def test_a_budget_survives_deaths():
    """Ten attempts spend no more than one would, ambiguous calls included."""
    model = ScriptedModel(*[Killed(), "a"] * 20)
    bench = bench_of(ask(10), model, llm_budget=Budget(tokens=100))
    while not (bench.last and bench.job.status is JobStatus.PAUSED):
        try:
            bench.attempt()
        except Killed:
            bench.lapse()
    assert bench.job.status is JobStatus.PAUSED
    assert spend(bench).ambiguous > 0
    assert spend(bench).tokens <= 100


def test_a_raised_declaration_lets_the_job_go_on():
    """A deploy with a larger budget is enough; what was asked is not asked again."""
    bench = bench_of(ask(10), llm_budget=Budget(tokens=50))
    bench.attempt()
    type(bench.task).llm_budget = Budget(tokens=1000)
    bench.resume()
    assert len(bench.attempt().value) == 10
    assert len(bench.model.asked) == 10


def test_a_granted_budget_goes_before_the_declared_one():
    """It is part of the checkpoint, so that it holds in every later attempt."""
    bench = bench_of(ask(10), llm_budget=Budget(tokens=50))
    bench.attempt()
    granted = bench.runtime.codec.encode(Budget(tokens=100).plain())
    bench.inner.resume("job", writes={"g": granted})
    bench.attempt()
    assert bench.job.reason.startswith("budget: 90 of 100 tokens")
    bench.resume()
    bench.attempt()
    assert len(bench.model.asked) == 6


def test_a_budget_in_money():
    """Prices make money of tokens; what a call may cost is asked for before it is sent."""
    bench = bench_of(ask(10), llm_budget=Budget(money=50), llm_prices=PRICES)
    bench.attempt()
    assert bench.job.reason.startswith("budget: 40 of 50 in money are spent")
    assert spend(bench).money == Decimal(40)


def test_calls_in_flight_count_against_the_budget():
    """A map never has more in flight than the budget leaves room for."""

    async def body(task):
        return await task.llm_map(range(100), "{item}", concurrency=100, max_tokens=10)

    bench = bench_of(body, llm_budget=Budget(tokens=200))
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED
    assert spend(bench).tokens <= 200
    assert spend(bench).calls >= 12
    assert spend(bench).ambiguous == 0


def test_a_budget_in_money_needs_a_price():
    """Known at import where the model is; else before anything is sent."""
    with pytest.raises(LLMPriceUnknownError, match="scripted/m"):
        bench_of(ask(1), llm_budget=Budget(money=1))
    with pytest.raises(LLMPriceUnknownError):
        bench_of(ask(1), llm_budget=Budget(money=1), llm_prices=PriceTable({}))
    bench = bench_of(ask(1, model="n"), llm_budget=Budget(money=1), llm_prices=PRICES)
    with pytest.raises(LLMPriceUnknownError, match="scripted/n"):
        bench.attempt()
    assert bench.model.asked == []


@pytest.mark.parametrize(
    "how", [{"tokens": 0}, {"tokens": "5"}, {"money": -1}, {"money": "x"}, {"money": "NaN"}]
)
def test_a_budget_that_makes_no_sense(how):
    """Says which part, with its value."""
    with pytest.raises(ConfigurationError, match=next(iter(how))):
        Budget(**how)


def test_budgets_and_spends_survive_being_plain():
    """What is stored comes back."""
    budget = Budget(5, "1.10")
    assert Budget.of(budget.plain()) == budget
    spent = (
        Spend().with_call(Usage(1, 2, 1), Decimal("0.3")).with_ambiguous(Estimate(7, Decimal(1)))
    )
    assert Spend.of(spent.plain()) == spent
    assert (spent.tokens, spent.total_money) == (10, Decimal("1.3"))


# -- prices ----------------------------------------------------------------------------------


def test_prices_of_a_table():
    """By model, or by provider and model; cached input may be cheaper."""
    table = PriceTable({"m": Price(1, 2, cached=0), "x/m": Price("0.5", 0)})
    million = Usage(1_000_000, 1_000_000, 500_000)
    assert table.cost("y", "m", million) == Decimal("2.5")
    assert table.cost("x", "m", million) == Decimal("0.5")
    assert table.cost("y", "n", million) is None


def test_prices_of_genai_prices():
    """Dollars for a model it knows, None for one it does not."""
    prices = GenAIPrices()
    assert prices.cost("openai", "gpt-4o-mini", Usage(1_000_000, 0)) == Decimal("0.15")
    assert prices.cost("openai", "gpt-4o-mini", Usage()) == 0
    assert prices.cost("nobody", "no-such-model", Usage(1, 1)) is None


def test_estimates_come_from_bytes():
    """So that scripts without spaces are not underrated, and the schema counts."""

    def request(content, **how):
        return LLMRequest("p", "m", ({"role": "user", "content": content},), **how)

    assert estimated_tokens(request("x" * 400)) == 105
    assert estimated_tokens(request("語" * 400)) > 300
    assert estimated_tokens(request("", schema={"a": "b" * 400})) > 100
    assert most_output(request("", parameters={"max_tokens": 7})) == 7
    assert most_output(request("")) == 0


# -- limits and breaker ----------------------------------------------------------------------

PER = 3600.0


def test_a_limit_that_is_used_up_puts_the_job_off():
    """The slot is free until the window has room; then the job goes on where it was."""
    bench = bench_of(ask(5), llm_limit=Limit(requests=2, per=PER))
    bench.attempt()
    assert bench.job.status is JobStatus.SCHEDULED
    assert "'llm/scripted/m' is used up" in bench.job.reason
    assert 0 < bench.job.due_at - bench.clock.now() <= PER * 1.1
    assert len(bench.model.asked) == 2
    for _ in range(2):
        bench.clock.advance(PER * 1.1)
        bench.attempt()
    assert bench.job.status is JobStatus.SUCCEEDED
    assert spend(bench).ambiguous == 0


def test_a_store_is_forgotten_with_the_gates_before_its_limits():
    """Each eager or direct call has a store of its own: a web process makes many."""
    bench = bench_of(ask(1), llm_limit=Limit(requests=5, per=PER))
    bench.attempt()
    store = weakref.ref(bench.inner.limits)
    del bench
    gc.collect()
    assert store() is None


def test_limits_of_a_store_of_ones_own_need_no_room_for_gates():
    """They are asked for what the socket says, and nothing is put on them."""
    bench = bench_of(ask(3), llm_limit=Limit(requests=2, per=PER))

    class Slim:
        __slots__ = ("acquire", "push", "release", "renew", "settle")
        is_shared = True

    limits = Slim()
    for verb in Slim.__slots__:
        setattr(limits, verb, getattr(bench.inner.limits, verb))
    bench.runtime = replace(bench.runtime, store=WithLimits(bench.store, limits))
    bench.attempt()
    assert bench.job.status is JobStatus.SCHEDULED
    assert len(bench.model.asked) == 2


def test_a_limit_is_kept_per_tenant():
    """Each tenant has its own; the others are not held up."""
    tenants = ["a", "b", "a"]
    declared = {
        "llm_limit": Limit(requests=1, per=PER),
        "llm_tenant": lambda task: tenants[len(bench.model.asked)],
    }
    bench = bench_of(ask(3), **declared)
    bench.attempt()
    assert len(bench.model.asked) == 2
    assert "'llm/scripted/m/a'" in bench.job.reason


def test_tokens_are_settled_by_what_was_used():
    """The estimate is replaced, so that a cautious ``max_tokens`` wastes no limit."""

    def body(task):
        return [task.llm("p", key=str(i), max_tokens=900).text for i in range(5)]

    bench = bench_of(body, llm_limit=Limit(tokens=1000, per=PER))
    assert len(bench.attempt().value) == 5


def test_a_call_larger_than_its_limit_fails():
    """No waiting would help."""
    bench = bench_of(
        lambda task: task.llm("p", max_tokens=2000), llm_limit=Limit(tokens=1000, per=PER)
    )
    with pytest.raises(LimitExceededError):
        bench.attempt()
    assert bench.model.asked == []


def test_a_providers_refusal_holds_everybody_back():
    """Its Retry-After pushes the shared limit: another job of the same model waits too."""
    limit = Limit(requests=1000, per=PER)
    first = bench_of(ask(1), ScriptedModel(limited(600.0)), llm_limit=limit)
    first.attempt()
    assert first.inner.limits.acquire("llm/scripted/m", limit).which == "pushed"


@pytest.mark.parametrize(
    ("declared", "verb"),
    [
        ({"llm_limit": Limit(requests=1000, per=PER)}, "acquire"),
        ({"llm_limit": Limit(requests=1000, per=PER)}, "push"),
        ({"llm_family_budget": Budget(tokens=1000)}, "acquire"),
        ({"llm_family_budget": Budget(tokens=1000)}, "settle"),
    ],
)
def test_a_store_that_restarts_fails_no_job(declared, verb):
    """Limits and family budgets are asked again; who cannot be told does not hear it."""
    bench = bench_of(ask(1), ScriptedModel(limited(0.5), "ok"), llm_family=root, **declared)
    away_once(bench.inner.limits, verb)
    assert bench.attempt().value == ["ok"]
    assert len(bench.model.asked) == 2


def test_an_open_circuit_puts_the_job_off():
    """After enough failures nobody asks; the job waits outside of the slot, and is no failure."""
    bench = bench_of(
        ask(1),
        ScriptedModel(*[overloaded()] * 3, "ok"),
        llm_breaker={"fail_max": 3, "reset_timeout": 900.0},
    )
    bench.attempt()
    assert bench.job.status is JobStatus.SCHEDULED
    assert "circuit 'llm/scripted/m' is open" in bench.job.reason
    assert len(bench.model.asked) == 3


def test_a_call_that_an_open_circuit_refuses_takes_nothing_of_the_limit():
    """Whoever asks while the provider is down leaves the window to those who ask after it."""
    limit = Limit(tokens=1000, per=PER)
    bench = bench_of(
        lambda task: task.llm("p", max_tokens=600).text,
        ScriptedModel(overloaded(), "ok"),
        llm_breaker={"fail_max": 1, "reset_timeout": 900.0},
        llm_limit=limit,
    )
    bench.attempt()
    assert "circuit" in bench.job.reason
    assert isinstance(bench.inner.limits.acquire("llm/scripted/m", limit, 1000), Admitted)


def test_an_error_of_ours_does_not_open_the_circuit():
    """A rate limit says that the provider is up."""
    bench = bench_of(ask(1), ScriptedModel(*[limited(0.1)] * 4, "ok"), llm_breaker={"fail_max": 2})
    assert bench.attempt().value == ["ok"]


def test_a_response_may_use_more_than_estimated():
    """The budget learns of it afterwards, and stops the next call."""
    model = ScriptedModel(LLMResponse("long", Usage(10, 500)))
    bench = bench_of(ask(3), model, llm_budget=Budget(tokens=100))
    bench.attempt()
    assert bench.job.reason.startswith("budget: 510 of 100 tokens")
    assert len(model.asked) == 1


def test_what_a_provider_does_not_count_is_estimated():
    """A stream without usage, say: it would make any budget endless."""
    model = ScriptedModel(*[LLMResponse("x" * 400)] * 5)
    bench = bench_of(ask(5), model, llm_budget=Budget(tokens=250))
    bench.attempt()
    assert bench.job.reason.startswith("budget")
    assert len(model.asked) == 3
    assert spend(bench).usage.output_tokens == 300


# -- families --------------------------------------------------------------------------------


def test_a_family_shares_a_budget():
    """Two jobs of one root: what the first has spent, the second has not."""
    budget = Budget(tokens=100)
    first = bench_of(ask(4), llm_family_budget=budget, llm_family=root)
    first.attempt()
    second = bench_of(ask(4), llm_family_budget=budget, llm_family=root)
    second.runtime = replace(
        second.runtime, store=WithLimits(second.runtime.store, first.inner.limits)
    )
    second.attempt()
    assert (len(first.model.asked), len(second.model.asked)) == (4, 2)
    assert second.job.status is JobStatus.PAUSED
    assert second.job.reason == "budget: the 100 tokens of this job's family are spent"
    type(second.task).llm_family_budget = Budget(tokens=1000)
    second.resume()
    assert second.attempt().value
    assert len(second.model.asked) == 4


def root(task):
    """Stand in for Celery's root id, which the bench has none of."""
    return "root"


class WithLimits:
    """A store that has its limits from another one, as two jobs of one store would."""

    def __init__(self, store, limits):
        self._store, self.limits = store, limits

    def __getattr__(self, name):
        return getattr(self._store, name)


def test_what_was_taken_is_given_back_where_the_store_goes_away(monkeypatch):
    """It would be spent for 30 days else, by calls that nobody has made."""
    limits = MemoryStore().limits
    family = FamilyBudget(limits, "root", Budget(tokens=100, money=Decimal(5)))
    acquire, asked = limits.acquire, []

    def fail_at_second(*args):
        asked.append(args)
        if len(asked) == 2:
            raise StoreUnavailableError("memory", "away")
        return acquire(*args)

    monkeypatch.setattr(limits, "acquire", fail_at_second)
    with pytest.raises(StoreUnavailableError):
        family.take(Estimate(tokens=100))
    assert family.take(Estimate(tokens=100)) is not None


@pytest.mark.parametrize("loop_ends", [False, True])
def test_a_cancelled_caller_has_taken_nothing_of_the_family(monkeypatch, loop_ends):
    """Whether the answer comes while the event loop still runs, or when nobody hears of it."""
    limits = MemoryStore().limits
    family = FamilyBudget(limits, "root", Budget(tokens=100))
    acquire, settle = limits.acquire, limits.settle
    entered, go_on, settled = threading.Event(), threading.Event(), threading.Event()

    def wait_and_acquire(*args):
        entered.set()
        assert go_on.wait(30)
        return acquire(*args)

    monkeypatch.setattr(limits, "acquire", wait_and_acquire)
    monkeypatch.setattr(limits, "settle", lambda *args: (settle(*args), settled.set()))

    async def main():
        caller = asyncio.create_task(family.take_aside(Estimate(tokens=100)))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        if not loop_ends:
            go_on.set()
            while not settled.is_set():
                await asyncio.sleep(0.001)

    with asyncio.Runner() as runner:
        runner.run(main())
        go_on.set()
        assert settled.wait(30)
    monkeypatch.setattr(limits, "acquire", acquire)
    assert family.take(Estimate(tokens=100)) is not None


def test_a_cancelled_end_of_a_call_is_told_to_the_family(monkeypatch):
    limits = MemoryStore().limits
    family = FamilyBudget(limits, "root", Budget(tokens=100))
    taken = family.take(Estimate(tokens=100))
    settle, settled = limits.settle, threading.Event()
    monkeypatch.setattr(limits, "settle", lambda *args: (settle(*args), settled.set()))

    async def main():
        caller = asyncio.create_task(family.settle_aside(taken, Estimate()))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller

    asyncio.run(main())
    assert settled.wait(30)
    assert family.take(Estimate(tokens=100)) is not None


def test_a_family_budget_in_money():
    """Counted in millionths; settled by what calls really cost."""
    budget = Budget(money="0.00005")
    prices = PriceTable({"m": Price(input=1, output=2)})
    bench = bench_of(ask(10), llm_family_budget=budget, llm_prices=prices, llm_family=root)
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED
    assert len(bench.model.asked) == 2
    assert spend(bench).money == Decimal("0.00004")


def test_calls_in_flight_count_against_the_family():
    """As for one job: waits for those that may leave something, then pauses."""

    async def body(task):
        return await task.llm_map(range(100), "{item}", concurrency=100, max_tokens=10)

    bench = bench_of(body, llm_family_budget=Budget(tokens=200), llm_family=root)
    bench.attempt()
    assert bench.job.status is JobStatus.PAUSED
    assert 12 <= spend(bench).calls <= 13
    assert spend(bench).ambiguous == 0


# -- control ---------------------------------------------------------------------------------


def test_a_restart_forgets_answers_but_not_what_was_spent():
    """Neither does it take a granted budget back; without its loops it keeps the body's answers."""
    fields = ["v", "allm", "allm_map:1", "arows/llm", "srows/x", "sload", "crows", "illm", "b", "g"]
    assert set(fields) - set(without_books(fields)) == {"illm", "b", "g"}
    kept = {"v", "allm", "sload", "illm", "b", "g"}
    assert set(fields) - set(without_loops(fields)) == kept
    assert without_books(["sload", "crows"]) is None
