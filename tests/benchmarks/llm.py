"""L1 to L3: what a call to a model costs beside the model, and how well a limit is used."""

import asyncio
import multiprocessing
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Any

from benchmarks.attempts import Carrier
from benchmarks.figures import Bar, Figure
from benchmarks.ground import Ground
from benchmarks.measure import Case, Sample, Watch, in_turn
from milepost import LLMTask
from milepost.limits import Limit
from milepost.llm import LLMRequest, LLMResponse, Usage
from milepost.llms import FunctionClient
from milepost.tasks.coroutines import drive

ANSWER = LLMResponse("a" * 200, Usage(50, 50))
WORKERS, RATE = 4, 100
"""Processes that share a limit, and the calls a second that it allows."""
PATIENCE = 0.02
"""Seconds that the model takes where a limit is used up."""


async def answer(_: LLMRequest) -> LLMResponse:
    """Be the model: take no time."""
    return ANSWER


def asking(store: str, **declared: Any) -> Carrier:
    how = {"llm_client": FunctionClient(answer), "llm_model": "m", **declared}
    return Carrier(store, LLMTask, how)


def bare(calls: int) -> Case:
    """Return the case of the client alone, in a loop."""
    client = FunctionClient(answer)
    request = LLMRequest("function", "m", ({"role": "user", "content": "hello"},))

    async def ask() -> Sample:
        with Watch(calls) as watch:
            for _ in range(calls):
                await client.complete(request)
        return watch.sample

    return lambda: drive(ask)


def commits(carrier: Carrier, calls: int) -> Case:
    """Return the case of the store alone: as many pairs of writes, by steps."""

    def body(task: Any) -> Sample:
        with Watch(calls) as watch:
            for _ in range(2 * calls):
                task.step(str)
        return watch.sample

    return lambda: carrier.carry(body)


def one_by_one(carrier: Carrier, calls: int) -> Case:
    def body(task: Any) -> Sample:
        with Watch(calls) as watch:
            for _ in range(calls):
                task.llm("hello")
        return watch.sample

    return lambda: carrier.carry(body)


def mapped(carrier: Carrier, calls: int) -> Case:
    def body(task: Any) -> Sample:
        with Watch(calls) as watch:
            task.llm_map(range(calls), "hello {item}", concurrency=100)
        return watch.sample

    return lambda: carrier.carry(body)


def measure(ground: Ground) -> Iterator[Figure]:
    server, calls = ground.redis(), ground.size(1000, 50)
    carrier = asking(server.url)
    limit = Limit(requests=10_000_000, tokens=1_000_000_000)
    limited = asking(server.url, llm_limit=limit)
    found = in_turn(
        ground.rounds,
        {
            "bare": bare(calls),
            "writes": commits(carrier, calls),
            "call": one_by_one(carrier, calls),
            "map": mapped(carrier, calls),
            "limited": one_by_one(limited, calls),
        },
    )
    bar = Bar(1000, of_ratio=False)
    for case, what, must in (
        ("call", "CPU of a `self.llm` beyond the client's, its two commits included, Redis", bar),
        ("map", "CPU of a call in `llm_map`, 100 at once, the same", bar),
        ("limited", "CPU of a `self.llm` under a limit of requests and tokens, the same", None),
    ):
        added, writes = found[case].cpu_micros - found["bare"].cpu_micros, found["writes"]
        reference = writes.cpu_micros, "two `self.step`", added / writes.cpu_micros
        yield Figure("L1", what, added, "µs", *reference, must)
    yield from utilisation(server.url, ground.size(8, 3))


def utilisation(url: str, seconds: int) -> Iterator[Figure]:
    """Let processes use a limit up for some windows of a second."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(WORKERS) as pool:
        each = RATE * seconds // WORKERS
        moments = sorted(chain(*pool.map(partial(use_up, url, each), range(WORKERS))))
    # Whole seconds, without the burst at the beginning and the end where some have no work left.
    begin, whole = moments[0] + 1.0, int(moments[-1] - moments[0]) - 2
    share = sum(begin <= m < begin + whole for m in moments) / (RATE * whole)
    bar = Bar(0.95, at_least=True, of_ratio=False)
    what = f"share of a limit that {WORKERS} processes use, {RATE} calls a second, Redis"
    yield Figure("L2", what, share, "", bar=bar)
    most = max(sum(m <= other < m + 1.0 for other in moments) for m in moments)
    yield Figure("L3", "most calls that begin in any second of that", most, f"of {RATE}")


def use_up(url: str, calls: int, number: int) -> list[float]:
    """Ask as often as the limit lets one; return when each call began."""
    moments = []

    async def respond(_: LLMRequest) -> LLMResponse:
        moments.append(time.monotonic())
        await asyncio.sleep(PATIENCE)
        return ANSWER

    limit = Limit(requests=RATE, per=1.0)
    carrier = asking(url, llm_client=FunctionClient(respond), llm_limit=limit)

    def body(task: Any) -> None:
        task.llm_map(range(calls), f"{number} {{item}}", concurrency=50)

    carrier.carry(body)
    return moments
