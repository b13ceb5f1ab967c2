"""Calls to models: asked once, answered from the record, counted whatever happens."""

import asyncio
import itertools
import logging
import random
from typing import Annotated

import pytest
from pydantic import AfterValidator, BaseModel

from deliveries import deliver, make_app
from harness import Bench, Killed, crash_everywhere
from milepost import LLMTask
from milepost.budget import Spend
from milepost.engine.migration import as_people_see_it
from milepost.errors import (
    CheckpointError,
    ConfigurationError,
    ItemKeyError,
    LLMAnswerLostError,
    LLMAuthError,
    LLMInvalidOutputError,
    LLMRateLimitedError,
    LLMRefusedError,
    LLMRequestChangedError,
    LLMTimeoutError,
    LLMTruncatedError,
    NameInUseError,
    StepResultError,
)
from milepost.llm import Finish, LLMResponse, Usage
from milepost.llms import FunctionClient
from milepost.model import JobStatus, Signal
from milepost.runtime import runtime_of
from milepost.stores.memory import MemoryStore
from models import ScriptedModel, limited, overloaded, timed_out


def bench_of(body, model=None, **declared):
    """A bench for a task that asks *model*."""
    model = model or ScriptedModel()
    how = {"llm_client": model, "llm_model": "m", **declared}
    bench = Bench(body, base=LLMTask, declared=how)
    bench.model = model
    return bench


def seen(bench):
    return as_people_see_it(bench.runtime.codec, bench.inner.load("job"))


def spend(bench):
    found = seen(bench).get("spend")
    return Spend() if found is None else Spend.of(found)


def texts(responses):
    return [response.text for response in responses]


# -- one call --------------------------------------------------------------------------------


def test_a_call_brings_its_answer_in_a_sync_task():
    """A plain function gets the response itself, with text, usage, latency."""
    bench = bench_of(lambda task: task.llm("hello", temperature=0))
    response = bench.attempt().value
    assert (response.text, response.usage.total, response.latency) == ("answer to hello", 15, 0.25)
    assert bench.model.asked[0].parameters == {"temperature": 0}


def test_a_call_brings_its_answer_in_an_async_task():
    """A coroutine awaits it."""

    async def body(task):
        return (await task.llm([{"role": "user", "content": "hi"}])).text

    assert bench_of(body).attempt().value == "answer to hi"


@pytest.mark.parametrize("is_async", [False, True])
def test_the_old_name_gives_the_text(is_async):
    """``call_llm_with_retry`` returns the text alone, in both kinds of task."""

    async def asked(task):
        return await task.call_llm_with_retry("a", max_tokens=5)

    body = asked if is_async else (lambda task: task.call_llm_with_retry("a", max_tokens=5))
    assert bench_of(body).attempt().value == "answer to a"


@pytest.mark.parametrize("after", [False, True])
def test_a_stored_answer_is_never_asked_for_again(after):
    """Killed at any write, the model is asked once per call, plus once per ambiguous call."""
    benches = crash_everywhere(
        lambda: bench_of(lambda task: [task.llm(p, key=p).text for p in "abc"]), after=after
    )
    for bench in benches:
        total, asked = spend(bench), len(bench.model.asked)
        # Killed after a write: it may have been the one that comes before the sending.
        assert total.calls + total.ambiguous - after <= asked <= total.calls + total.ambiguous
        assert asked <= 3 + total.ambiguous
        assert total.calls == 3
    assert max(spend(bench).ambiguous for bench in benches) == 1


def test_a_call_costs_two_commits():
    """One before it is sent, one with its answer and the spend."""
    bench = bench_of(lambda task: task.llm("a"))
    bench.attempt()
    deltas = [detail for verb, detail in bench.store.log if verb == "commit"]
    assert [set(delta.writes) - {"v"} for delta in deltas] == [{"illm"}, {"allm", "b"}]
    assert "illm" in deltas[1].deletes


