"""One question to a model, from the request to the answer on record.

Each sending is admitted first (budget, limit), put on record, sent, and counted. A failure that
may pass is tried again; where that takes long, the job is put off and its slot is free.
"""

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from milepost.budget import Budget, Estimate
from milepost.engine.calls import calls_of
from milepost.engine.work import Attempt
from milepost.errors import (
    CallRefusedError,
    LLMAnswerLostError,
    LLMError,
    LLMInvalidOutputError,
    LLMPassingError,
    LLMPriceUnknownError,
    LLMRateLimitedError,
    LLMRefusedError,
    LLMRequestChangedError,
    LLMTruncatedError,
    StoreUnavailableError,
)
from milepost.interrupts import Suspend
from milepost.llm import (
    Finish,
    LLMClient,
    LLMRequest,
    LLMResponse,
    Prices,
    Usage,
    estimated_tokens,
    estimated_usage,
    most_output,
)
from milepost.model import JobStatus
from milepost.tasks.admission import NO_ESTIMATE, Admission, Gate
from milepost.tasks.family import FamilyBudget
from milepost.tasks.parsing import Misfit, repaired
from milepost.tasks.questions import OF_ONE_QUESTION, Question, kept, kept_error, replayed

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds: bounds of what the exponential back-off may choose from."""
LOOK = 1.0
"""Seconds after which a wait looks whether the job is to pause."""
AWAY = 2 * LOOK
"""Seconds after which a store that was away is asked again; a commit, which is more patient,
comes in between and tells whether the job is still ours."""
BUDGET_SPENT = "budget"
"""What the reason begins with for which a job is paused whose budget is spent."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a task asks models; see :class:`milepost.tasks.llm.LLMTask` for each."""

    client: LLMClient
    gate: Callable[[LLMRequest], Gate]
    budget: Budget | None
    family: FamilyBudget | None
    prices: Prices | None
    tries: int
    patience: float
    repairs: int
    ask_changed: bool
    redact: Callable[[str], str] | None


