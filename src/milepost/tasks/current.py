"""Which attempt the running code belongs to."""

from contextvars import ContextVar

from milepost.engine.attempt import Attempt

CURRENT: ContextVar[Attempt | None] = ContextVar("milepost_attempt", default=None)
"""Set around the body of a durable task. A context variable, so that threads, greenlets and
asyncio tasks each see their own; threads that user code starts see none."""
