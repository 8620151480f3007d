"""When counters last grew. A switch tells how much it has counted, and since OpenFlow 1.4 not when; readings that differ do.

    reading ── 5 packets ──────── reading ── 7 packets ──────── now
       └── the last drop is between these two ──┘

Whoever reads a counter notes it here: `weft explain` and `weft top` when they are asked, and each audit, which reads all flows anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Generic, TypeVar

from controller.switch.status import Count, Growth
from controller.wire.counts import Counted

# Open vSwitch adds to a flow's counter what its caches have counted when it looks them through, every half second or so.
_LATE_S = 1.0


Name = TypeVar("Name", bytes, int)


class _Seen:
    """What a counter said when it was last read, and when it last grew."""

    __slots__ = ("at", "grew", "packets")

    def __init__(self, packets: int, at: float, grew: Growth) -> None:
        self.packets = packets
        self.at = at
        self.grew = grew


class Watch(Generic[Name]):
    """Counters of one switch that somebody wants to know the last growth of. Any thread may use it.

    Only counters that have counted something are kept. One that has not is known to have been 0 when all of the kind were read last.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Name, _Seen] = {}
        self._all_at: float | None = None  # When all counters of the switch were read last.

    def note(self, counters: Mapping[Name, Counted], now: float, *, is_all: bool = False) -> dict[Name, Count]:
        """Note counters as read at the monotonic time `now`; `is_all` says that the switch has no others of the kind.

        Return each with its growth.
        """
        with self._lock:
            found = {name: self._count(name, counted, now) for name, counted in counters.items()}
            if is_all:
                self._all_at = now
                for gone in self._seen.keys() - counters.keys():
                    del self._seen[gone]
        return found

    def _count(self, name: Name, counted: Counted, now: float) -> Count:
        seen = self._seen.get(name)
        if not counted.packets:
            self._seen.pop(name, None)
            return Count(0, 0, None)
        if seen is None or seen.packets != counted.packets:
            grew = Growth(self._known_before(seen, counted, now), now)
            seen = self._seen[name] = _Seen(counted.packets, now, grew)
        seen.at = now
        return Count(counted.packets, counted.bytes, seen.grew)

    def _known_before(self, seen: _Seen | None, counted: Counted, now: float) -> float:
        """Return until when the counter is known not to have grown."""
        # A second is added because the age is told in whole ones.
        added = now - counted.seconds - 1.0
        if seen is not None:
            # A counter that is smaller than it was is another one: the flow was added anew.
            return max(added, seen.at - _LATE_S)
        return added if self._all_at is None else max(added, self._all_at - _LATE_S)


class Watches:
    """The watches of one switch: flows that drop, by cookie, and meters, by id."""

    def __init__(self) -> None:
        self.flows: Watch[bytes] = Watch()
        self.meters: Watch[int] = Watch()
