"""Many questions at once: coroutines of one thread, stopped without losing what is paid for."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from milepost.engine.journal import NEVER, Journal
from milepost.engine.mapping import by_key
from milepost.engine.scope import Scope
from milepost.engine.stored import AS_CALLS
from milepost.engine.work import VOID
from milepost.errors import LLMError
from milepost.llm import LLMResponse
from milepost.tasks.asking import Asker
from milepost.tasks.questions import Question


class CallMap:
    """A map of calls, as the journal counts its progress."""

    ahead = False
    seconds = NEVER

    def __init__(self, path: str, total: int) -> None:
        self.path = path
        self.item_prefix = f"{path}/"
        self.scope: Scope | None = None
        self.done = 0
        self.total: int | None = total

    def unsaved(self) -> Mapping[str, bytes]:
        """Nothing beyond what each call notes."""
        return {}

    def saved(self) -> None:
        """Nothing to learn."""


async def map_questions(
    asker: Asker,
    journal: Journal,
    path: str,
    items: Iterable[Any],
    key: Callable[[Any], str] | None,
    question: Callable[[str, Any], Question],
    concurrency: int,
) -> list[LLMResponse | LLMError]:
    """Ask about every item; see :meth:`milepost.tasks.llm.LLMTask.llm_map`.

    Args:
        asker: asks.
        journal: of the attempt.
        path: where in the code the map stands.
        items: all of them.
        key: item → string.
        question: makes the question about an item.
        concurrency: how many at once.
    """
    journal.stored.check_kind(path, AS_CALLS)
    known = by_key(path, items, key)
    answers = asker.calls.answers(path)
    if not answers:
        journal.stored.check_fit(journal.scope, f"map {path!r}")
    work = CallMap(path, len(known))
    responses: dict[str, LLMResponse | LLMError] = {}
    todo = iter(known.items())

    async def take_turns() -> None:
        for name, item in todo:
            asked = question(f"{path}:{name}", item)
            ask = asker.outcome if asked.keeps_error else asker.ask
            responses[name] = await ask(asked, answers.pop(name, None))
            work.done += 1

    journal.open(work)
    try:
        await _all_of(asker, [take_turns() for _ in range(min(concurrency, len(known)))])
    finally:
        asker.stopping = None
        journal.close(work)
    return [responses[name] for name in known]


async def _all_of(asker: Asker, turns: Iterable[Any]) -> None:
    """Run coroutines to their end; once one fails, those that wait for a model may finish."""
    running = {asyncio.ensure_future(turn) for turn in turns}
    if not running:
        return
    try:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
        failed = _failure_in(done)
        if failed is None:
            return
        asker.stopping = failed
        for task in running if isinstance(failed, VOID) else running - asker.calls.in_flight:
            task.cancel()
        if running:
            late, running = await asyncio.wait(running)
            _failure_in(late)
    finally:
        for task in running:
            task.cancel()
    raise failed


def _failure_in(tasks: Iterable["asyncio.Task[None]"]) -> BaseException | None:
    """Return the first failure; each is looked at, so that none counts as overlooked."""
    failures = [task.exception() for task in tasks if not task.cancelled()]
    return next(filter(None, failures), None)