class Asker:
    """Asks models for one attempt.

    Args:
        terms: the task's.
        attempt: on whose behalf.

    Attributes:
        stopping: why nothing more may be sent; None while it may.
    """

    def __init__(self, terms: Terms, attempt: Attempt) -> None:
        self.terms = terms
        self.calls = calls_of(attempt)
        self.stopping: BaseException | None = None
        self._clock = attempt.runtime.clock

    async def ask(self, question: Question, answer: Mapping[str, Any] | None) -> LLMResponse:
        """Return the answer to a question, as :meth:`outcome` has it, or raise its error."""
        outcome = await self.outcome(question, answer)
        if isinstance(outcome, LLMError):
            raise outcome
        return outcome

    async def outcome(
        self, question: Question, answer: Mapping[str, Any] | None
    ) -> LLMResponse | LLMError:
        """Return the answer on record, or ask and put it there.

        Args:
            question: what to ask.
            answer: what is on record.

        Raises:
            LLMRequestChangedError: the answer on record is another request's.
            LLMError: no answer that can be used.
            Suspend: the budget is spent, or it would have to wait for long.
        """
        if answer is not None:
            known = replayed(answer, question)
            if known is not None:
                return known
            if not self.terms.ask_changed:
                raise LLMRequestChangedError(question.path)
        question.failures = self.calls.failures(question.path, question.mark)
        if question.failures >= self.terms.tries:
            problem = f"sent {question.failures} times, and no answer came or its worker died"
            raise LLMAnswerLostError(*_who(question.request), problem)
        outcome: LLMResponse | LLMError
        try:
            outcome = await self._converse(question)
        except tuple(OF_ONE_QUESTION.values()) as exc:
            if not question.keeps_error:
                raise
            outcome = exc
            self.calls.note_answer(question.path, kept_error(question, exc))
        await self.calls.save_answer(question.path)
        return outcome

    async def _converse(self, question: Question) -> LLMResponse:
        """Ask, and ask for repair while the answer does not fit."""
        request = question.request
        for _ in range(self.terms.repairs + 1):
            response = await self._send(question, request)
            misfit = response.parsed
            if not isinstance(misfit, Misfit):
                return response
            request = repaired(question.request, response.text, misfit)
        turns = f"after {self.terms.repairs + 1} turns"
        raise LLMInvalidOutputError(*_who(request), f"{turns}: {misfit.problem}")

    async def _send(self, question: Question, request: LLMRequest) -> LLMResponse:
        """Send a request until it is answered, or trying again is no use."""
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(LLMPassingError),
            stop=lambda _: question.failures >= self.terms.tries,
            wait=functools.partial(_wait, question),
            sleep=functools.partial(self._rest_or_put_off, question),
            reraise=True,
        )
        response: LLMResponse = await retrying(self._send_once, question, request)
        return response

    async def _send_once(self, question: Question, request: LLMRequest) -> LLMResponse:
        estimate, gate = self._estimate(request), self.terms.gate(request)
        async with self._admitted(gate, estimate) as admission:
            if self.stopping is not None:
                raise self.stopping
            question.tries += 1
            path = question.path
            await self.calls.send(path, question.mark, question.failures, estimate)
            admission.settle(estimate)
            try:
                with self.calls.flying():
                    response = _counted(request, await self.terms.client.complete(request))
            except BaseException as exc:
                question.failures += 1
                if _is_free(exc):
                    self.calls.withdraw(path)
                    admission.settle(NO_ESTIMATE)
                else:
                    self.calls.lose(path, estimate)
                if isinstance(exc, LLMRateLimitedError) and exc.retry_after and gate.rate:
                    await asyncio.to_thread(gate.rate.push, exc.retry_after)
                raise
            money = self._cost(request, response.usage)
            admission.settle(Estimate(response.usage.total, money or Decimal(0)))
            return self._take(question, request, response, money)

    def _take(
        self, question: Question, request: LLMRequest, response: LLMResponse, money: Decimal | None
    ) -> LLMResponse:
        """Note what an answer has cost, and the answer if it is one, for the same commit.

        Returns:
            It as the task may see it; parsed to a :class:`Misfit` where it has to be repaired.

        Raises:
            LLMTruncatedError, LLMRefusedError: it is none.
        """
        self.calls.bill(question.path, response.usage, money)
        question.add(response, money)
        _check_whole(request, response)
        if self.terms.redact is not None:
            response = replace(response, text=self.terms.redact(response.text))
        if question.shape is not None:
            response = replace(response, parsed=question.shape.parse(response.text))
        if not isinstance(response.parsed, Misfit):
            self.calls.note_answer(question.path, kept(question, response))
        return response

    @asynccontextmanager
    async def _admitted(self, gate: Gate, estimate: Estimate) -> AsyncIterator[Admission]:
        """Wait until budget, limit and circuit let a call pass."""
        async with AsyncExitStack() as stack:
            if gate.rate is None:
                admission = await self._enter(stack, gate, estimate)
            else:
                async with self.calls.line:
                    admission = await self._enter(stack, gate, estimate)
            admission.settle(NO_ESTIMATE)  # as long as nothing was sent
            yield admission

    async def _enter(self, stack: AsyncExitStack, gate: Gate, estimate: Estimate) -> Admission:
        while True:
            await self._fit_budget(estimate)
            async with AsyncExitStack() as entered:
                self.calls.hold(estimate)
                entered.callback(self.calls.free, estimate)
                admission = Admission()
                seconds, why = 0.0, ""
                try:
                    if await self._take_of_family(entered, admission, estimate):
                        passing = gate.passing(estimate.tokens)
                        admission.passage = await entered.enter_async_context(passing)
                        stack.push_async_exit(entered.pop_all())
                        return admission
                except (CallRefusedError, StoreUnavailableError) as exc:
                    seconds, why = getattr(exc, "retry_after", AWAY), str(exc)
            if why:
                await self._rest(seconds, why)
            elif not await self.calls.until_freed():
                assert self.terms.family is not None
                words = f"the {self.terms.family.words} of this job's family are spent"
                raise Suspend(JobStatus.PAUSED, f"{BUDGET_SPENT}: {words}")

    async def _take_of_family(
        self, entered: AsyncExitStack, admission: Admission, estimate: Estimate
    ) -> bool:
        """Take a call's estimate of the budget that the job shares, where there is one."""
        family = self.terms.family
        if family is None:
            return True
        taken = await family.take_aside(estimate)
        if taken is None:
            return False

        async def settle() -> None:
            await family.settle_aside(taken, admission.used)

        entered.push_async_callback(settle)
        return True

    # -- what it may cost ----------------------------------------------------------------------

    async def _fit_budget(self, estimate: Estimate) -> None:
        """Wait while calls in flight may leave something of the budget.

        Raises:
            Suspend: they will not; the job is paused.
        """
        budget = self.calls.granted or self.terms.budget
        if budget is None:
            return
        while why := budget.refuses(self.calls.spend, self.calls.held, estimate):
            if not await self.calls.until_freed():
                raise Suspend(JobStatus.PAUSED, f"{BUDGET_SPENT}: {why}")

    def _estimate(self, request: LLMRequest) -> Estimate:
        usage = Usage(estimated_tokens(request), most_output(request))
        money = self._cost(request, usage)
        family = self.terms.family
        budgets = (self.calls.granted or self.terms.budget, family.budget if family else None)
        if money is None and any(b is not None and b.money is not None for b in budgets):
            raise LLMPriceUnknownError(*_who(request))
        return Estimate(usage.total, money or Decimal(0))

    def _cost(self, request: LLMRequest, usage: Usage) -> Decimal | None:
        prices = self.terms.prices
        return None if prices is None else prices.cost(request.provider, request.model, usage)

    # -- waiting -------------------------------------------------------------------------------

    async def _rest_or_put_off(self, question: Question, seconds: float) -> None:
        if seconds > self.terms.patience:
            self.calls.put_off(question.path, question.mark, question.failures)
        await self._rest(seconds, f"{question.request.provider}: waits to be asked again")

    async def _rest(self, seconds: float, why: str) -> None:
        """Wait here where it is short, else put the job off.

        Raises:
            Suspend: its slot is free for so long.
        """
        if seconds > self.terms.patience:
            raise Suspend(JobStatus.SCHEDULED, why, delay=seconds)
        while seconds > 0:
            if self.stopping is not None:
                raise self.stopping
            await self._clock.rest(min(seconds, LOOK))
            seconds -= LOOK
            if seconds > 0:
                await self.calls.save()