def test_a_death_between_sending_and_answer_is_known_and_counted():
    """The call that was in flight is made again, and counts as ambiguous with its estimate."""

    def body(task):
        return task.llm("a", max_tokens=100).text

    model = ScriptedModel(Killed())
    bench = bench_of(body, model)
    with pytest.raises(Killed):
        bench.attempt()
    assert seen(bench)["sent"]["llm"]["sent"] is True
    bench.lapse()
    assert bench.attempt().value == "answer to a"
    total = spend(bench)
    assert (total.calls, total.ambiguous) == (1, 1)
    assert total.ambiguous_tokens > 100
    assert total.tokens == 15 + total.ambiguous_tokens
    assert "sent" not in seen(bench)


def test_an_ambiguous_call_is_counted_once_however_often_the_job_resumes():
    """Counting it and forgetting that it was in flight are one write."""
    model = ScriptedModel(Killed(), Killed())
    bench = bench_of(lambda task: task.llm("a").text, model)
    for _ in range(2):
        with pytest.raises(Killed):
            bench.attempt()
        bench.lapse()
    bench.attempt()
    assert spend(bench).ambiguous == 2
    assert len(model.asked) == 3


def test_a_call_that_kills_its_worker_does_not_go_on_for_ever():
    """Each sending writes, so the crash limit does not see it; the call's own limit does."""
    bench = bench_of(lambda task: task.llm("a"), ScriptedModel(*[Killed()] * 9), llm_tries=3)
    for _ in range(3):
        with pytest.raises(Killed):
            bench.attempt()
        bench.lapse()
    with pytest.raises(LLMAnswerLostError, match="sent 3 times"):
        bench.attempt()
    assert len(bench.model.asked) == 3


def test_calls_are_numbered_or_named():
    """Without a key by order, with a key by that, and no key twice."""
    bench = bench_of(lambda task: [task.llm("a"), task.llm("b"), task.llm("c", key="k")])
    bench.attempt()
    assert set(seen(bench)["calls"]) == {"llm", "llm#2", "k"}
    bench = bench_of(lambda task: [task.llm("a", key="k"), task.llm("b", key="k")])
    with pytest.raises(NameInUseError):
        bench.attempt()


def test_calls_in_a_loop_belong_to_their_item():
    """Answers go with the item that is done; what they cost stays."""

    def body(task):
        return [task.llm(f"{item}").text for item in task.iterate(range(3), every=1)]

    bench = bench_of(body)
    assert bench.attempt().value == ["answer to 0", "answer to 1", "answer to 2"]
    assert "calls" not in seen(bench)
    assert spend(bench).calls == 3


@pytest.mark.parametrize("ticks", [0, 10])
def test_an_item_does_not_end_before_its_calls(ticks):
    """A call that nobody awaits would outlive the record of its item, and of its own sending."""

    async def body(task):
        asked = []
        for item in task.iterate("ab", every=1):
            asked.append(asyncio.ensure_future(task.llm(item)))
            for _ in range(ticks):
                await asyncio.sleep(0)
        await asyncio.gather(*asked)

    model = ScriptedModel()
    model.gate = asyncio.Event()
    bench = bench_of(body, model, llm_breaker=None)
    with pytest.raises(CheckpointError, match="await it before the item ends"):
        bench.attempt()
    assert len(model.asked) == spend(bench).ambiguous
    assert bench.job.progress.done == (0 if ticks else 2)


def test_what_is_on_record_of_a_call():
    """Hash, text, model, usage, money, latency, number of sendings; not the prompt."""
    bench = bench_of(lambda task: task.llm("s3cret prompt"), ScriptedModel(overloaded(), "yes"))
    bench.attempt()
    kept = seen(bench)["calls"]["llm"]
    assert {k: kept[k] for k in ("text", "model", "finish", "usage", "latency", "tries")} == {
        "text": "yes",
        "model": "m",
        "finish": "stop",
        "usage": [10, 5, 0],
        "latency": 0.25,
        "tries": 2,
    }
    assert kept["mark"] == bench.model.asked[0].hash
    assert b"s3cret" not in b"".join(bench.fields.values())


