"""Every packet that stands at a border of what a small fabric allows: allowed ones, and each with one thing wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import islice

from controller.model.address import BROADCAST_MAC, link_local, parse_mac
from controller.model.entities import Address, Port, Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet

NOWHERE, EVERYONE, NOBODY = ip_address(0), ip_address("255.255.255.255"), ip_address("::")
ALL_NODES, ALL_NODES_MAC, STRANGE_MAC = (
    ip_address("ff02::1"),
    parse_mac("33:33:00:00:00:01"),
    parse_mac("02:00:00:00:99:99"),
)
EDGES = (
    *((wire.TCP, number) for number in (22, 23, 79, 80, 95, 96, 112, 3306, 3307)),
    *((wire.UDP, number) for number in (52, 53)),
    (wire.SCTP, 80),
    (wire.SCTP, 81),
)


def border_packets(topology: Topology) -> Iterator[Packet]:
    """Yield packets from every port of the story: allowed ones, and each with one thing wrong."""
    for source in topology.ports.values():
        others = [port for port in topology.ports.values() if port.network == source.network and port is not source]
        for target in others:
            yield from _conversation(source, target)
            asking = _neighbours(source, target)
            # What is wrong with a question is so whomever it is for; who claims to be somebody is not.
            yield from asking if target in others[:2] else islice(asking, 2)
            yield _solicitation(source, target)
            yield from _claims(source, target)
            for third in others:
                if third is not target and source.port_security:
                    yield from _in_the_name_of(source, third, target)
        for third in others if not source.port_security else (source, *others):
            yield from _one_side_alone(source, third, others)
        yield from _alone(source, others[0])
        yield from _beside(source, others[0])


def hellos(topology: Topology) -> Iterator[Packet]:
    """Yield packets of ports without a guard: to each other port, to everybody and to nobody."""
    for source in topology.ports.values():
        others = [port for port in topology.ports.values() if port.network == source.network and port is not source]
        if source.port_security:
            continue
        for target in others:
            yield replace(hello(source, target, 4), protocol=wire.UDP, sport=40000, dport=53)
        plain = replace(hello(source, others[-1], 4), protocol=wire.UDP, sport=40000, dport=53)
        yield replace(plain, eth_dst=BROADCAST_MAC)
        yield replace(plain, eth_dst=STRANGE_MAC)


def _one_side_alone(source: Port, third: Port, others: list[Port]) -> Iterator[Packet]:
    """Yield what the rules of one end alone decide of: no guard, or no rules, are at the other.

    Rules ask for addresses, and delivery for MACs.
    """
    for target in others:
        if not source.port_security:
            yield from (replace(plain, eth_src=source.mac) for plain in _edges(source, third, target))
        elif not target.port_security:
            yield from (replace(plain, eth_dst=target.mac) for plain in _edges(source, source, third))


def _edges(source: Port, named: Port, target: Port) -> Iterator[Packet]:
    """Yield packets at the edges of what rules say, from a port to another, in the name of one."""
    for version, echo in ((4, (wire.ICMP, 8)), (6, (wire.ICMPV6, 128))):
        plain = replace(hello(named, target, version), source=source.name)
        for protocol, number in EDGES:
            yield replace(plain, protocol=protocol, sport=41000 + number, dport=number)
        yield replace(plain, protocol=echo[0], icmp_type=echo[1])
        if version == 4:
            yield replace(plain, protocol=wire.ICMP, icmp_type=13)
        # A port of the number that a type of ICMP has.
        yield replace(plain, protocol=wire.UDP, sport=echo[1], dport=7)
        yield replace(plain, protocol=47)


def _beside(source: Port, other: Port) -> Iterator[Packet]:
    """Yield what is one bit beside what the port may send."""
    for version in (4, 6):
        plain = replace(hello(source, other, version), protocol=wire.UDP, sport=40000, dport=53)
        yield replace(plain, src=_beside_address(plain.src))
        yield replace(plain, dst=_beside_address(plain.dst))
        yield replace(plain, eth_src=source.mac ^ 1)
        for client, server in ((68, 67), (546, 547)):
            for sport, dport in (
                (client, server ^ 1),
                (client ^ 1, server),
                (server, client ^ 1),
                (server ^ 1, client),
            ):
                yield replace(plain, sport=sport, dport=dport)
    ask = Packet(
        source.name, source.mac, BROADCAST_MAC, wire.ARP, source.ips[0], other.ips[0], arp_op=1, hardware=source.mac
    )
    yield replace(ask, src=_beside_address(source.ips[0]))
    yield replace(ask, dst=_beside_address(other.ips[0]))
    yield replace(ask, dst=_beside_address(source.ips[0]))
    for sender in (source.ips[0], NOWHERE):
        yield replace(ask, src=sender, hardware=source.mac ^ 1)
        yield replace(ask, src=sender, eth_src=source.mac ^ 1)
    yield replace(ask, src=ip_address("0.0.0.1"))
    yield replace(ask, arp_op=3)
    discover = replace(
        hello(source, other, 4), eth_dst=BROADCAST_MAC, src=NOWHERE, dst=EVERYONE, protocol=wire.UDP, sport=68, dport=67
    )
    yield replace(discover, eth_src=source.mac ^ 1)
    yield replace(discover, sport=69)
    yield replace(discover, dport=66)
    yield replace(discover, dst=_beside_address(EVERYONE))
    yield replace(discover, src=ip_address("0.0.0.1"))
    yield from _beside_neighbours(source, other)


def _beside_neighbours(source: Port, other: Port) -> Iterator[Packet]:
    for mine, theirs in zip(_addresses6(source), _addresses6(other), strict=True):
        solicit = replace(_solicitation(source, other), src=mine, target=theirs)
        advertise = replace(solicit, icmp_type=wire.NEIGHBOUR_ADVERTISEMENT, target=mine)
        for packet in (solicit, advertise):
            yield replace(packet, hardware=source.mac ^ 1)
            yield replace(packet, hardware=1)
            yield replace(packet, target=_beside_address(packet.target))
            yield replace(packet, src=_beside_address(packet.src))
            yield replace(packet, target=NOBODY)
            yield replace(packet, target=NOBODY, hardware=None)
            yield replace(packet, target=ip_address("::1"))
            yield replace(packet, src=ip_address("::1"))
            yield replace(packet, eth_src=source.mac ^ 1)
        yield replace(solicit, src=ip_address("::1"), target=mine)
        yield replace(solicit, src=NOBODY, target=_beside_address(mine), hardware=None)
        yield replace(solicit, src=NOBODY, target=mine, hardware=None, eth_src=source.mac ^ 1)


def _beside_address(address: Address | None) -> Address:
    """Return an address that differs in the lowest bit."""
    assert address is not None
    return type(address)(int(address) ^ 1)


def _claims(source: Port, target: Port) -> Iterator[Packet]:
    """Yield what speaks of another port, from the sender's own MAC."""
    ask = Packet(
        source.name, source.mac, BROADCAST_MAC, wire.ARP, target.ips[0], source.ips[0], arp_op=1, hardware=target.mac
    )
    yield ask
    yield replace(ask, hardware=source.mac)
    yield replace(ask, src=NOWHERE)
    yield replace(ask, src=source.ips[0], dst=target.ips[0])
    solicit = _solicitation(source, target)
    for theirs in _addresses6(target):
        for hardware in (target.mac, None):
            yield replace(solicit, icmp_type=wire.NEIGHBOUR_ADVERTISEMENT, target=theirs, hardware=hardware)
        yield replace(solicit, src=NOBODY, target=theirs, hardware=None)
        yield replace(solicit, target=theirs, hardware=target.mac)
        yield replace(solicit, src=theirs, target=source.ips[1])
    for mine in _addresses6(source):
        yield replace(solicit, target=mine, hardware=target.mac)