def _wait(question: Question, state: RetryCallState) -> float:
    """Return the seconds to wait: as the provider says, else exponential with full jitter."""
    failed = state.outcome.exception() if state.outcome else None
    if isinstance(failed, LLMPassingError) and failed.retry_after:
        return failed.retry_after * random.uniform(1.0, 1.1)
    return random.uniform(0, min(LONGEST_WAIT, FIRST_WAIT * 2 ** (question.failures - 1)))


def _is_free(exc: BaseException) -> bool:
    """Whether a call that failed so was certainly not billed: only a client's errors tell."""
    return isinstance(exc, LLMError) and not isinstance(exc, LLMAnswerLostError)


def _counted(request: LLMRequest, response: LLMResponse) -> LLMResponse:
    """Put an estimate in place of a usage that the provider does not report."""
    if response.usage.total:
        return response
    return replace(response, usage=estimated_usage(request, response.text))


def _who(request: LLMRequest) -> tuple[str, str]:
    return request.provider, request.model


def _check_whole(request: LLMRequest, response: LLMResponse) -> None:
    if response.finish is Finish.LENGTH:
        length = f"the answer was cut off after {response.usage.output_tokens} tokens"
        raise LLMTruncatedError(*_who(request), f"{length}; raise max_tokens")
    if response.finish is Finish.REFUSED:
        raise LLMRefusedError(*_who(request), "it would not answer")
