"""Asking peers that may never answer, such as a broker that is frozen, without hanging."""

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from milepost.integrations.cli.screen import without_secrets


def together(
    asked: Mapping[str, Callable[[], Any]], limit: float
) -> tuple[dict[str, Any], dict[str, str]]:
    """Ask several at once and wait for all of them, but not longer than *limit* seconds.

    Returns:
        The answers by name, and why there is none for the others.
    """
    answers: queue.SimpleQueue[tuple[str, Any, str | None]] = queue.SimpleQueue()

    def ask(name: str) -> None:
        try:
            answers.put((name, asked[name](), None))
        except Exception as exc:  # of any driver: it is a fact that there is no answer
            said = " ".join(f"{exc}".split()) or repr(exc)
            answers.put((name, None, without_secrets(said)))

    for name in asked:
        # A peer that never answers keeps its thread; as a daemon it does not keep the process.
        threading.Thread(target=ask, args=(name,), daemon=True).start()
    got: dict[str, Any] = {}
    gaps = dict.fromkeys(asked, f"no answer within {limit:g} s")
    give_up_at = time.monotonic() + limit
    while len(got) < len(asked):
        try:
            name, value, problem = answers.get(timeout=max(give_up_at - time.monotonic(), 0.0))
        except queue.Empty:
            break
        got[name] = value
        if problem is None:
            del gaps[name]
        else:
            gaps[name] = problem
    return {name: value for name, value in got.items() if name not in gaps}, gaps
