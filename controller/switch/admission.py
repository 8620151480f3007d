"""Who may wait at the door: connections that have not told their datapath id yet.

A connection costs a thread from its first byte, and until its handshake is over it may be anybody's. Switches that are through
are bounded by the topology: one session for each datapath id that it knows.
"""

from __future__ import annotations

import resource
import socket
import threading
from collections import Counter

# More than any machine has bridges, or a test bench of fake switches; a flood from one source stops here,
_PER_SOURCE = 1024
# and one from many sources here.
_IN_TOTAL = 4096


class Admission:
    """The connections in their handshake. When there are too many, the one that has waited longest goes, not the newest.

    A switch needs milliseconds for its handshake, so that a flood of silent connections pushes out itself. `per_source` and
    `in_total` are how many may wait.
    """

    def __init__(self) -> None:
        self._waiting: dict[socket.socket, str] = {}  # connection -> source, the oldest first
        self._from: Counter[str] = Counter()
        self._lock = threading.Lock()
        # Those who wait shall never take the descriptors of those who are through.
        affordable = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        self.per_source, self.in_total = min(_PER_SOURCE, affordable), min(_IN_TOTAL, affordable)

    def __len__(self) -> int:
        """Return how many are in their handshake."""
        return len(self._waiting)

    def enter(self, sock: socket.socket, source: str) -> bool:
        """Let a connection begin its handshake; return whether an older one had to go for it."""
        with self._lock:
            self._waiting[sock] = source
            self._from[source] += 1
            if self._from[source] > self.per_source:
                oldest = next(other for other, origin in self._waiting.items() if origin == source)
            elif len(self._waiting) > self.in_total:
                oldest = next(iter(self._waiting))
            else:
                return False
            self._remove(oldest)
        try:
            # Its own thread notices, and closes it.
            oldest.shutdown(socket.SHUT_RDWR)
        except OSError:
            return True  # It has left by itself.
        return True

    def leave(self, sock: socket.socket) -> None:
        """Note that a connection is through its handshake, or over; doing so again changes nothing."""
        with self._lock:
            if sock in self._waiting:
                self._remove(sock)

    def _remove(self, sock: socket.socket) -> None:
        source = self._waiting.pop(sock)
        self._from[source] -= 1
        if not self._from[source]:
            del self._from[source]
