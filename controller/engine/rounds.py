"""What is said several times, some time apart, and never all at once.

Switches and neighbours that are told of ten thousand addresses in one moment lose most of it, and the hosts between them their packets.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

# An announcement may get lost like any packet; RFC 4861 (section 10) allows three, a second apart, RFC 5227 asks for two.
TIMES = 3
INTERVAL_S = 1.0

BURST = 50  # So many at a time,
PAUSE_S = 0.05  # so long apart.

Item = TypeVar("Item", bound=Hashable)


class Rounds(Generic[Item]):
    """Items with the times at which each is due. What has never been said comes before what is said again.

    Time is what the caller says.
    """

    def __init__(self) -> None:
        self._left: dict[Item, tuple[int, int]] = {}  # Which entry of the queue counts, and how often it is due still.
        self._queue: list[tuple[float, int, Item]] = []
        self._order = 0
        self._rest_until = 0.0

    def begin(self, item: Item, now: float, times: int = TIMES) -> None:
        """Have an item said so many times, from now on; what was due of it before is not."""
        self._schedule(item, now, times)

    def drop(self, item: Item) -> None:
        """Say an item no more."""
        self._left.pop(item, None)

    def due(self, now: float) -> list[Item]:
        """Return what is to be said now; the rest waits for its turn."""
        found: dict[Item, int] = {}
        if now < self._rest_until:
            return []
        while self._queue and self._queue[0][0] <= now and len(found) < BURST:
            _, order, item = heapq.heappop(self._queue)
            mine, times = self._left.get(item, (0, 0))
            if mine == order:
                found[item] = times
        for item, times in found.items():
            del self._left[item]
            if times > 1:
                self._schedule(item, now + INTERVAL_S, times - 1)
        if len(found) == BURST:
            self._rest_until = now + PAUSE_S
        return list(found)

    def deadlines(self) -> list[float]:
        """Return when `due` is to be asked again, if anything is left."""
        return [max(self._queue[0][0], self._rest_until)] if self._left else []

    def _schedule(self, item: Item, when: float, times: int) -> None:
        self._order += 1
        self._left[item] = self._order, times
        heapq.heappush(self._queue, (when, self._order, item))