# -- a changed request -----------------------------------------------------------------------


def changing(how, **declared):
    """A bench whose second attempt asks something else under the same key."""

    def body(task):
        model, prompt, more = ("m", "a", {}) if task.fence == 1 else how
        response = task.llm(prompt, key="k", model=model, **more)
        if task.fence == 1:
            raise Killed
        return response.text

    bench = bench_of(body, **declared)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    return bench


@pytest.mark.parametrize(
    "how", [("m", "b", {}), ("n", "a", {}), ("m", "a", {"top_p": 1}), ("m", "a", {"seed": 7})]
)
def test_a_changed_request_is_an_error(how):
    """Another prompt, model or parameter never gets the old answer."""
    with pytest.raises(LLMRequestChangedError, match="'k'"):
        changing(how).attempt()


def test_a_changed_request_is_asked_anew_by_policy():
    """With ``llm_changed = "call"`` the new answer replaces the old one."""
    bench = changing(("m", "b", {}), llm_changed="call")
    assert bench.attempt().value == "answer to b"
    assert seen(bench)["calls"]["k"]["text"] == "answer to b"


@pytest.mark.parametrize("policy", ["error", "call"])
def test_an_answer_that_changed_validators_refuse_is_not_replayed(policy):
    """They are no part of the schema; nobody is given an object that is none."""
    allowed, deaths = ["yes"], [Killed()]

    def check(text):
        if text not in allowed:
            raise ValueError(text)
        return text

    def body(task):
        response = task.llm("a", key="k", response_model=Annotated[str, AfterValidator(check)])
        if deaths:
            raise deaths.pop()
        return response.parsed

    bench = bench_of(body, ScriptedModel('"yes"', '"no"'), llm_changed=policy)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    allowed[:] = ["no"]
    if policy == "call":
        assert bench.attempt().value == "no"
    else:
        with pytest.raises(LLMRequestChangedError, match="'k'"):
            bench.attempt()


def test_a_changed_timeout_is_no_changed_request():
    """How long one waits is no part of what is asked."""
    assert changing(("m", "a", {"timeout": 3})).attempt().value == "answer to a"


