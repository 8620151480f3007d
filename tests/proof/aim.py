"""Which conversations a lie may tell apart, of those not judged yet: by their headers, and by what registers hold between ports.

They are judged first. It is a guess, which may say too many or too few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from controller.model.entities import Address
from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.registers import JUDGED, NETWORK, SOURCE, SOURCE_CLASS, SPACE, TARGET, TARGET_CLASS
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.proof.cubes import Cube, Key, agrees, key
from tests.proof.meetings import Meetings
from tests.proof.reach import named_type
from tests.proof.states import State
from tests.proof.strangers import Stranger

Conversation = Packet | Stranger
Pair = tuple[str, int]  # Who sends, and to which MAC.
_INDEX = {name: field.index for name, field in BY_NAME.items()}
_TRANSPORT = {wire.TCP: "tcp", wire.UDP: "udp", wire.SCTP: "sctp"}
_ICMP = {4: (wire.ICMP, "icmp"), 6: (wire.ICMPV6, "icmpv6")}
_ECHOED = {(wire.ICMP, 8): 0, (wire.ICMPV6, 128): 129, (wire.ICMP, 13): 14}  # Types that are answered, and by what.
# Those that follow from who sends to whom, and from nothing else of a packet.
_REGISTERS = frozenset(
    _INDEX[each.field] for each in (NETWORK, SOURCE, TARGET, SPACE, SOURCE_CLASS, TARGET_CLASS, JUDGED)
)
_TOLD = frozenset(
    field.index
    for field in FIELDS
    if field.name.startswith(
        ("eth_", "ip_src", "ip_dst", "ip_proto", "ipv6_", "tcp_", "udp_", "sctp_", "icmp", "arp_", "nd_")
    )
    and field.name not in ("arp_tha", "nd_reserved", "nd_options_type")
)
_FRAGMENT = _INDEX["ip_frag"]
_PORTS = frozenset(_INDEX[f"{name}_{end}"] for name in _TRANSPORT.values() for end in ("src", "dst"))
_KEPT = {
    _INDEX[kept]: _INDEX[name]
    for kept, name in (
        *(("ct_nw_src", "ip_src"), ("ct_nw_dst", "ip_dst"), ("ct_ipv6_src", "ipv6_src"), ("ct_ipv6_dst", "ipv6_dst")),
        ("ct_nw_proto", "ip_proto"),
    )
}  # Of the packet that opened the connection.


class Aim:
    """The conversations that wait to be judged, by who sends what to whom."""

    def __init__(self, waiting: Iterable[Conversation]) -> None:
        self._waiting = dict(
            enumerate(waiting)
        )  # By their order, in which they are judged unless a lie asks for others.
        self._by_pair: dict[Pair, list[int]] = {}
        self._told: dict[int, tuple[State, ...]] = {}
        self._pairs: dict[tuple[str, int, int], set[Pair]] = {}
        self._values: dict[tuple[str, int], set[int]] = {}
        self._known = 0  # How many conversations had been judged when it was last learned what registers hold.
        for number, each in self._waiting.items():
            self._by_pair.setdefault(pair(each), []).append(number)

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, numbers: Iterable[int]) -> list[Conversation]:
        """Take conversations out that are judged now."""
        return [self._waiting.pop(number) for number in numbers]

    def first(self, count: int | None) -> list[int]:
        """Return so many of those that wait, or all."""
        return list(self._waiting)[:count]

    def learn(self, meetings: Meetings, judged: list[Conversation]) -> None:
        """Note for whose packets registers hold what, once half as many more have been judged."""
        if len(judged) < self._known * 1.5:
            return
        self._known = len(judged)
        for (host, bridge, table), lookup in meetings.tables.items():
            if not _REGISTERS.intersection(lookup.fields):
                continue
            for met in meetings.at((host, bridge, table)):
                pairs = {pair(judged[number]) for number in met.conversations}
                for index, value in met.state.items():
                    if index in _REGISTERS:
                        self._pairs.setdefault((host, index, value), set()).update(pairs)
                        self._values.setdefault((host, index), set()).add(value)

    def at(self, host: str, cubes: Iterable[Cube], count: int) -> list[int]:
        """Return so many of those that wait and may come to a table of a host as one of these sets, which take turns."""
        # Many sets differ in what is not looked at here.
        unlike = dict.fromkeys(self._looked_for(host, cube) for cube in cubes)
        ways = [self._fitting(*each) for each in unlike]
        found: dict[int, None] = {}
        while ways and len(found) < count:
            left = []
            for way in ways:
                number = next((each for each in way if each not in found), None)
                if number is not None:
                    found[number] = None
                    left.append(way)
            ways = left
        return list(found)[:count]

    def _looked_for(self, host: str, cube: Cube) -> tuple[Key, Key, frozenset[Pair], frozenset[Pair]]:
        """Return what headers are to be, what those of the packet that opened the connection, and between whom."""
        told = {index: held for index, held in cube.items() if index in _TOLD}
        value, mask = cube.get(_FRAGMENT, (0, 0))
        if value & mask & 2:  # Later fragments have no ports, but follow packets that have.
            told = {index: held for index, held in told.items() if index not in _PORTS}
        # Of a packet that no tracker has told of, these are 0.
        opening = {_KEPT[index]: held for index, held in cube.items() if index in _KEPT and held[0]}
        return key(told), key(opening), *self._between(host, cube)

    def _fitting(self, told: Key, opening: Key, good: frozenset[Pair], bad: frozenset[Pair]) -> Iterator[int]:
        """Yield those that fit, and first those between whom registers are known to."""
        headers, opener = dict(told), dict(opening)
        known = [numbers for each, numbers in self._by_pair.items() if each in good]
        yield from self._in_turn(known, headers, opener)
        unknown = [numbers for each, numbers in self._by_pair.items() if each not in good and each not in bad]
        yield from self._in_turn(unknown, headers, opener)

    def _in_turn(self, buckets: list[list[int]], headers: Cube, opener: Cube) -> Iterator[int]:
        while buckets:  # Pairs of ports take turns as well.
            left = []
            for numbers in buckets:
                while numbers and numbers[-1] not in self._waiting:
                    numbers.pop()
                number = next((each for each in numbers if self._may_be(each, headers, opener)), None)
                if number is None:
                    continue
                yield number
                left.append(numbers[numbers.index(number) + 1 :])
            buckets = left

    def _may_be(self, number: int, told: Cube, opening: Cube) -> bool:
        if number not in self._waiting:
            return False
        states = self._told.get(number)
        if states is None:
            states = self._told[number] = tuple(_states(self._waiting[number]))
        return agrees(opening, states[0]) and any(agrees(told, state) for state in states)

    def _between(self, host: str, cube: Cube) -> tuple[frozenset[Pair], frozenset[Pair]]:
        """Return for whose packets registers have held this, and for whose something else."""
        good, bad = set[Pair](), set[Pair]()
        for index, (value, mask) in cube.items():
            if index not in _REGISTERS or not value:  # Before anything is written there it is 0 for all.
                continue
            fitting, others = set[Pair](), set[Pair]()
            for held in self._values.get((host, index), ()):
                (others if (held ^ value) & mask else fitting).update(self._pairs[host, index, held] if held else ())
            good |= fitting
            bad |= others - fitting
        return frozenset(good - bad), frozenset(bad)


def pair(conversation: Conversation) -> Pair:
    """Return who sends, and to which MAC."""
    packet = conversation.packet if isinstance(conversation, Stranger) else conversation
    return packet.source, packet.eth_dst


def _states(conversation: Conversation) -> Iterator[State]:
    """Yield the headers of a packet, of an answer to it, and of an error about it."""
    packet = conversation.packet if isinstance(conversation, Stranger) else conversation
    yield _headers(packet)
    if packet.version is None:
        return
    kind = _ECHOED.get((packet.protocol or 0, packet.icmp_type), packet.icmp_type)
    answer = replace(packet, eth_src=packet.eth_dst, eth_dst=packet.eth_src, src=packet.dst, dst=packet.src)
    answer = replace(answer, sport=packet.dport, dport=packet.sport, icmp_type=kind)
    yield _headers(answer)
    if packet.protocol in wire.WITH_PORTS:
        protocol, kind, code = (wire.ICMP, 3, 3) if packet.version == 4 else (wire.ICMPV6, 1, 4)
        yield _headers(replace(answer, protocol=protocol, icmp_type=kind, icmp_code=code))


def _headers(packet: Packet) -> State:
    """Return the headers of a packet that flows match; what it does not have is 0."""
    found: dict[str, int | Address | None] = {
        "eth_src": packet.eth_src,
        "eth_dst": packet.eth_dst,
        "eth_type": named_type(packet.eth_type),
    }
    if packet.eth_type == wire.ARP:
        found |= {"arp_op": packet.arp_op, "arp_spa": packet.src, "arp_tpa": packet.dst, "arp_sha": packet.hardware}
    version = packet.version
    if version is not None:
        prefix = "ip" if version == 4 else "ipv6"
        found |= {"ip_proto": packet.protocol, f"{prefix}_src": packet.src, f"{prefix}_dst": packet.dst}
        name = _TRANSPORT.get(packet.protocol or 0)
        if name is not None:
            found |= {f"{name}_src": packet.sport, f"{name}_dst": packet.dport}
        protocol, name = _ICMP[version]
        if packet.protocol == protocol:
            found |= {f"{name}_type": packet.icmp_type, f"{name}_code": packet.icmp_code}
        if packet.target is not None:
            option = "nd_sll" if packet.icmp_type == wire.NEIGHBOUR_SOLICITATION else "nd_tll"
            found |= {"nd_target": packet.target, option: packet.hardware}
    held = {_INDEX[name]: int(value) for name, value in found.items() if value is not None}
    return dict.fromkeys(_TOLD, 0) | held
