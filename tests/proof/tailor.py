"""Conversations made to measure: like those that come near a set of packets at a table, and changed in what they lack to be in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from itertools import islice
from typing import Any

from controller.model.entities import Address
from controller.pipeline.fields import BY_NAME
from controller.pipeline.flow import Flow, SetField
from controller.pipeline.registers import PEER
from controller.proof.packet import ICMP, ICMPV6, Packet
from tests.proof.aim import Conversation
from tests.proof.cubes import ONES, Cube, agrees, meet, of_match
from tests.proof.meetings import Met
from tests.proof.mutants import Mutant
from tests.proof.traced import is_untracked

_EACH = 4  # Of packets that are alike to the table, so many conversations.
_PEER = BY_NAME[PEER.field].index
_TRANSPORTS = ("tcp", "udp", "sctp")
# Of connections, by their ports or, of ICMP, by type and code.
_OPENERS = {"ct_tp_src": ("sport", "dport"), "ct_tp_dst": ("dport", "sport")}
_KINDS = {BY_NAME["ct_tp_src"].index: "icmp_type", BY_NAME["ct_tp_dst"].index: "icmp_code"}
# What a packet can bear instead without becoming another kind of packet: the field -> the packet's own attribute, and, as the
# field may be that of an answer, the answer's.
_CHANGED: dict[int, tuple[str, ...]] = {
    BY_NAME[name].index: attributes
    for name, attributes in (
        *((f"{name}_dst", ("dport", "sport")) for name in _TRANSPORTS),
        *((f"{name}_src", ("sport", "dport")) for name in _TRANSPORTS),
        *((name, ("src", "dst")) for name in ("ip_src", "ipv6_src", "ct_nw_src", "ct_ipv6_src", "arp_spa")),
        *((name, ("dst", "src")) for name in ("ip_dst", "ipv6_dst", "ct_nw_dst", "ct_ipv6_dst", "arp_tpa")),
        *((name, ("icmp_type",)) for name in ("icmp_type", "icmpv6_type")),
        *((name, ("icmp_code",)) for name in ("icmp_code", "icmpv6_code")),
        *((name, ("eth_src", "hardware")) for name in ("eth_src",)),
        *((name, ("hardware",)) for name in ("arp_sha", "nd_sll", "nd_tll")),
        ("nd_target", ("target",)),
        *((f"ct_tp_{end}", _OPENERS[f"ct_tp_{end}"]) for end in ("src", "dst")),
    )
    if name in BY_NAME
}


_SAYS_PEER = frozenset(
    BY_NAME[name].index
    for name in (
        "eth_type",
        *(f"{known}_{end}" for known in ("ct_nw", "ct_ipv6", "ip", "ipv6") for end in ("src", "dst")),
    )
)


class Tailor:
    """Makes conversations for the lies about one host's flows."""

    def __init__(self, flows: Iterable[Flow], is_guarded: Callable[[str], bool]) -> None:
        self._is_guarded = is_guarded
        self._peers: dict[int, list[Cube]] = {}  # By what is said of the far end: whose address it is said of.
        for flow in flows:
            for action in flow.actions:
                if isinstance(action, SetField) and action.field == _PEER:
                    where = {index: held for index, held in of_match(flow.match).items() if index in _SAYS_PEER}
                    self._peers.setdefault(action.value, []).append(where)

    def tailored(self, cubes: Iterable[Cube], mets: Sequence[Met], judged: Sequence[Conversation]) -> Iterator[Packet]:
        """Yield packets that may come to a table as one of these sets.

        Args:
            cubes: The sets.
            mets: What has come to the table.
            judged: The conversations by which it came, by number.
        """
        seen: set[Packet] = set()
        for cube in (each for given in cubes for each in self._said_by_address(given)):
            lacking = {index: held for index, held in cube.items() if index in _CHANGED}
            rest = {index: held for index, held in cube.items() if index not in lacking}
            near = (met for met in mets if agrees(rest, met.state))
            for met in sorted(near, key=lambda met: _distance(lacking, met)):
                for made in self._made(lacking, met, judged):
                    if made not in seen:
                        seen.add(made)
                        yield made

    def _said_by_address(self, cube: Cube) -> Iterator[Cube]:
        """Yield a set, and those with an address instead of what tables have said of it before."""
        yield cube
        held = cube.get(_PEER)
        if held is None:
            return
        rest = {index: known for index, known in cube.items() if index != _PEER}
        for where in self._peers.get(held[0], ()):
            found = meet(rest, where)
            if found is not None:
                yield found

    def _made(self, lacking: Cube, met: Met, judged: Sequence[Conversation]) -> Iterator[Packet]:
        packets = [each for number in met.conversations if isinstance(each := judged[number], Packet)]
        # Who is guarded speaks by its own addresses alone.
        packets.sort(key=lambda packet: self._is_guarded(packet.source))
        for packet in islice(packets, _EACH):
            for way in (0, -1):
                made = _changed(packet, lacking, met.state, way)
                if made is not None:
                    yield made


def _distance(lacking: Cube, met: Met) -> int:
    """Return in how many fields what was met is not what it should be."""
    return sum(bool((met.state.get(index, 0) ^ value) & mask) for index, (value, mask) in lacking.items())


def _changed(packet: Packet, lacking: Cube, state: Mapping[int, int], way: int) -> Packet | None:
    """Return a packet with what it lacks, as that of who speaks first (`way` 0) or of who answers; None if it cannot bear it."""
    changes: dict[str, Any] = {}
    for index, (value, mask) in lacking.items():
        if not (state.get(index, 0) ^ value) & mask:
            continue
        is_icmp = packet.protocol in (ICMP, ICMPV6)
        attribute = _KINDS[index] if is_icmp and index in _KINDS else _CHANGED[index][way]
        held = getattr(packet, attribute)
        if held is None or (not isinstance(held, int) and held.max_prefixlen != ONES[index].bit_length()):
            return None
        number = int(held) & ~mask | value
        changes[attribute] = _like(held, number)
    made = replace(packet, **changes)
    # Neighbour messages are packets of another form.
    is_of_form = made.icmp_type == packet.icmp_type or not (is_untracked(made) or is_untracked(packet))
    return made if changes and is_of_form else None


def _like(held: int | Address, number: int) -> int | Address:
    if isinstance(held, int):
        return number
    return IPv4Address(number) if isinstance(held, IPv4Address) else IPv6Address(number)


def beside(lie: Mutant, cubes: Iterable[Cube]) -> Iterator[Cube]:
    """Yield of sets of packets those that are one bit beside what a flow asked for, where the lie asks for less."""
    told = {index: mask for flow in lie.told for index, (_, mask) in of_match(flow.match).items()}
    for cube in cubes:
        for index, (value, mask) in of_match(lie.original.match).items():
            left = mask & ~told.get(index, 0) & ~cube.get(index, (0, 0))[1]
            found = meet(cube, {index: (value ^ (left & -left), mask)}) if left else None
            if found is not None:
                yield found