def test_a_renamed_call_parks_the_job():
    """Changed code that reaches another call first would pay for it twice."""

    def body(task):
        task.llm("a", key="old" if task.fence == 1 else "new")
        if task.fence == 1:
            raise Killed

    bench = bench_of(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.code = "code-2"
    bench.attempt()
    assert bench.job.reason.startswith("needs-migration: call 'old' is recorded")


def test_a_map_of_calls_that_becomes_another_kind_parks_the_job():
    """What is paid for is not bought again under the name of something else."""

    def body(task):
        if task.fence == 1:
            task.llm_map("ab", "{item}", name="rows")
            raise Killed
        task.map(str, "ab", name="rows")

    bench = bench_of(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.attempt()
    assert bench.job.reason.startswith(
        "needs-migration: map 'rows' was recorded as a map of calls, the code now reads it as a map"
    )

    bench = bench_of(lambda task: [begin(task), task.llm_map("ab", "{item}", name="rows")])

    def begin(task):
        if task.fence == 1:
            task.map(str, "ab", name="rows")
            task.checkpoint()
            raise Killed

    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.attempt()
    assert (
        "map 'rows' was recorded as a map, the code now reads it as a map of c" in bench.job.reason
    )
    assert not bench.model.asked


def test_a_migration_keeps_answers_and_what_was_spent():
    """It may rename calls; the spend it cannot touch."""

    def body(task):
        text = task.llm("a", key="old" if task.fence == 1 else "new").text
        if task.fence == 1:
            raise Killed
        return text

    def migrate(data, version):
        return {"calls": {"new": data["calls"]["old"]}}

    bench = bench_of(body)
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    bench.code, bench.version, bench.migrate = "code-2", 2, migrate
    assert bench.attempt().value == "answer to a"
    assert len(bench.model.asked) == 1
    assert spend(bench).calls == 1


# -- failures --------------------------------------------------------------------------------


def test_what_may_pass_is_tried_again():
    """Rate limits, overload and lost answers; each sending is a commit of its own."""
    bench = bench_of(
        lambda task: task.llm("a").text,
        ScriptedModel(limited(2.0), overloaded(), timed_out(), "ok"),
    )
    began = bench.clock.now()
    assert bench.attempt().value == "ok"
    assert bench.clock.now() - began >= 2.0
    total = spend(bench)
    assert (total.calls, total.ambiguous) == (1, 1)


def test_what_cannot_pass_is_not():
    """An error of credentials is raised at once and nothing is counted."""
    bench = bench_of(lambda task: task.llm("a"), ScriptedModel(LLMAuthError("scripted", "m")))
    with pytest.raises(LLMAuthError):
        bench.attempt()
    assert len(bench.model.asked) == 1
    assert spend(bench) == Spend()
    assert "sent" not in seen(bench)


def test_trying_again_ends():
    """After ``llm_tries`` sendings the last error is raised."""
    bench = bench_of(lambda task: task.llm("a"), ScriptedModel(*[limited(0.5)] * 9), llm_tries=4)
    with pytest.raises(LLMRateLimitedError):
        bench.attempt()
    assert len(bench.model.asked) == 4


def test_a_long_wait_frees_the_slot():
    """What takes longer than the patience puts the job off for as long, and costs no try."""
    bench = bench_of(lambda task: task.llm("a").text, ScriptedModel(limited(3600.0), "ok"))
    bench.attempt()
    assert bench.job.status is JobStatus.SCHEDULED
    assert 3600 <= bench.job.due_at - bench.clock.now() <= 3960
    assert seen(bench)["sent"]["llm"] | {"mark": ""} == {
        "mark": "",
        "failures": 1,
        "tokens": 0,
        "money": "0",
        "sent": False,
    }
    bench.clock.advance(4000)
    assert bench.attempt().value == "ok"
    assert spend(bench).ambiguous == 0


def test_failures_count_over_attempts():
    """A provider that puts a job off again and again is given up at some time."""
    bench = bench_of(lambda task: task.llm("a"), ScriptedModel(*[limited(60.0)] * 9), llm_tries=3)
    for _ in range(2):
        bench.attempt()
        bench.clock.advance(100)
    with pytest.raises(LLMRateLimitedError):
        bench.attempt()
    assert len(bench.model.asked) == 3


@pytest.mark.parametrize(
    ("finish", "error"), [(Finish.LENGTH, LLMTruncatedError), (Finish.REFUSED, LLMRefusedError)]
)
def test_an_answer_that_is_none_was_billed_all_the_same(finish, error):
    """A truncated or refused answer is an error, and its usage is counted."""
    model = ScriptedModel(LLMResponse("half", Usage(7, 3), finish, "m"))
    bench = bench_of(lambda task: task.llm("a"), model)
    with pytest.raises(error):
        bench.attempt()
    assert (spend(bench).calls, spend(bench).tokens) == (1, 10)
    assert "calls" not in seen(bench)


def test_an_answer_that_is_too_large_says_so():
    """It is not stored, and the job's other writes still are."""
    store = MemoryStore(max_value_bytes=2000)
    model = ScriptedModel("x" * 3000)
    bench = bench_of(lambda task: task.llm("a"), model)
    bench = Bench(bench.body, base=LLMTask, declared=bench.declared, inner=store)
    with pytest.raises(StepResultError, match="'llm'"):
        bench.attempt()
    assert spend(bench).calls == 1


# -- structured answers ----------------------------------------------------------------------


class Rule(BaseModel):
    column: str
    most: int


def test_an_answer_as_an_object():
    """The model gets the schema, the task the object, on resume too."""

    def body(task):
        rule = task.llm("a", response_model=Rule).parsed
        if task.fence == 1:
            raise Killed
        return rule

    bench = bench_of(body, ScriptedModel('```json\n{"column": "c", "most": 3}\n```'))
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    assert bench.attempt().value == Rule(column="c", most=3)
    assert bench.model.asked[0].schema["properties"].keys() == {"column", "most"}
    assert len(bench.model.asked) == 1


def test_an_answer_is_repaired():
    """A model that gets it wrong is told so, with its own answer; every turn is counted."""
    bench = bench_of(
        lambda task: task.llm("a", response_model=Rule).parsed,
        ScriptedModel("no json", '{"column": "c"}', '{"column": "c", "most": 1}'),
    )
    assert bench.attempt().value == Rule(column="c", most=1)
    assert len(bench.model.asked[2].messages) == 3
    assert "missing at most" in bench.model.prompts[2]
    assert spend(bench).calls == 3
    assert seen(bench)["calls"]["llm"]["usage"] == [30, 15, 0]


def test_repair_is_bounded_and_quotes_nothing():
    """After the last turn it is an error, without a word of the answer."""
    bench = bench_of(
        lambda task: task.llm("a", response_model=Rule),
        ScriptedModel(*['{"s3cret": "s3cret"}'] * 9),
    )
    with pytest.raises(LLMInvalidOutputError, match="after 3 turns: missing at column") as caught:
        bench.attempt()
    assert "s3cret" not in str(caught.value)
    assert len(bench.model.asked) == 3


def test_any_type_can_be_asked_for():
    """Not only models: whatever pydantic validates."""
    body = lambda task: task.llm("a", response_model=list[int]).parsed  # noqa: E731
    assert bench_of(body, ScriptedModel("[1, 2]")).attempt().value == [1, 2]
    with pytest.raises(ConfigurationError, match="response_model"):
        bench_of(lambda task: task.llm("a", response_model=object())).attempt()


# -- privacy ---------------------------------------------------------------------------------


def test_a_redaction_comes_before_everything():
    """Store and task see the same redacted text."""

    def redact(text):
        return text.replace("s3cret", "***")

    bench = bench_of(lambda task: task.llm("a").text, ScriptedModel("a s3cret"), llm_redact=redact)
    assert bench.attempt().value == "a ***"
    assert b"s3cret" not in b"".join(bench.fields.values())


def test_nothing_is_logged_of_prompts_and_answers(caplog):
    """At no level, on no path: answers, failures, retries, repairs."""
    caplog.set_level(logging.DEBUG)
    model = ScriptedModel(
        overloaded(), "s3cret", '{"s3cret": 1}', '{"column": "s3cret", "most": 1}'
    )
    bench = bench_of(lambda task: task.llm("s3cret", response_model=Rule), model)
    bench.attempt()
    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr(bench.events)


def test_requests_and_responses_show_nothing():
    """Their ``repr`` is safe to log."""
    model = ScriptedModel("s3cret")
    bench = bench_of(lambda task: task.llm("s3cret", stop="s3cret"), model)
    assert "s3cret" not in repr(bench.attempt().value) + repr(model.asked)


# -- many calls ------------------------------------------------------------------------------


async def ask_all(task, n=5, **how):
    return texts(await task.llm_map(range(n), "about {item}", key=str, **how))


def test_a_map_asks_about_every_item():
    """Answers in the order of the items, in both kinds of task, with progress."""
    wanted = [f"answer to about {n}" for n in range(5)]
    bench = bench_of(ask_all)
    assert bench.attempt().value == wanted
    assert (bench.job.progress.done, bench.job.progress.total) == (5, 5)
    assert (
        bench_of(lambda task: texts(task.llm_map(range(5), lambda n: f"about {n}"))).attempt().value
        == wanted
    )


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("concurrency", [1, 3, 50])
def test_a_map_survives_a_death_at_any_write(after, concurrency):
    """Each answer on record is paid once; each call without one was counted."""

    async def body(task):
        return await ask_all(task, concurrency=concurrency)

    for bench in crash_everywhere(lambda: bench_of(body), after=after):
        total = spend(bench)
        assert sorted(set(bench.model.prompts)) == [f"about {n}" for n in range(5)]
        assert 5 <= len(bench.model.asked) <= 5 + total.ambiguous
        assert bench.job.progress.done == 5


def test_a_map_notes_its_calls_in_one_commit():
    """As many as start together travel together, and so do answers that arrive together."""

    async def body(task):
        return await ask_all(task, 1000, concurrency=1000)

    bench = bench_of(body, llm_breaker=None)
    bench.attempt()
    assert bench.model.most_at_once == 1000
    assert bench.store.writes <= 10


def test_a_map_respects_its_concurrency():
    """No more calls in flight than asked for."""

    async def body(task):
        return await ask_all(task, 20, concurrency=4)

    bench = bench_of(body)
    bench.model.gate, bench.model.opens_at = asyncio.Event(), 4  # the first ones wait for the 4th
    bench.attempt()
    assert bench.model.most_at_once == 4


def test_a_failure_in_a_map_loses_no_answer_under_way():
    """Calls in flight are waited for and kept; nothing new is sent; then the error comes."""
    model = ScriptedModel(*["x"] * 4, LLMAuthError("scripted", "m"), *["y"] * 9)

    async def body(task):
        return await ask_all(task, 20, concurrency=8)

    bench = bench_of(body, model)
    with pytest.raises(LLMAuthError):
        bench.attempt()
    total, asked = spend(bench), len(model.asked)
    assert asked < 20
    assert (total.calls, total.ambiguous) == (asked - 1, 0)
    assert len(seen(bench)["calls"]) == asked - 1


def test_a_map_may_keep_errors_as_results():
    """An item that the model will not answer stops nobody else, and is not paid for again."""
    refused = LLMResponse("", Usage(7, 0), Finish.REFUSED)

    async def body(task):
        found = await task.llm_map(range(4), "{item}", keep_errors=True, concurrency=1)
        if task.fence == 1:
            raise Killed
        return found

    bench = bench_of(body, ScriptedModel("a", refused, "c"))
    with pytest.raises(Killed):
        bench.attempt()
    bench.lapse()
    found = bench.attempt().value
    assert [type(one) for one in found] == [LLMResponse, LLMRefusedError, LLMResponse, LLMResponse]
    assert str(found[1]) == "scripted/m: it would not answer"
    assert len(bench.model.asked) == spend(bench).calls == 4


def test_a_map_keeps_no_error_that_is_not_the_items():
    """Wrong credentials say nothing of an item."""
    model = ScriptedModel(LLMAuthError("scripted", "m"))
    bench = bench_of(lambda task: task.llm_map(range(4), "{item}", keep_errors=True), model)
    with pytest.raises(LLMAuthError):
        bench.attempt()


def test_after_a_failed_map_the_task_may_go_on():
    """Whoever catches the error can ask again."""
    model = ScriptedModel(LLMAuthError("scripted", "m"))

    async def body(task):
        with pytest.raises(LLMAuthError):
            await ask_all(task, 3)
        return (await task.llm("more")).text

    assert bench_of(body, model).attempt().value == "answer to more"


@pytest.mark.parametrize("signal", [Signal.PAUSE, Signal.CANCEL])
def test_a_signal_stops_a_map(signal):
    """A pause keeps the answers under way; a cancel waits for nothing."""
    model = ScriptedModel()
    bench = bench_of(ask_all_slowly, model)

    async def complete(request, original=model.complete):
        if len(model.asked) == 5:
            bench.signal(signal)
        return await original(request)

    model.complete = complete
    bench.attempt()
    stopped = JobStatus.PAUSED if signal is Signal.PAUSE else JobStatus.CANCELLED
    assert bench.job.status is stopped
    total = spend(bench)
    assert len(model.asked) == total.calls + total.ambiguous
    if signal is Signal.PAUSE:
        assert total.ambiguous == 0
        bench.resume()
        assert len(bench.attempt().value) == 20
        assert len(model.asked) == 20


async def gathered(asked):
    return texts(await asyncio.gather(*asked))


async def grouped(asked):
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(one) for one in asked]
    return texts(one.result() for one in asking)


@pytest.mark.parametrize("together", [gathered, grouped])
@pytest.mark.parametrize("first", ["answered, then a pause", "put off"])
def test_a_stop_keeps_the_answers_of_calls_that_the_body_gathers(together, first):
    """What is in flight when one of them is stopped ends first; nothing new is sent."""

    async def body(task):
        return await together([task.llm(f"p{i}", key=str(i)) for i in range(6)])

    model = ScriptedModel(*[limited(3600.0)] * (first == "put off"))
    bench = bench_of(body, model, llm_breaker=None)  # so that all are sent at once

    async def complete(request, original=model.complete):
        number = len(model.asked)
        answer = await original(request)
        if number == 0:
            bench.signal(Signal.PAUSE)
        for _ in range(50 * number):
            await asyncio.sleep(0)
        return answer

    model.complete = complete
    bench.attempt()
    paused = first != "put off"
    assert bench.job.status is (JobStatus.PAUSED if paused else JobStatus.SCHEDULED)
    assert (spend(bench).calls, spend(bench).ambiguous) == (6 if paused else 5, 0)
    if paused:
        bench.resume()
    bench.clock.advance(4000)
    assert len(bench.attempt().value) == 6
    assert len(model.asked) == (6 if paused else 7)


def test_a_stop_of_a_step_keeps_the_answer_that_is_under_way_beside_it():
    """Whatever it is that stops the body."""
    app = make_app()
    model = ScriptedModel()
    store = runtime_of(app).store

    @app.task(base=LLMTask, bind=True, llm_client=model, llm_model="m")
    async def body(self):
        async def pause():
            while not model.asked:
                await asyncio.sleep(0)
            store.signal("job", Signal.PAUSE)

        async def complete(request, original=model.complete):
            answer = await original(request)
            for _ in range(50):
                await asyncio.sleep(0)
            return answer

        model.complete = complete
        await asyncio.gather(self.llm("p"), self.step(pause))

    deliver(body, job_id="job")
    assert store.get("job").status is JobStatus.PAUSED
    books = as_people_see_it(runtime_of(app).codec, store.load("job"))["spend"]
    assert (books["calls"], books["ambiguous"]) == (1, 0)


async def ask_all_slowly(task):
    return await ask_all(task, 20, concurrency=4)


def test_a_long_wait_in_a_map_frees_the_slot():
    """One call that has to wait for an hour puts the job off; others in flight are kept."""
    model = ScriptedModel("a", limited(3600.0))
    bench = bench_of(ask_all, model)
    bench.attempt()
    assert bench.job.status is JobStatus.SCHEDULED
    assert len(seen(bench)["calls"]) == len(model.asked) - 1 > 0
    bench.clock.advance(4000)
    bench.attempt()
    assert len(model.asked) == 6


def test_a_zombie_records_nothing():
    """Another attempt has the job: the answer that comes now is not this one's to keep."""
    model = ScriptedModel()
    bench = bench_of(lambda task: task.llm("a"), model)

    async def complete(request, original=model.complete):
        bench.take_over()
        return await original(request)

    model.complete = complete
    bench.attempt()
    assert bench.fields.keys() == {"illm"}


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"prompt": "no place"}, CheckpointError),
        ({"prompt": "{item}", "concurrency": 0}, CheckpointError),
        ({"prompt": "{item}", "key": lambda _: "same"}, ItemKeyError),
    ],
)
def test_a_map_that_makes_no_sense(how, error):
    """Bad arguments are refused before anything is sent."""
    bench = bench_of(lambda task: task.llm_map(range(3), **how))
    with pytest.raises(error):
        bench.attempt()
    assert bench.model.asked == []