def _solicitation(source: Port, target: Port) -> Packet:
    """A question for a port's IPv6 address."""
    return replace(
        hello(source, target, 6),
        eth_dst=ALL_NODES_MAC,
        dst=ALL_NODES,
        protocol=wire.ICMPV6,
        icmp_type=wire.NEIGHBOUR_SOLICITATION,
        target=target.ips[1],
        hardware=source.mac,
    )


def hello(source: Port, target: Port, version: int) -> Packet:
    """IP from a port's own address to another's."""
    kind = wire.IPV4 if version == 4 else wire.IPV6
    place = 0 if version == 4 else 1
    return Packet(source.name, source.mac, target.mac, kind, source.ips[place], target.ips[place])


def _conversation(source: Port, target: Port) -> Iterator[Packet]:
    for version, echo in ((4, (wire.ICMP, 8)), (6, (wire.ICMPV6, 128))):
        plain = hello(source, target, version)
        for protocol, number in EDGES:
            yield replace(plain, protocol=protocol, sport=40000 + number, dport=number)
        ping = replace(plain, protocol=echo[0], icmp_type=echo[1])
        yield ping
        if version == 6:
            mine, theirs = link_local(source.mac), link_local(target.mac)
            near = replace(ping, src=mine, dst=theirs)
            yield from (near, replace(near, protocol=wire.UDP, icmp_type=0, sport=40000, dport=53))
            yield from (replace(ping, src=mine), replace(ping, dst=theirs))
        yield replace(ping, icmp_type=1 if version == 6 else 3)
        yield replace(ping, icmp_type=144 if version == 6 else 13)
        datagram = replace(plain, protocol=wire.UDP, sport=40000, dport=53)
        client, server = (68, 67) if version == 4 else (546, 547)
        yield replace(datagram, sport=client, dport=server)
        yield replace(datagram, sport=client, dport=server + 2)
        yield replace(datagram, sport=client + 1, dport=server)
        yield replace(datagram, src=target.ips[0 if version == 4 else 1])
        yield replace(datagram, eth_src=target.mac)
        yield replace(datagram, eth_dst=target.mac ^ 1)
        yield replace(datagram, eth_src=BROADCAST_MAC)
        yield replace(datagram, eth_src=target.mac, src=target.ips[0 if version == 4 else 1])
        yield replace(datagram, eth_dst=BROADCAST_MAC if version == 4 else ALL_NODES_MAC)


