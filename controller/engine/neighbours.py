"""Neighbours that the files do not name: whom to ask for, what is heard, and which packets wait for it.

    a packet for an unknown neighbour ─► kept, asked ─┬─ heard ─► learned ─► flows in force ─► packets pass on, in order
                                                      └─ nobody ─► packets are refused
    an upstream gateway ─► asked from the start, and again and again

An upstream gateway that is known stays known until another MAC answers for it: a working way out is not given up because nobody
answered a question. Any other neighbour is asked for when what is known is old, and forgotten if nobody answers.

Time is what the caller says; nothing here sends, sleeps or knows a thread.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, Protocol, TypeVar

from controller.answers.neighbours import Heard
from controller.model.entities import Address

TIMES: Final = 3  # A neighbour is asked so often,
INTERVAL_S: Final = 1.0  # so long apart (RFC 4861, section 10; RFC 1122, section 2.3.2.1, forbids more),
CONFIRM_S: Final = 30.0  # again after so long if it is an upstream gateway,
OLD_S: Final = 300.0  # after so long if it is any other,
REST_S: Final = 5.0  # and after so long if it is a gateway that nobody has answered for.

# A MAC that has just changed does not change again: two that claim one address would make flows without end.
LOCK_S: Final = 1.0
# A packet that asks for a neighbour so soon after its flows came into force was under way. A later one lacks something else.
GRACE_S: Final = 1.0

WAITING: Final = 3  # Packets for one neighbour, the newest; Linux keeps a few as well.
WAITING_IN_ALL: Final = 256
UNKNOWN: Final = 128  # Neighbours of a network that are asked for at a time, shared by those who want them.
KNOWN: Final = 1024  # Neighbours of a network that are remembered.
_HOSTS = 4  # From which a neighbour is asked for, besides those that always ask.

Packet = TypeVar("Packet")
Packet_contra = TypeVar("Packet_contra", contravariant=True)


class Spot(NamedTuple):
    """An address in a network; the network is named as in the files, or is an external one."""

    network: str
    address: Address


class Outside(Protocol[Packet_contra]):
    """What becomes of it."""

    def ask(self, spot: Spot, hosts: Collection[str]) -> bool:
        """Ask for a neighbour, from these hosts among others; return whether anybody could."""

    def learned(self, spot: Spot, mac: int | None) -> None:
        """Have flows follow what is known of a neighbour; None: nobody is there. `Neighbours.settled` is told when they do."""

    def pass_on(self, packet: Packet_contra) -> None:
        """Send a packet on its way again, now that its neighbour is known."""

    def refuse(self, packet: Packet_contra) -> None:
        """Tell a packet's sender that nobody is there."""


@dataclass(slots=True)
class _Entry(Generic[Packet]):
    """What is known of a neighbour, and who waits for it."""

    is_static: bool = False
    asker: Hashable = None  # Who wanted it first.
    mac: int | None = None
    asks: int = 0  # That nobody has answered, of the present round; 0: there is none.
    is_doubtful: bool = False  # Nobody answered the last round.
    due: float = 0.0  # When it is asked for next, or given up.
    queued: float | None = None  # When it is looked at.
    changed: float | None = None  # When the MAC came.
    settled: float | None = None  # When the flows for the MAC were in force; None: they are not.
    hosts: dict[str, None] = field(default_factory=dict)
    waiting: deque[Packet] = field(default_factory=deque)


