"""Which attempt the running code belongs to."""

from contextvars import ContextVar

from milepost import engine

RECORDED: ContextVar[str | None] = ContextVar("milepost_recorded", default=None)
"""The job whose record its sender has written already, while its message is sent."""

SEALED: ContextVar[str | None] = ContextVar("milepost_sealed", default=None)
"""The job whose sensitive arguments are sealed already, while its message is sent."""

CURRENT: ContextVar["engine.Attempt | None"] = ContextVar("milepost_attempt", default=None)
"""Set around the body of a durable task. A context variable, so that threads, greenlets and
asyncio tasks each see their own; threads that user code starts see none."""
