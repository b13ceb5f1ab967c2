"""The tasks of the project that ask models: there where a test names a model's server."""

import functools
import os
import threading
import time

from milepost import LLMTask
from milepost.budget import Budget
from milepost.errors import LLMBadRequestError
from milepost.limits import Admitted, Limit
from milepost.llms import OpenAIClient

PER = float(os.environ.get("PROJECT_PER", "1"))
"""Seconds of the window of the limit that ``ask_limited`` keeps."""
REQUESTS = int(os.environ.get("PROJECT_REQUESTS", "1000"))


class Asking(LLMTask):
    """Asks the test's server."""

    abstract = True
    llm_client = OpenAIClient(os.environ.get("PROJECT_MODEL"), "key")
    llm_model = "gpt-4o-mini"
    llm_timeout = 30.0


def log_admissions(limits, path):
    """Log when a limit admits a call: the moments before and after it was asked."""
    kind, acquire = type(limits), type(limits).acquire

    def logged(self, *asked):
        begun = time.monotonic()
        answer = acquire(self, *asked)
        if isinstance(answer, Admitted):
            line = f"{begun:.6f} {time.monotonic():.6f}\n".encode()
            file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(file, line)
            os.close(file)
        return answer

    kind.acquire = logged


def define(plain, effect):
    """Register the tasks.

    Args:
        plain: the project's decorator.
        effect: leaves a line about the running task.
    """
    ask = functools.partial(plain, base=Asking, bind=True)

    async def ask_about(self, first, n, concurrency=8):
        effect("body")
        responses = await self.llm_map(
            range(first, first + n), "item {item}", key=str, concurrency=concurrency
        )
        effect("threads", threading.active_count())
        return sum(bool(response.text) for response in responses)

    ask(name="ask_about")(ask_about)
    ask(name="ask_limited", llm_limit=Limit(requests=REQUESTS, per=PER, lease=5.0))(ask_about)
    ask(name="ask_cheaply", llm_budget=Budget(tokens=300))(ask_about)

    in_family = ask(name="ask_in_family", llm_family_budget=Budget(tokens=600))(ask_about)

    @ask(name="have_asked")
    def have_asked(self, jobs, n):
        """Send jobs that ask; they belong to this one's family."""
        return [self.step(send, n, name=str(number)) for number in range(jobs)]

    def send(n):
        return in_family.delay(0, n, 4).id

    @ask(name="ask_in_turn")
    def ask_in_turn(self, n):
        """Sync: one call after the other, within a loop whose items forget their answers."""
        effect("body")
        return [self.llm(f"turn {item}").text for item in self.iterate(range(n), every=1)]

    @ask(name="ask_secretly")
    async def ask_secretly(self):
        """Prompts, answers, failures and the return value hold the secret."""
        secret = "s3cret"
        effect("body")
        response = await self.llm(f"tell me of {secret}")
        try:
            await self.llm(f"{secret}, but wrong", model="gpt-4o")
        except LLMBadRequestError as exc:
            effect("failed", f"{exc.problem[:9]!r}".replace(" ", "_"))
        return response.text
