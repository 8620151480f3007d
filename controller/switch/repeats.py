"""Keeps a log readable when a switch does the same wrong thing every second."""

from __future__ import annotations

import threading
import time
from collections.abc import Hashable

_QUIET_S = 60.0
_MOST = 1024


class Repeats:
    """Remembers what was said lately; safe to use from many threads."""

    def __init__(self, quiet_s: float = _QUIET_S) -> None:
        self._quiet_s = quiet_s
        self._said: dict[Hashable, float] = {}
        self._lock = threading.Lock()

    def is_news(self, what: Hashable) -> bool:
        """Return whether this was not said within the last minute, and note that it is said now."""
        now = time.monotonic()
        with self._lock:
            if now - self._said.get(what, -self._quiet_s) < self._quiet_s:
                return False
            if len(self._said) >= _MOST:
                self._said.clear()
            self._said[what] = now
            return True
