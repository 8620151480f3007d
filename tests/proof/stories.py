"""One small fabric, and for it every packet that stands at a border of what is allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address

from controller.model.address import BROADCAST_MAC, link_local, parse_mac
from controller.model.entities import Address, Port, Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.builders import allow, fabric, group, host, network, physical_network, port

# Who is where and in which groups, so that equal MACs and addresses of the two tenants never stand for the same.
PLACES = {"red": ("hv1", "hv1", "hv1", "hv3", "hv1", "hv2"), "blue": ("hv1", "hv1", "hv1", "hv1", "hv2", "hv1")}
GROUPS = {
    "red": (["client"], ["web"], ["web"], ["web", "mute"], ["mute"], ["mute"]),
    "blue": (["web"], ["client"], ["mute"], ["web"], [], []),
}
UNGUARDED = 6


def story() -> Topology:
    """Two tenants with equal addresses and MACs, one on VXLAN over three hosts, one on a VLAN over two."""
    networks = (
        network("red/n", "10.0.0.0/24", "fd00::/64", segment=5001),
        network("blue/n", "10.0.0.0/24", "fd00::/64", kind="vlan", segment=110, physical="physnet1"),
    )
    groups = [
        entity
        for tenant in ("red", "blue")
        for entity in (
            group(
                f"{tenant}/web",
                ingress=[
                    allow("tcp", (80, 95), far=f"{tenant}/client"),
                    allow("tcp", 22, far=f"{tenant}/web"),
                    allow("udp", 53, far="10.0.0.0/30", ethertype=4),
                    allow("udp", 53, 546, 547, ethertype=6),
                    allow("udp", (67, 69), ethertype=4),
                    allow("sctp", 80),
                    allow("icmp", icmp_type=8, ethertype=4),
                    allow("icmpv6", icmp_type=128, ethertype=6, far="fd00::/126"),
                ],
                egress=[
                    allow("tcp", 3306, far=f"{tenant}/client"),
                    allow("tcp", 22, far=[f"{tenant}/web", f"{tenant}/client"]),
                    allow("tcp", 23, far=f"{tenant}/mute"),
                    allow("udp", ethertype=6),
                    allow("sctp", 80),
                ],
            ),
            group(
                f"{tenant}/client",
                ingress=[
                    allow("tcp", (3306, 3307)),
                    allow("tcp", 22, far=f"{tenant}/web"),
                    allow("tcp", 23, far=f"{tenant}/mute"),
                ],
            ),
            group(f"{tenant}/mute", ingress=[allow("icmp", icmp_type=8, ethertype=4), allow("tcp", 23)], egress=[]),
        )
    ]
    ports = [
        port(
            f"{tenant}/p{number}",
            f"{tenant}/n",
            f"10.0.0.{number}",
            f"fd00::{number}",
            host=place,
            groups=[f"{tenant}/{name}" for name in names],
            # The same MACs for both, but of other addresses.
            mac=f"02:00:00:00:00:0{number if tenant == 'red' else 7 - number}",
            secure=number != UNGUARDED,
        )
        for tenant in ("red", "blue")
        for number, (place, names) in enumerate(zip(PLACES[tenant], GROUPS[tenant], strict=True), 1)
    ]
    wires = physical_network("physnet1", "hv1", "hv2")
    return fabric(host("hv1"), host("hv2"), host("hv3"), wires, *networks, *groups, *ports)


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
)


def border_packets(topology: Topology) -> Iterator[Packet]:
    """Yield packets from every port of the story: allowed ones, and each with one thing wrong."""
    for source in topology.ports.values():
        others = [port for port in topology.ports.values() if port.network == source.network and port is not source]
        for target in others:
            yield from _conversation(source, target)
            yield from _neighbours(source, target)
            for third in others:
                if third is not target:
                    yield from _in_the_name_of(source, third, target)
        yield from _alone(source, others[0])


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
        yield replace(ping, icmp_type=1 if version == 6 else 3)
        yield replace(ping, icmp_type=144 if version == 6 else 13)
        datagram = replace(plain, protocol=wire.UDP, sport=40000, dport=53)
        client, server = (68, 67) if version == 4 else (546, 547)
        yield replace(datagram, sport=client, dport=server)
        yield replace(datagram, sport=client, dport=server + 2)
        yield replace(datagram, sport=client + 1, dport=server)
        yield replace(datagram, src=target.ips[0 if version == 4 else 1])
        yield replace(datagram, eth_src=target.mac)
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
