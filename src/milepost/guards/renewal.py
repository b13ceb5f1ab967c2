"""Keeps places under ``concurrency`` while their calls take long."""

import os
import threading
import time
from contextlib import suppress

from milepost.errors import StoreError
from milepost.limits import Limits, Permit


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
                self._is_running = True
                threading.Thread(target=self._run, name="milepost-permits", daemon=True).start()

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
                # The store may come back before the lease is over.
                with suppress(StoreError):
                    self._limits.renew(permit)