class Neighbours(Generic[Packet]):
    """The neighbours of all networks. One thread uses it."""

    def __init__(self, outside: Outside[Packet]) -> None:
        self._outside = outside
        self._entries: dict[Spot, _Entry[Packet]] = {}
        self._queue: list[tuple[float, int, Spot]] = []
        self._order = 0
        # By network: who is asked for, and who is known, the oldest first.
        self._unknown: dict[str, dict[Spot, None]] = {}
        self._known: dict[str, dict[Spot, None]] = {}
        self._waiting = 0
        self.counts: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._entries)

    def macs(self) -> Mapping[Spot, int]:
        """Return who is known."""
        return {spot: entry.mac for spot, entry in self._entries.items() if entry.mac is not None}

    def knows(self, spot: Spot) -> bool:
        """Return whether a neighbour is known."""
        entry = self._entries.get(spot)
        return entry is not None and entry.mac is not None

    # What happens.

    def expect(self, gateways: Collection[Spot], networks: Collection[str], now: float) -> None:
        """Take the upstream gateways and the networks of a topology; what is in no network any more is forgotten."""
        for spot in [spot for spot in self._entries if spot.network not in networks]:
            self._forget(spot)
        for spot, entry in self._entries.items():
            was_static, entry.is_static = entry.is_static, spot in gateways
            if entry.is_static and not was_static and not entry.asks:
                self._schedule(spot, entry, now)
        for spot in gateways:
            if spot not in self._entries:
                self._enter(spot, _Entry(is_static=True), now)

    def hurry(self, now: float) -> None:
        """Ask at once for the upstream gateways that nobody has answered for: somebody has come who can."""
        for spot, entry in self._entries.items():
            if entry.is_static and entry.mac is None:
                entry.asks = 0
                self._schedule(spot, entry, now)

    def remember(self, spot: Spot, mac: int, host: str, now: float) -> None:
        """Take what a host's switch remembers of a neighbour; what has been heard since goes before. It is asked for soon."""
        entry = self._entries.get(spot)
        if entry is None:
            entry = _Entry()
            # Many may be remembered at once, and their answers shall not come all at once.
            self._enter(spot, entry, now + len(self._entries) / UNKNOWN)
        if len(entry.hosts) < _HOSTS:
            entry.hosts[host] = None
        if entry.mac is None:
            self._take(spot, entry, mac, now)

    def want(self, spot: Spot, host: str, packet: Packet, now: float, asker: Hashable = None) -> None:
        """Take a packet that waits for a neighbour on a host; who is `asker` shares what room there is with the others."""
        entry = self._entries.get(spot)
        if entry is None:
            if not self._make_room(spot.network, asker):
                return
            entry = _Entry(asker=asker)
            self._enter(spot, entry, now)
        if len(entry.hosts) < _HOSTS:
            entry.hosts[host] = None
        if entry.settled is None:
            self._keep(entry, packet)
            if entry.mac is None and not entry.asks:
                self._ask(spot, entry, now)
        elif now - entry.settled < GRACE_S:
            self._outside.pass_on(packet)
        else:
            self.counts["known and asked for"] += 1

    def hear(self, network: str, told: Heard, now: float) -> None:
        """Take what a host of a network tells of an address; nobody is believed whom nobody asked for."""
        spot = Spot(network, told.address)
        entry = self._entries.get(spot)
        if entry is None:
            return
        if entry.mac not in (None, told.mac):
            if told.is_weak and not entry.is_doubtful:
                return
            if entry.changed is not None and now - entry.changed < LOCK_S:
                return
        entry.asks, entry.is_doubtful = 0, False
        self._schedule(spot, entry, now + (CONFIRM_S if entry.is_static else OLD_S))
        if entry.mac != told.mac:
            self._take(spot, entry, told.mac, now)

    def settle(self, spot: Spot, mac: int | None, now: float) -> None:
        """Take that flows follow what was learned of a neighbour: what waits for it goes on, in order."""
        entry = self._entries.get(spot)
        if entry is None or mac is None or entry.mac != mac or entry.settled is not None:
            return
        entry.settled = now
        for packet in self._leave(entry):
            self._outside.pass_on(packet)

    def advance(self, now: float) -> None:
        """Do what is due."""
        while self._queue and self._queue[0][0] <= now:
            when, _, spot = heapq.heappop(self._queue)
            entry = self._entries.get(spot)
            if entry is None or entry.queued != when:
                continue
            entry.queued = None
            if entry.due > now:
                self._schedule(spot, entry, entry.due)
            elif entry.asks >= TIMES:
                self._give_up(spot, entry, now)
            else:
                self._ask(spot, entry, now)

    def deadline(self) -> float | None:
        """Return when something is due at the earliest, None if nothing is."""
        return self._queue[0][0] if self._queue else None

    # How it happens.

    def _make_room(self, network: str, asker: Hashable) -> bool:
        """Give up a question of whoever asks most, if there are too many; return False if that is the asker."""
        unknown = self._unknown.get(network, {})
        if len(unknown) < UNKNOWN:
            return True
        self.counts["too many asked for"] += 1
        held: dict[Hashable, list[Spot]] = {}
        for spot in unknown:
            if not self._entries[spot].is_static:
                held.setdefault(self._entries[spot].asker, []).append(spot)
        most = max(held.values(), key=len, default=[])
        if len(most) <= len(held.get(asker, ())) + 1:
            return False
        # The oldest has been asked for most often, and nobody has answered.
        self._forget(most[0])
        return True

    def _enter(self, spot: Spot, entry: _Entry[Packet], due: float) -> None:
        self._entries[spot] = entry
        self._unknown.setdefault(spot.network, {})[spot] = None
        self._schedule(spot, entry, due)

    def _schedule(self, spot: Spot, entry: _Entry[Packet], due: float) -> None:
        """Have an entry looked at in time. One that is looked at earlier anyway is not queued again."""
        entry.due = due
        if entry.queued is None or due < entry.queued:
            entry.queued = due
            self._order += 1
            heapq.heappush(self._queue, (due, self._order, spot))

    def _ask(self, spot: Spot, entry: _Entry[Packet], now: float) -> None:
        is_asked = self._outside.ask(spot, tuple(entry.hosts))
        # Nobody doubts a neighbour because nobody could ask for it.
        if is_asked or entry.mac is None:
            entry.asks += 1
        self._schedule(spot, entry, now + INTERVAL_S)

    def _give_up(self, spot: Spot, entry: _Entry[Packet], now: float) -> None:
        if not entry.is_static:
            self._forget(spot)
            return
        entry.asks, entry.is_doubtful = 0, True
        if entry.mac is None:
            self._refuse(self._leave(entry))
        self._schedule(spot, entry, now + (REST_S if entry.mac is None else CONFIRM_S))

    def _take(self, spot: Spot, entry: _Entry[Packet], mac: int, now: float) -> None:
        entry.mac, entry.changed, entry.settled = mac, now, None
        self._unknown.get(spot.network, {}).pop(spot, None)
        known = self._known.setdefault(spot.network, {})
        known[spot] = None
        if len(known) > KNOWN:
            # Should somebody need it still, its next packet waits for it to be learned again.
            self._forget(next((old for old in known if not self._entries[old].is_static), spot))
        if spot in self._entries:
            self._outside.learned(spot, mac)

    def _forget(self, spot: Spot) -> None:
        entry = self._entries.pop(spot)
        for spots in (self._unknown, self._known):
            spots.get(spot.network, {}).pop(spot, None)
        if entry.mac is not None:
            self._outside.learned(spot, None)
        self._refuse(self._leave(entry))

    def _keep(self, entry: _Entry[Packet], packet: Packet) -> None:
        if len(entry.waiting) >= WAITING:
            entry.waiting.popleft()
            self._waiting -= 1
            self.counts["waiting too long"] += 1
        elif self._waiting >= WAITING_IN_ALL:
            self.counts["too many waiting"] += 1
            return
        entry.waiting.append(packet)
        self._waiting += 1

    def _leave(self, entry: _Entry[Packet]) -> list[Packet]:
        """Return what has been waiting; it does so no longer."""
        packets = list(entry.waiting)
        entry.waiting.clear()
        self._waiting -= len(packets)
        return packets

    def _refuse(self, packets: Iterable[Packet]) -> None:
        for packet in packets:
            self.counts["refused"] += 1
            self._outside.refuse(packet)