def test_an_empty_map():
    """No items, no calls."""
    assert bench_of(lambda task: task.llm_map([], "{item}")).attempt().value == []


# -- whatever happens ------------------------------------------------------------------------


class Fickle(ScriptedModel):
    """Fails at random, in every way that may pass, and knows what it bills."""

    def __init__(self, seed):
        super().__init__()
        self.random, self.billed = random.Random(seed), 0

    async def complete(self, request):
        self.asked.append(request)
        luck = self.random.random()
        await asyncio.sleep(0)
        if luck < 0.25:
            raise limited(0.01) if luck < 0.15 else overloaded()
        self.billed += 1
        if luck < 0.4:
            raise timed_out()
        return LLMResponse("no JSON" if luck < 0.5 else '"yes"', Usage(10, 5))


async def in_crowds(task):
    for item in task.iterate("abc", every=1):
        asked = [task.llm(f"{item}{n}", key=str(n), response_model=str) for n in range(3)]
        await asyncio.gather(*asked)
    await task.llm_map(range(4), "{item}", concurrency=3, response_model=str)


def in_turn(task):
    for item in task.iterate("abc", every=2):
        for n in task.iterate(range(2)):
            task.llm(f"{item}{n}", response_model=str)
        task.step(str, item)


@pytest.mark.parametrize("body", [in_crowds, in_turn])
@pytest.mark.parametrize("after", [False, True])
def test_the_books_hold_wherever_it_dies(body, after):
    """Killed at each write, and once more: never more is billed than answered and ambiguous."""
    for write in itertools.count(1):
        model = Fickle(write)
        declared = {"llm_breaker": None, "llm_tries": 1000, "llm_repairs": 50}
        bench = bench_of(body, model, llm_patience=1e9, **declared)
        reached = bench.die(write, after=after)
        if reached and not bench.job.status.is_terminal:
            bench.die(write // 2 + 1, after=after)
        while not bench.job.status.is_terminal:
            bench.attempt()
        total = spend(bench)
        assert total.calls <= model.billed <= total.calls + total.ambiguous
        if not reached:
            break
    assert write > 18


# -- declarations ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "declared",
    [
        {"llm_changed": "ignore"},
        {"llm_tries": 0},
        {"llm_repairs": -1},
        {"llm_patience": -1},
        {"llm_timeout": 0},
        {"llm_breaker": {"fail_maks": 3}},
        {"llm_breaker": {"fail_max": 0}},
    ],
)
def test_a_bad_declaration_fails_where_it_is_made(declared):
    """At import, not at the first call."""
    with pytest.raises(ConfigurationError, match=next(iter(declared))):
        type("Bad", (LLMTask,), declared)


