"""Keeps places under ``concurrency`` while their calls take long."""

import logging
import os
import threading
import time

from milepost.errors import StoreError
from milepost.limits import Limits, Permit

logger = logging.getLogger("milepost")


class Renewal:
    """Renews permits from a daemon thread, which runs only while there is something to renew.

    Args:
        limits: where the permits are from.
        every: seconds between two renewals.
    """

    def __init__(self, limits: Limits, every: float) -> None:
        self._limits, self._every = limits, every
        self._kept: dict[str, Permit] = {}
        self._lock = threading.Lock()
        self._is_running = False
        self._pid = os.getpid()

    def keep(self, permit: Permit) -> None:
        """Renew *permit* until it is dropped."""
        if self._pid != os.getpid():
            # A fork leaves the thread behind, and whoever held the lock.
            self._lock, self._kept = threading.Lock(), {}
            self._is_running, self._pid = False, os.getpid()
        with self._lock:
            self._kept[permit.id] = permit
            if not self._is_running:
                threading.Thread(target=self._run, name="milepost-permits", daemon=True).start()
                self._is_running = True  # unless no thread could be started

    def drop(self, permit: Permit) -> None:
        """Renew *permit* no more."""
        with self._lock:
            self._kept.pop(permit.id, None)

    def _run(self) -> None:
        while True:
            time.sleep(self._every)
            with self._lock:
                kept = list(self._kept.values())
                if not kept:
                    self._is_running = False
                    return
            for permit in kept:
                try:
                    if not self._limits.renew(permit):
                        self._tell_lapsed(permit)
                except StoreError:
                    pass  # it may come back before the lease is over
                except Exception:  # a fault, for this permit or all: the others go on, and later
                    logger.exception("the place of a call under %r was not renewed", permit.key)

    def _tell_lapsed(self, permit: Permit) -> None:
        with self._lock:
            is_over = self._kept.pop(permit.id, None) is None
        if not is_over:
            logger.warning(
                "the place of a call under %r has lapsed while the call goes on: more calls than "
                "its limit allows may be under way",
                permit.key,
            )
