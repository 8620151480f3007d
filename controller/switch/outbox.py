"""What waits to be sent to one switch, bounded in bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

_BATCH = 256 * 1024
_COMFORT = 1024 * 1024  # Bulk senders wait above this,
_LIMIT = 64 * 1024 * 1024  # and a switch that leaves this much unread is given up.


class Overflow(Exception):
    """A switch leaves too much unread."""


class Outbox:
    """A queue of bytes with many senders and one taker."""

    def __init__(self) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._is_open = True
        self._is_taken = False  # The taker is sending what it took,
        self._is_passing = False  # or somebody sends by himself.
        self._changed = threading.Condition()

    @property
    def is_closed(self) -> bool:
        """Whether nothing more is taken in."""
        return not self._is_open

    def put(self, data: bytes) -> bool:
        """Queue data at once; return False if the outbox is closed, raise Overflow if too much waits already."""
        with self._changed:
            if self._is_open and self._size + len(data) > _LIMIT:
                raise Overflow(f"it left {self._size >> 20} MiB unread")
            return self._append(data)

    def put_when_room(self, data: bytes) -> bool:
        """Queue data once little else waits; return False if the outbox is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._size < _COMFORT or not self._is_open)
            return self._append(data)

    def put_through(self, data: bytes, send: Callable[[bytes], int]) -> bool:
        """Send data in the caller's thread if nothing waits, which spares the taker's; `send` returns how much it took, and does not wait.

        The rest is queued. Return False, and send nothing, if something waits or is being sent.
        """
        with self._changed:
            if self._chunks or self._is_taken or self._is_passing or not self._is_open:
                return False
            self._is_passing = True
        sent = 0
        try:
            sent = send(data)
        finally:
            with self._changed:
                self._is_passing = False
                if sent < len(data) and self._is_open:
                    self._chunks.appendleft(data[sent:])
                    self._size += len(data) - sent
                if self._chunks:
                    self._changed.notify_all()
        return True

    def _append(self, data: bytes) -> bool:
        if self._is_open and data:
            self._chunks.append(data)
            self._size += len(data)
            self._changed.notify_all()
        return self._is_open

    def take(self) -> bytes:
        """Return what waits, joined up to a good size to send; wait for it; return nothing when all is over."""
        with self._changed:
            self._is_taken = False
            self._changed.wait_for(lambda: (self._chunks and not self._is_passing) or not self._is_open)
            batch: list[bytes] = []
            size = 0
            while self._chunks and size < _BATCH:
                batch.append(self._chunks.popleft())
                size += len(batch[-1])
            self._size -= size
            self._is_taken = bool(batch)
            self._changed.notify_all()
        return b"".join(batch)

    def finish(self) -> None:
        """Take nothing more in; what waits is still sent."""
        with self._changed:
            self._is_open = False
            self._changed.notify_all()

    def abort(self) -> None:
        """Take nothing more in and drop what waits."""
        with self._changed:
            self._is_open = False
            self._chunks.clear()
            self._size = 0
            self._changed.notify_all()