@pytest.mark.parametrize("missing", ["llm_client", "llm_model"])
def test_a_task_without_client_or_model_says_so(missing):
    """With the name of what is missing."""
    with pytest.raises(ConfigurationError, match="model" if "model" in missing else missing):
        bench_of(lambda task: task.llm("a"), **{missing: None}).attempt()


def test_a_plain_function_can_be_the_model():
    """Sync ones run in a thread, async ones in the loop; both may return a response."""
    sync = FunctionClient(lambda request: f"<{request.messages[0]['content']}>")

    async def respond(request):
        await asyncio.sleep(0)
        return LLMResponse("full", Usage(1, 2))

    assert bench_of(lambda task: task.llm("a").text, sync).attempt().value == "<a>"
    assert bench_of(
        lambda task: task.llm("a").usage, FunctionClient(respond)
    ).attempt().value == Usage(1, 2)


def test_a_coroutine_that_does_not_answer_counts_as_lost():
    """``llm_timeout`` holds for it as for any client; its own TimeoutError goes through."""

    async def hang(request):
        await asyncio.Event().wait()

    async def give_up(request):
        raise TimeoutError("its own")

    bench = bench_of(
        lambda task: task.llm("a"), FunctionClient(hang), llm_timeout=0.01, llm_tries=1
    )
    with pytest.raises(LLMTimeoutError, match=r"no answer within 0\.01 s"):
        bench.attempt()
    assert spend(bench).ambiguous == 1
    with pytest.raises(TimeoutError, match="its own"):
        bench_of(lambda task: task.llm("a"), FunctionClient(give_up)).attempt()
