"""Which packets meet which flow, and which would meet a changed one: so that a lie is looked for among those whom it can reach.

What is known of a packet at a look-up are its headers and what the flows before wrote into registers; what is not known may be anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import NamedTuple

from controller.model.entities import Address
from controller.pipeline.fields import BY_NAME, FIELDS
from controller.pipeline.flow import Conjunction, Flow, Match, Move, SetField, ToGroup
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.proof.mutants import Mutant
from tests.proof.passage import Passage, Tracer

Place = tuple[str, str, int]  # host, bridge, table
Known = Mapping[int, int]  # Field index -> value.
_INDEX = {name: field.index for name, field in BY_NAME.items()}
_TRANSPORT = {wire.TCP: "tcp", wire.UDP: "udp", wire.SCTP: "sctp"}
_ICMP = {4: (wire.ICMP, "icmp"), 6: (wire.ICMPV6, "icmpv6")}
_REGISTERS = frozenset(field.index for field in FIELDS if field.name.startswith("reg"))


class LookUp(NamedTuple):
    """A packet of a conversation at a table: the conversation's number, what was found, what is known of the packet there."""

    number: int
    found: Flow | None
    known: Known


class Meetings:
    """All look-ups of all conversations, by table."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._at: dict[Place, list[LookUp]] = {}
        self._met: set[int] = set()
        self._passed: set[int] = set()

    def note(self, passage: Passage, number: int) -> None:
        """Note every look-up of a passage of a conversation."""
        known: dict[int, int] = {}
        host_before = ""
        arrived = {trace.host: trace.packet for trace in passage.traces}
        for host, bridge, table, flow in self._tracer.flows_of(passage):
            if host != host_before:
                known, host_before = _headers(arrived[host]), host
            place = host, bridge, table
            self._at.setdefault(place, []).append(LookUp(number, flow, known))
            if flow is not None:
                self._met.add(id(flow))
                if passage.received:
                    self._passed.add(id(flow))
                known = _after(known, flow)

    def has_met(self, flow: Flow) -> bool:
        """Return whether any packet met the flow."""
        return id(flow) in self._met

    def has_passed(self, flow: Flow) -> bool:
        """Return whether a packet that met the flow came through in the end; of a conjunction's part it is not known."""
        return id(flow) in self._passed or bool(_numbers(flow))

    def reached(self, lie: Mutant, random: Random) -> Iterator[int]:
        """Yield the conversations that may find something else at a look-up because of a lie, those that met the flow first."""
        place = lie.program.host, lie.program.bridge, lie.original.table
        there = self._at.get(place, ())
        numbers = _numbers(lie.original)
        changed = lie.flow
        later: dict[int, None] = {}
        sooner: dict[int, None] = {}
        for number, found, known in there:
            is_met = found is lie.original or (found is not None and bool(numbers) and _conjunction(found) in numbers)
            if is_met:
                sooner[number] = None
            elif (
                changed is not None
                and (found is None or found.priority <= changed.priority)
                and _may_match(changed.match, known)
            ):
                later[number] = None
        for some in (list(sooner), [number for number in later if number not in sooner]):
            random.shuffle(some)
            yield from some


def _numbers(flow: Flow) -> set[int]:
    return {action.id for action in flow.actions if isinstance(action, Conjunction)}


def _conjunction(flow: Flow) -> int | None:
    return next((value for index, value, _ in flow.match if index == _INDEX["conj_id"]), None)


def _may_match(match: Match, known: Known) -> bool:
    """Return whether nothing that is known contradicts the match."""
    for index, value, mask in match:
        held = known.get(index)
        if held is not None and (held if mask is None else held & mask) != value:
            return False
    return True


def _after(known: dict[int, int], flow: Flow) -> dict[int, int]:
    """Return what is known once a flow's actions are done. A group's buckets write what only they know."""
    written = dict(known)
    for action in flow.actions:
        match action:
            case SetField(field, value, None):
                written[field] = value
            case SetField(field, value, mask) if mask is not None:
                written[field] = written.get(field, 0) & ~mask | value
            case Move():
                written.pop(action.target, None)
            case ToGroup():
                return {index: value for index, value in written.items() if index not in _REGISTERS}
            case _:
                pass
    return written


def _headers(packet: Packet) -> dict[int, int]:
    """Return the header fields of a packet as flows match them."""
    found: dict[str, int | Address | None] = {
        "eth_src": packet.eth_src,
        "eth_dst": packet.eth_dst,
        "eth_type": packet.eth_type,
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
            found |= {f"{name}_type": packet.icmp_type, f"{name}_code": packet.icmp_code, "nd_target": packet.target}
            option = "nd_sll" if packet.icmp_type == wire.NEIGHBOUR_SOLICITATION else "nd_tll"
            found[option] = packet.hardware or 0
    return {_INDEX[name]: int(value) for name, value in found.items() if value is not None}
