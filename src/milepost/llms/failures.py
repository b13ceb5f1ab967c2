"""What a provider's failure means, in milepost's errors."""

import time
from dataclasses import dataclass

from milepost.errors import (
    LLMAuthError,
    LLMBadRequestError,
    LLMConnectionError,
    LLMContextTooLongError,
    LLMError,
    LLMOverloadedError,
    LLMPassingError,
    LLMRateLimitedError,
    LLMRefusedError,
    LLMStreamEndedError,
    LLMTimeoutError,
    LLMUnreachableError,
)
from milepost.llm import LLMRequest
from milepost.retry_after import seconds_to_wait

QUOTE = 12
"""Characters of the request in a provider's message that make it a quotation."""
SHORTEST = 3
"""Characters below which a prompt is no secret, but a word that any message may have."""
LONGEST = 300
CAP = 86400.0
"""The longest Retry-After that is believed, in seconds: it holds everybody back, and some servers
send the moment in place of the wait."""
GAVE_UP = frozenset({408, 504, 524})
"""Statuses of a gateway, or a provider, that has waited for the answer in vain: the model may
have worked for it."""
BROKE_OFF = frozenset({502, 520})
"""Statuses of a gateway that has got no whole answer from the provider."""
TOO_LONG = ("context_length", "context length", "context size", "prompt is too long")
REFUSED = ("content_filter", "content_policy", "content management policy")


@dataclass(frozen=True, slots=True)
class Failure:
    """What is known of a call that failed.

    Attributes:
        status: the HTTP status; 0: there was no answer.
        code: the provider's word for it.
        words: the provider's message.
        retry_after: the header, in seconds or as a date.
        retry_after_ms: the header of OpenAI's kind, in milliseconds.
        timed_out: no answer in time.
        disconnected: the connection broke.
        unreadable: something came back that is no answer.
        was_sent: whether the request may have reached the provider.
    """

    status: int = 0
    code: str = ""
    words: str = ""
    retry_after: str | None = None
    retry_after_ms: str | None = None
    timed_out: bool = False
    disconnected: bool = False
    unreadable: bool = False
    was_sent: bool = True


def error_of(failure: Failure, request: LLMRequest) -> LLMError:
    """Return the error to raise for a failure."""
    who = request.provider, request.model
    if not failure.was_sent:
        return LLMUnreachableError(*who, "no connection; nothing was sent")
    if failure.timed_out:
        return LLMTimeoutError(*who, f"no answer within {request.timeout:g} s, or a stalled one")
    if failure.disconnected:
        return LLMConnectionError(*who, "the connection broke before the answer was whole")
    if failure.unreadable:
        return LLMStreamEndedError(*who, "what came back is damaged")
    return _of_status(failure, request)


def _of_status(failure: Failure, request: LLMRequest) -> LLMError:
    who, status = (request.provider, request.model), failure.status
    problem = f"HTTP {status} {failure.code}".strip()
    passing = _passing(status)
    if passing is not None:
        return passing(*who, problem, seconds_of(failure))
    hint = f"{failure.code} {failure.words}".lower()
    if any(words in hint for words in REFUSED):
        return LLMRefusedError(*who, problem)
    said = f"{problem}: {unquoted(failure.words, request)}" if failure.words else problem
    if status in {401, 403}:
        return LLMAuthError(*who, said)
    if status == 413 or any(words in hint for words in TOO_LONG):
        return LLMContextTooLongError(*who, said)
    return LLMBadRequestError(*who, said)


def _passing(status: int) -> type[LLMPassingError] | None:
    if status == 429:
        return LLMRateLimitedError
    if status in GAVE_UP:
        return LLMTimeoutError
    if status in BROKE_OFF:
        return LLMConnectionError
    return LLMOverloadedError if status == 409 or status >= 500 else None


def seconds_of(failure: Failure) -> float:
    """Return how long the provider asks to wait, or 0 where it does not say or means nothing."""
    now = time.time()
    seconds = seconds_to_wait(failure.retry_after_ms, now=now, unit=0.001)
    if seconds is None:
        seconds = seconds_to_wait(failure.retry_after, now=now)
    return min(seconds or 0.0, CAP)


def unquoted(words: str, request: LLMRequest) -> str:
    """Return a provider's message, unless it quotes the request."""
    words = words[:LONGEST]
    for message in request.messages:
        asked = str(message.get("content", ""))
        length = min(len(asked), QUOTE)
        pieces = (words[at : at + length] for at in range(len(words) - length + 1))
        if length >= SHORTEST and any(piece in asked for piece in pieces):
            return "(its message quotes the request, and is left out)"
    return words
