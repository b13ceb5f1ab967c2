"""The task that asks models: each answer is on record as soon as it is there, and paid once."""

import functools
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, TypeVar

from milepost.budget import Budget, Spend
from milepost.engine.calls import calls_of
from milepost.engine.scope import Scope
from milepost.engine.work import Attempt
from milepost.errors import CheckpointError, ConfigurationError, LLMPriceUnknownError
from milepost.interrupts import Interrupt
from milepost.limits import Limit
from milepost.llm import LLMClient, LLMRequest, Prices, Usage
from milepost.runtime import runtime_of
from milepost.tasks.admission import STANDARD, Gate, check_breaker, gate_of
from milepost.tasks.asking import Asker, Terms
from milepost.tasks.checkpointable import CheckpointableTask
from milepost.tasks.coroutines import drive
from milepost.tasks.family import FamilyBudget
from milepost.tasks.llm_mapping import map_questions
from milepost.tasks.parsing import shape_of
from milepost.tasks.questions import Question

T = TypeVar("T")

Prompt: TypeAlias = str | Sequence[Mapping[str, Any]]
"""What is asked: a text, or a conversation of ``{"role": …, "content": …}``."""

CHANGED = ("error", "call")
CLIENT = "milepost_llm_client"
"""Where a task keeps the client that a plugin has made for it."""