def _in_the_name_of(source: Port, third: Port, target: Port) -> Iterator[Packet]:
    """Yield what no guard lets pass; without one, rules ask for addresses and not for who uses them."""
    for version in (4, 6):
        plain = replace(hello(third, target, version), source=source.name, sport=50000, protocol=wire.UDP, dport=53)
        yield plain
        yield replace(plain, protocol=wire.SCTP, dport=80)
        if not source.port_security:
            for number in (22, 23, 80):
                yield replace(plain, eth_src=source.mac, protocol=wire.TCP, dport=number)


def _neighbours(source: Port, target: Port) -> Iterator[Packet]:
    ask = Packet(
        source.name, source.mac, BROADCAST_MAC, wire.ARP, source.ips[0], target.ips[0], arp_op=1, hardware=source.mac
    )
    yield ask
    yield replace(ask, arp_op=2, eth_dst=target.mac)
    yield replace(ask, hardware=target.mac)
    yield replace(ask, eth_src=target.mac)
    yield replace(ask, src=target.ips[0])
    yield replace(ask, src=NOWHERE)
    yield replace(ask, src=NOWHERE, hardware=target.mac)
    yield replace(ask, src=NOWHERE, eth_src=target.mac)
    yield replace(ask, src=NOWHERE, eth_src=target.mac, hardware=target.mac)
    yield replace(ask, src=NOWHERE, arp_op=2)
    yield replace(ask, src=target.ips[0], eth_src=target.mac, hardware=target.mac)
    for mine, theirs in zip(_addresses6(source), _addresses6(target), strict=True):
        solicit = replace(
            hello(source, target, 6),
            eth_dst=ALL_NODES_MAC,
            src=mine,
            dst=ALL_NODES,
            protocol=wire.ICMPV6,
            icmp_type=wire.NEIGHBOUR_SOLICITATION,
            target=theirs,
        )
        advertise = replace(solicit, icmp_type=wire.NEIGHBOUR_ADVERTISEMENT, target=mine)
        detect = replace(solicit, src=NOBODY, target=mine)
        for hardware in (source.mac, target.mac, None):
            yield replace(solicit, hardware=hardware)
            yield replace(advertise, hardware=hardware)
        yield replace(advertise, target=theirs, hardware=source.mac)
        yield replace(advertise, target=theirs, hardware=target.mac)
        yield replace(advertise, target=theirs)
        yield replace(solicit, target=ip_address("fd00::99"), hardware=source.mac)
        yield replace(solicit, eth_src=target.mac, hardware=source.mac)
        yield replace(solicit, eth_src=target.mac, src=theirs, hardware=target.mac)
        yield replace(advertise, eth_src=target.mac, src=theirs, target=theirs, hardware=target.mac)
        yield detect
        yield replace(detect, target=theirs)
        yield replace(detect, eth_src=target.mac)
        yield replace(detect, eth_src=target.mac, target=theirs)


def _addresses6(port: Port) -> list[Address]:
    return [port.ips[1], link_local(port.mac)]


def _alone(source: Port, other: Port) -> Iterator[Packet]:
    yield Packet(
        source.name, source.mac, BROADCAST_MAC, wire.ARP, source.ips[0], source.ips[0], arp_op=1, hardware=source.mac
    )
    discover = replace(
        hello(source, other, 4), eth_dst=BROADCAST_MAC, src=NOWHERE, dst=EVERYONE, protocol=wire.UDP, sport=68, dport=67
    )
    yield discover
    yield replace(discover, eth_src=other.mac)
    yield replace(discover, dst=other.ips[0])
    yield replace(discover, sport=69)
    yield replace(discover, dport=69)
    yield replace(discover, src=source.ips[0])
    yield replace(discover, src=other.ips[0])
    for version, client, server in ((4, 68, 67), (6, 546, 547)):
        plain = replace(hello(source, other, version), protocol=wire.UDP, sport=client, dport=server)
        yield plain
        yield replace(plain, sport=server, dport=client)
        yield replace(plain, sport=1000, dport=client)
        yield replace(plain, sport=server, dport=1000)
        yield replace(plain, eth_dst=STRANGE_MAC)
        yield replace(plain, tagged=True)
        yield replace(plain, eth_src=BROADCAST_MAC)
    message = replace(hello(source, other, 6), eth_dst=ALL_NODES_MAC, dst=ALL_NODES, protocol=wire.ICMPV6)
    for kind in (*sorted(wire.UNTRACKED - {wire.NEIGHBOUR_SOLICITATION, wire.NEIGHBOUR_ADVERTISEMENT}), 144):
        yield replace(message, icmp_type=kind)
        yield replace(message, icmp_type=kind, src=NOBODY)
        yield replace(message, icmp_type=kind, src=NOBODY, eth_src=other.mac)
    yield replace(hello(source, other, 4), eth_type=0x88CC, src=None, dst=None)
