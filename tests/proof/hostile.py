"""What somebody sends who wants a policy to cost many masks: packets one bit, or two, beside what its rules name."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import product
from random import Random

from controller.model.address import BROADCAST_MAC, parse_mac
from controller.model.entities import Address, Direction, Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.ovs.frames import checksum, frame
from tests.proof.samples import dice

_STRANGE_MAC, _MULTICAST_MAC = parse_mac("02:00:00:00:99:99"), parse_mac("01:00:5e:00:00:01")
_FAR_SIDE: dict[int, Address] = {4: ip_address("198.51.100.7"), 6: ip_address("2001:db8::7")}
_EVERYBODY: dict[int, Address] = {4: ip_address("255.255.255.255"), 6: ip_address("ff02::1:2")}
_BITS = {4: 32, 6: 128}
_ICMP = {4: wire.ICMP, 6: wire.ICMPV6}
_ETHERTYPES = {4: wire.IPV4, 6: wire.IPV6}
_PLAIN_PORTS, _SOURCE_PORT = (33333, 67, 546), 40000  # Those of DHCP are looked at in every packet.
_MOST_VALUES = 80  # Addresses and ports of a rule set that are flipped bit by bit; the rest is drawn from.
_FIRST_PIECE = 1208  # Bytes of a first fragment: the tracker takes shorter ones for an attack.


class Hostile:
    """The packets of one direction: the port `near` has the rules, `far` is whoever it talks to."""

    def __init__(self, topology: Topology, near: str, far: str, direction: Direction, seed: int = 0) -> None:
        self._topology = topology
        self._near, self._far = topology.ports[near], topology.ports[far]
        self._is_egress = direction is Direction.EGRESS
        self._random = dice(seed)
        groups = [topology.groups[name] for name in self._near.groups]
        self._rules = [rule for each in groups for rule in (each.egress if self._is_egress else each.ingress)]

    def frames(self, pairs: int) -> Iterator[bytes]:
        """Yield frames with one bit changed, with two where they are likely to multiply, and `pairs` drawn at random."""
        yield from map(frame, self._single())
        yield from self._fragments()
        yield from map(frame, self._squares())
        addresses = {version: self._addresses(version) for version in _BITS}
        ports, protocols = self._ports(), self._protocols()
        for _ in range(pairs):
            version = self._random.choice((4, 6))
            yield frame(self._pair(version, addresses[version], ports, protocols))

    # The values that rules name.

    def _addresses(self, version: int) -> list[Address]:
        """Return the ends of every prefix and the members of every group that a rule names, and a stranger."""
        found: list[Address] = [_FAR_SIDE[version]]
        for rule in self._rules:
            for cidr in rule.cidrs:
                if cidr.version == version:
                    found += [cidr.network_address, cidr.broadcast_address]
            for name in rule.groups:
                members = (port for port in self._topology.ports.values() if name in port.groups)
                found += [ip for port in members for ip in port.ips if ip.version == version]
        return list(dict.fromkeys(found))

    def _ports(self, protocol: int | None = None) -> list[int]:
        """Return the ends of every range of ports that a rule names, of one protocol or of all, and a stranger."""
        rules = [rule for rule in self._rules if protocol in (None, rule.protocol)]
        ends = {end for rule in rules for ports in rule.ports for end in (ports.first, ports.last)}
        return [*_PLAIN_PORTS, *sorted(ends)]

    def _protocols(self) -> list[int]:
        named = {rule.protocol for rule in self._rules if rule.protocol is not None}
        return sorted(named | {wire.TCP, wire.UDP, wire.SCTP, wire.ICMP, wire.ICMPV6, 47})

    def _kinds(self, protocol: int) -> list[tuple[int, int]]:
        named = {(rule.icmp_type or 0, rule.icmp_code or 0) for rule in self._rules if rule.protocol == protocol}
        return sorted(named | {(8, 0), (128, 0)})

    # Packets.

    def _plain(self, version: int, far: Address | None = None) -> Packet:
        """Return a datagram that starts a connection, from or to the port that is measured."""
        here = next(ip for ip in self._near.ips if ip.version == version)
        there = far or _FAR_SIDE[version]
        source, target = (self._near, self._far) if self._is_egress else (self._far, self._near)
        src, dst = (here, there) if self._is_egress else (there, here)
        return Packet(
            *(source.name, source.mac, target.mac, _ETHERTYPES[version], src, dst),
            *(wire.UDP, _SOURCE_PORT, _PLAIN_PORTS[0]),
        )

    def _to(self, packet: Packet, far: Address) -> Packet:
        return replace(packet, dst=far) if self._is_egress else replace(packet, src=far)

    def _single(self) -> Iterator[Packet]:
        """Yield packets that differ from what rules name in one bit of one field."""
        for version in (4, 6):
            plain = self._plain(version)
            addresses = self._addresses(version)[:_MOST_VALUES]
            for address in addresses:
                yield self._to(plain, address)
            bits = _BITS[version]
            for address in addresses[: _MOST_VALUES * 16 // bits]:
                for bit in range(bits):
                    yield self._to(plain, _flipped(address, bit))
            for protocol in self._protocols():
                yield from self._of(plain, protocol)
            for bit in range(8):
                for protocol in self._protocols():
                    yield replace(plain, protocol=protocol ^ 1 << bit)
            for mac in (BROADCAST_MAC, _MULTICAST_MAC, _STRANGE_MAC, plain.eth_src):
                yield replace(plain, eth_dst=mac)
            near = plain.src if self._is_egress else plain.dst
            assert near is not None
            for bit in range(bits if not self._is_egress else 0):
                yield replace(plain, dst=_flipped(near, bit))

    def _of(self, plain: Packet, protocol: int) -> Iterator[Packet]:
        """Yield packets of a protocol that differ in one bit of its ports or types."""
        packet = replace(plain, protocol=protocol)
        yield packet
        if protocol in (wire.ICMP, wire.ICMPV6):
            for kind, code in self._kinds(protocol):
                yield replace(packet, icmp_type=kind, icmp_code=code)
                for bit in range(8):
                    yield replace(packet, icmp_type=kind ^ 1 << bit, icmp_code=code)
                    yield replace(packet, icmp_type=kind, icmp_code=code ^ 1 << bit)
        elif protocol in wire.WITH_PORTS:
            for number in self._ports(protocol)[:_MOST_VALUES]:
                yield replace(packet, dport=number)
                for bit in range(16):
                    yield replace(packet, dport=number ^ 1 << bit)
                    yield replace(packet, sport=number ^ 1 << bit)

    def _squares(self) -> Iterator[Packet]:
        """Yield every pair of one bit of a far address with one of a port, for a few of both: the lengths of two tries multiply."""
        rules = [rule for rule in self._rules if rule.ports]
        sampled = self._random.sample(rules, min(2, len(rules)))
        for version, step in ((4, 1), (6, 4)):
            known = self._addresses(version)
            for rule in sampled:
                packet = replace(self._plain(version), protocol=rule.protocol)
                for address, bit, other in product(known[1:3], range(0, _BITS[version], step), range(16)):
                    yield replace(self._to(packet, _flipped(address, bit)), dport=rule.ports[0].first ^ 1 << other)

    def forged(self) -> Iterator[bytes]:
        """Yield what only the guard of sources looks at: others' sources, DHCP's ports and addresses, with one bit changed or two."""
        for version, servers in ((4, (67, 68)), (6, (547, 546))):
            plain = replace(self._plain(version), sport=servers[1], dport=servers[0])
            assert plain.src is not None
            assert plain.dst is not None
            nobody = type(plain.src)(0)
            everybody = _EVERYBODY[version]
            step = 1 if version == 4 else 4
            for bit in range(0, _BITS[version], step):
                for source, target in product((plain.src, nobody), (plain.dst, everybody)):
                    yield frame(replace(plain, src=_flipped(source, bit), dst=target))
                    yield frame(replace(plain, src=source, dst=_flipped(target, bit)))
                    for server, other in product(servers, range(16)):
                        yield frame(replace(plain, src=_flipped(source, bit), sport=server ^ 1 << other))
                        yield frame(replace(plain, src=source, dst=_flipped(target, bit), sport=server ^ 1 << other))

    def _pair(self, version: int, addresses: list[Address], ports: list[int], protocols: list[int]) -> Packet:
        """Return a packet with a bit changed in two or three fields at once."""
        random = self._random
        protocol = random.choice(protocols)
        packet = self._to(self._plain(version), _nearby(random, random.choice(addresses), _BITS[version]))
        packet = replace(packet, protocol=protocol, sport=random.randrange(1, 65536))
        if protocol in (wire.ICMP, wire.ICMPV6):
            kind, code = random.choice(self._kinds(protocol))
            return replace(packet, icmp_type=_near(random, kind, 8), icmp_code=_near(random, code, 8))
        return replace(packet, dport=_near(random, random.choice(ports), 16))

    def _fragments(self) -> Iterator[bytes]:
        for address in self._addresses(4)[:4]:
            for number in self._ports()[:8]:
                yield from fragments(replace(self._to(self._plain(4), address), dport=number), number)


def fragments(packet: Packet, identification: int) -> Iterator[bytes]:
    """Yield the two fragments of a long datagram over IPv4."""
    assert packet.src is not None
    assert packet.dst is not None
    body = struct.pack(">HHHH", packet.sport, packet.dport, _FIRST_PIECE + 200, 0) + bytes(_FIRST_PIECE + 192)
    ethernet = packet.eth_dst.to_bytes(6, "big") + packet.eth_src.to_bytes(6, "big") + b"\x08\x00"
    for piece, where in ((body[:_FIRST_PIECE], 0x2000), (body[_FIRST_PIECE:], _FIRST_PIECE // 8)):
        head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(piece), identification, where, 64, wire.UDP, 0)
        head += packet.src.packed + packet.dst.packed
        yield ethernet + head[:10] + checksum(head) + head[12:] + piece


def _flipped(address: Address, bit: int) -> Address:
    return type(address)(int(address) ^ 1 << bit)


def _nearby(random: Random, address: Address, bits: int) -> Address:
    return _flipped(address, random.randrange(bits)) if random.random() < 0.8 else address


def _near(random: Random, value: int, bits: int) -> int:
    return value ^ 1 << random.randrange(bits) if random.random() < 0.8 else value