class LLMTask(CheckpointableTask):
    """A durable task that asks language models.

    Every call is on record before it is sent and its answer as soon as it is there, with what
    it cost: a resumed attempt is given the answer and asks nobody. Prompts are not stored, and
    neither they nor the answers are logged.

    Attributes:
        llm_client: whom to ask, or the name under which a plugin brings that.
        llm_model: which model, where a call does not say.
        llm_limit: what all workers together may ask of a model of a provider's, for one
            tenant: requests, tokens and calls at once.
        llm_breaker: options of the circuit breaker that all workers share before a model
            (see :class:`milepost.guards.breaker.BreakerGuard`); None: there is none.
        llm_budget: the most that the calls of one job may cost; then the job is paused.
        llm_family_budget: the most that the calls of a job, and of all jobs that belong to
            the same canvas or were sent by one of them, may cost together in 30 days.
        llm_prices: what models cost. Needed for a budget in money.
        llm_timeout: seconds until an answer counts as lost.
        llm_tries: how often one call is sent at most, where failures may pass.
        llm_patience: seconds that are waited in the worker's slot; what takes longer (a
            limit, the provider's ``Retry-After``) puts the job off and frees the slot.
        llm_repairs: how often a model is asked again for an answer that fits
            ``response_model``.
        llm_changed: what becomes of a call whose recorded answer was given to another
            request: ``error``, or ``call`` to ask anew.
        llm_redact: text of an answer → text as the task sees and stores it.
    """

    abstract = True
    llm_client: ClassVar[LLMClient | str | None] = None
    llm_model: ClassVar[str | None] = None
    llm_limit: ClassVar[Limit | None] = None
    llm_breaker: ClassVar[Mapping[str, Any] | None] = STANDARD
    llm_budget: ClassVar[Budget | None] = None
    llm_family_budget: ClassVar[Budget | None] = None
    llm_prices: ClassVar[Prices | None] = None
    llm_timeout: ClassVar[float] = 120.0
    llm_tries: ClassVar[int] = 8
    llm_patience: ClassVar[float] = 5.0
    llm_repairs: ClassVar[int] = 2
    llm_changed: ClassVar[str] = "error"
    llm_redact: ClassVar[Callable[[str], str] | None] = None
    milepost_is_async: ClassVar[bool] = False
    milepost_runs_a_loop: ClassVar[bool] = True
    """Whatever its body is; a worker reads it here, and so need not load this module."""
    resultrepr_maxsize = 0
    """Celery would log what the task returns, and that may be an answer."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_declaration(cls)

    def llm(
        self,
        prompt: Prompt,
        *,
        key: str | None = None,
        model: str | None = None,
        response_model: Any = None,
        timeout: float | None = None,
        **parameters: Any,
    ) -> Any:
        """Ask a model once per job: the answer is stored, and replayed on resume.

        Args:
            prompt: a text, or the messages of a conversation.
            key: name of the call. Default: numbered by order. Calls that run concurrently
                and are started in no fixed order need one.
            model: which model. None: ``llm_model``.
            response_model: a pydantic model, or type, that the answer must fit.
            timeout: seconds until the answer counts as lost. None: ``llm_timeout``.
            parameters: what else the provider is told: ``temperature``, ``max_tokens``, …

        Returns:
            A :class:`milepost.llm.LLMResponse`, with ``text``, ``usage`` and, where a
            ``response_model`` is given, ``parsed``. In an ``async def`` task, await it.

        Raises:
            LLMError: no usable answer; its kinds say why.
            LLMRequestChangedError: the answer on record is another request's.
            LLMPriceUnknownError: a budget in money, and no price for the model.
            CheckpointError: it was started within an item of a loop, which ended before it.
            NameInUseError: the key is in use here.
        """
        attempt = self.attempt
        journal = attempt.journal
        scope = journal.scope
        path = scope.enter("call", key, "llm")
        request = self._request(prompt, model, response_model, timeout, parameters)
        asker = self._asker(attempt)
        answer = asker.calls.answer(path)
        if answer is None:
            journal.stored.check_fit(scope, f"call {path!r}")
        shape = None if response_model is None else shape_of(response_model)
        question = Question(path, request, shape)
        return self._run_here(scope, lambda: asker.ask(question, answer))

    def llm_map(
        self,
        items: Iterable[T],
        prompt: str | Callable[[T], Prompt],
        *,
        key: Callable[[T], str] | None = None,
        concurrency: int = 10,
        name: str | None = None,
        keep_errors: bool = False,
        model: str | None = None,
        response_model: Any = None,
        timeout: float | None = None,
        **parameters: Any,
    ) -> Any:
        """Ask a model about every item, many at once in one thread, and keep each answer.

        Args:
            items: all items, in an order that is stable unless ``key`` is given.
            prompt: item → what to ask, or a text with ``{item}`` in it.
            key: item → string that identifies it.
            concurrency: how many calls are in flight at once.
            name: name of the map, where several may swap places in the code.
            keep_errors: an item that the model refuses, cuts off or gets wrong, or whose
                prompt is too long, has its error as its result, on record like an answer.
                False: the first one ends the map.
            model: as for :meth:`llm`, and so are the others.
            response_model: as for :meth:`llm`.
            timeout: as for :meth:`llm`.
            parameters: as for :meth:`llm`.

        Returns:
            The responses in the order of the items. In an ``async def`` task, await them.

        Raises:
            CheckpointError: concurrency below 1, or a text without ``{item}``.
            ItemKeyError: a key is not a string, or not unique.
            LLMError: as for :meth:`llm`; answers that were under way are kept.
        """
        if concurrency < 1:
            raise CheckpointError(f"concurrency={concurrency}: it must be at least 1")
        asked = prompt if callable(prompt) else _filled(prompt)
        attempt = self.attempt
        journal = attempt.journal
        scope = journal.scope
        path = scope.enter("map", name, "llm_map")
        shape = None if response_model is None else shape_of(response_model)

        def question(item_path: str, item: T) -> Question:
            request = self._request(asked(item), model, response_model, timeout, parameters)
            return Question(item_path, request, shape, keep_errors)

        return self._run_here(
            scope,
            lambda: map_questions(
                self._asker(attempt), journal, path, items, key, question, concurrency
            ),
        )

    def call_llm_with_retry(self, prompt: Prompt, **how: Any) -> Any:
        """Ask a model as :meth:`llm` does, and return the text of its answer alone."""
        if self.milepost_is_async:
            return _text_of(self.llm(prompt, **how))
        return self.llm(prompt, **how).text

    @property
    def llm_spend(self) -> Spend:
        """What the calls of this job have cost so far, over all attempts."""
        return calls_of(self.attempt).spend

    def llm_tenant(self) -> str:
        """Return whose limit the running job counts under; override it where there are several."""
        return ""

    def llm_family(self) -> str:
        """Return under which id the running job shares ``llm_family_budget``: by default that
        of the job at the root of its canvas, or that has sent it, or its sender's, and so on."""
        return str(self.request.root_id or "")

    def _gate(self, attempt: Attempt, request: LLMRequest) -> Gate:
        tenant = self.llm_tenant()
        key = "/".join(filter(None, ("llm", request.provider, request.model, tenant)))
        return gate_of(attempt.runtime, key, self.llm_limit, self.llm_breaker)

    def _family(self, attempt: Attempt) -> FamilyBudget | None:
        if self.llm_family_budget is None:
            return None
        family = self.llm_family() or attempt.job.id
        return FamilyBudget(attempt.runtime.store.limits, family, self.llm_family_budget)

    def _request(
        self,
        prompt: Prompt,
        model: str | None,
        response_model: Any,
        timeout: float | None,
        parameters: Mapping[str, Any],
    ) -> LLMRequest:
        client, model = self._client(), model or self.llm_model
        if model is None:
            raise ConfigurationError(f"{self.name}: no model: give model= or llm_model")
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return LLMRequest(
            client.provider,
            model,
            tuple(messages),
            parameters,
            None if response_model is None else shape_of(response_model).schema,
            self.llm_timeout if timeout is None else timeout,
        )

    def _client(self) -> LLMClient:
        """Return whom to ask; a plugin makes it once per process."""
        given = self.llm_client
        if given is None:
            raise ConfigurationError(f"{self.name}: it has no llm_client to ask")
        if not isinstance(given, str):
            return given
        made: LLMClient | None = self.__dict__.get(CLIENT)
        if made is None:
            made = runtime_of(self.app).plugins.make("llm_clients", given)
            made = self.__dict__.setdefault(CLIENT, made)
        return made

    def _asker(self, attempt: Attempt) -> Asker:
        return Asker(
            Terms(
                self._client(),
                functools.partial(self._gate, attempt),
                self.llm_budget,
                self._family(attempt),
                self.llm_prices,
                self.llm_tries,
                self.llm_patience,
                self.llm_repairs,
                self.llm_changed == "call",
                type(self).llm_redact,  # not from the task, which would make a method of it
            ),
            attempt,
        )

    def _run_here(self, scope: Scope, make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """Return an awaitable in an async task, and its result in a sync one.

        An interrupt stops the body once the calls have ended that others have in flight.
        """
        attempt = self.attempt

        async def run() -> Any:
            try:
                with attempt.journal.calling(scope):
                    return await make()
            except Interrupt as stop:
                try:
                    attempt.journal.stop(stop)  # so that a body which catches it is stopped again
                finally:
                    await attempt.land(stop)

        return run() if self.milepost_is_async else drive(run)


async def _text_of(response: Awaitable[Any]) -> str:
    return str((await response).text)


def _filled(prompt: str) -> Callable[[Any], str]:
    if "{item}" not in prompt:
        raise CheckpointError(
            "llm_map(): the prompt has no {item} in it, so that all items would be asked the same"
        )
    return lambda item: prompt.replace("{item}", str(item))


def _check_declaration(cls: type[LLMTask]) -> None:
    """Refuse at boot what could not work at run time.

    Raises:
        ConfigurationError: a declaration is unusable; LLMPriceUnknownError where a budget in
            money has no price.
    """
    if cls.llm_changed not in CHANGED:
        raise ConfigurationError(f"{cls.__name__}: llm_changed={cls.llm_changed!r}: {CHANGED}")
    for name, least in (("llm_tries", 1), ("llm_repairs", 0), ("llm_patience", 0)):
        if getattr(cls, name) < least:
            raise ConfigurationError(
                f"{cls.__name__}: {name}={getattr(cls, name)!r}: it must be at least {least}"
            )
    if not cls.llm_timeout > 0:
        raise ConfigurationError(f"{cls.__name__}: llm_timeout={cls.llm_timeout!r}: above 0")
    check_breaker(f"{cls.__name__}", cls.llm_breaker)
    client, model, prices = cls.llm_client, cls.llm_model, cls.llm_prices
    if isinstance(client, str):
        return  # whom that is shows in the worker
    budgets = (cls.llm_budget, cls.llm_family_budget)
    if client is None or model is None or all(b is None or b.money is None for b in budgets):
        return
    if prices is None or prices.cost(client.provider, model, Usage()) is None:
        raise LLMPriceUnknownError(client.provider, model)
