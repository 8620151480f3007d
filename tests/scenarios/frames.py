"""Frames of layer-2 stories, in few words: what a port would honestly send, and what it would forge."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from controller.model.address import BROADCAST_MAC
from controller.model.entities import Address, Port, Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.ovs.frames import checksum, frame

ALL_NODES = 0x333300000001
MDNS = 0x01005E0000FB
ARP_REQUEST, ARP_REPLY = 1, 2
ARP_TYPE, VLAN_TYPE = b"\x08\x06", b"\x81\x00"


def own(port: Port, version: int = 4) -> Address:
    """Return a port's first address of an IP version."""
    return next(ip for ip in port.ips if ip.version == version)


def udp(
    topology: Topology,
    source: str,
    target: str,
    *,
    version: int = 4,
    eth_src: int | None = None,
    eth_dst: int | None = None,
    src: str | None = None,
    number: int = 9,
) -> bytes:
    """A datagram between two ports; what is given is forged."""
    a, b = topology.ports[source], topology.ports[target]
    return frame(
        Packet(
            source,
            a.mac if eth_src is None else eth_src,
            b.mac if eth_dst is None else eth_dst,
            wire.IPV4 if version == 4 else wire.IPV6,
            ip_address(src) if src else own(a, version),
            own(b, version),
            wire.UDP,
            1000,
            number,
        )
    )


def to_all(topology: Topology, source: str, *, mac: int = BROADCAST_MAC) -> bytes:
    """A datagram to the network's broadcast address, or to a multicast MAC and its group."""
    a = topology.ports[source]
    group = {BROADCAST_MAC: "255.255.255.255", MDNS: "224.0.0.251", ALL_NODES: "ff02::1"}[mac]
    version = ip_address(group).version
    ethertype = wire.IPV4 if version == 4 else wire.IPV6
    return frame(Packet(source, a.mac, mac, ethertype, own(a, version), ip_address(group), wire.UDP, 1000, 9))


def arp(
    operation: int,
    sender: tuple[int, str],
    target: tuple[int, str],
    *,
    eth_src: int | None = None,
    eth_dst: int = BROADCAST_MAC,
) -> bytes:
    """An ARP message (RFC 826); `sender` and `target` are (MAC, address)."""
    head = eth_dst.to_bytes(6, "big") + (sender[0] if eth_src is None else eth_src).to_bytes(6, "big") + ARP_TYPE
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation)
    for mac, address in (sender, target):
        body += mac.to_bytes(6, "big") + IPv4Address(address).packed
    return (head + body).ljust(60, b"\0")


def who_has(topology: Topology, asker: str, address: str, *, sender: str | None = None) -> bytes:
    """An ARP request of a port for an address; `sender` is the address it speaks for, its own unless given."""
    port = topology.ports[asker]
    return arp(ARP_REQUEST, (port.mac, sender or str(own(port))), (0, address))


def solicitation(topology: Topology, asker: str, address: str, *, probe: bool = False) -> bytes:
    """A neighbour solicitation of a port for an address, or its probe for a duplicate (RFC 4862, section 5.4.2)."""
    port, target = topology.ports[asker], IPv6Address(address)
    low = int(target) & 0xFFFFFF
    return frame(
        Packet(
            asker,
            port.mac,
            0x3333FF000000 | low,
            wire.IPV6,
            IPv6Address("::") if probe else own(port, 6),
            IPv6Address(int(IPv6Address("ff02::1:ff00:0")) | low),
            wire.ICMPV6,
            icmp_type=wire.NEIGHBOUR_SOLICITATION,
            target=target,
            hardware=None if probe else port.mac,
        )
    )


def icmpv6_is_sound(sent: bytes) -> bool:
    """Whether the checksum of an ICMPv6 message without extension headers is right (RFC 4443, section 2.3)."""
    length = int.from_bytes(sent[18:20], "big")
    pseudo = sent[22:54] + struct.pack(">II", length, wire.ICMPV6)
    return checksum(pseudo + sent[54 : 54 + length]) == b"\0\0"


def tagged(sent: bytes, vlan: int) -> bytes:
    """The frame with an 802.1Q tag."""
    return sent[:12] + VLAN_TYPE + vlan.to_bytes(2, "big") + sent[12:]


def ping(eth_src: int, eth_dst: int, src: str, dst: str, ttl: int = 64) -> bytes:
    """An ICMP echo request."""
    echo = struct.pack(">BBHHH", 8, 0, 0, 7, 1) + b"weft" * 4
    echo = echo[:2] + checksum(echo) + echo[4:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(echo), 1, 0, ttl, 1, 0)
    head += ip_address(src).packed + ip_address(dst).packed
    head = head[:10] + checksum(head) + head[12:]
    return eth_dst.to_bytes(6, "big") + eth_src.to_bytes(6, "big") + b"\x08\x00" + head + echo


def large(sent: bytes, length: int) -> bytes:
    """Return a datagram's frame with so much more in it that the IP packet has this length."""
    is_v4 = sent[12:14] == b"\x08\x00"
    head = bytearray(sent[14 : 34 if is_v4 else 54])
    upper = bytearray(sent[14 + len(head) :].ljust(length - len(head), b"\0")[: length - len(head)])
    upper[4:8] = len(upper).to_bytes(2, "big") + b"\0\0"
    if is_v4:
        head[2:4], head[10:12] = length.to_bytes(2, "big"), b"\0\0"
        head[10:12] = checksum(bytes(head))
    else:
        head[4:6] = len(upper).to_bytes(2, "big")
        upper[6:8] = checksum(bytes(head[8:40]) + struct.pack(">II", len(upper), wire.UDP) + bytes(upper))
    return sent[:14] + bytes(head) + bytes(upper)
