"""What switches have sent and nobody has looked at yet: bounded by switch, and taken from each in turn."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Turns(Generic[Item]):
    """A queue with many givers and one taker, in which a switch that floods takes no room and no turn from another."""

    def __init__(self, room: int) -> None:
        self._room = room  # Of each switch.
        self._waiting: dict[int, deque[Item]] = {}  # Who comes first has the next turn; nobody is here with nothing.
        self._changed = threading.Condition()

    def put(self, dpid: int, item: Item) -> bool:
        """Add what a switch has sent; return False, at once, if it has too much waiting already."""
        with self._changed:
            queue = self._waiting.setdefault(dpid, deque())
            if len(queue) >= self._room:
                return False
            queue.append(item)
            self._changed.notify()
        return True

    def take(self, patience_s: float | None = None) -> tuple[int, Item] | None:
        """Wait for something, and return it with its switch; None if there was nothing for so many seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, patience_s):
                return None
            dpid = next(iter(self._waiting))
            queue = self._waiting.pop(dpid)
            item = queue.popleft()
            if queue:
                self._waiting[dpid] = queue
            return dpid, item
