"""Random packets that stand at the edge of what a rule says: its first and last port and the ones beside them, the ends of its prefixes,
members of its groups and strangers, its ICMP types and others; now and then with something else changed as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from controller.model.address import BROADCAST_MAC, router_mac
from controller.model.entities import Address, Direction, Port, Prefix, Rule, Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet
from tests.proof import samples

_PROTOCOLS = {
    4: (wire.TCP, wire.UDP, wire.SCTP, wire.ICMP, 47, 2, 254),
    6: (wire.TCP, wire.UDP, wire.SCTP, wire.ICMPV6, 47, 50, 112),
}
_ICMP = {4: wire.ICMP, 6: wire.ICMPV6}
_ICMP_TYPES = {4: (0, 3, 8, 8, 8, 13, 15), 6: (1, 2, 128, 128, 128, 129, 144)}


class Near:
    """A source of packets for one topology."""

    def __init__(self, random: Random, topology: Topology) -> None:
        self._random = random
        self._topology = topology
        self._ports = list(topology.ports.values())
        self._members: dict[str, list[Address]] = {}
        self._near = {
            port.name: [other for other in self._ports if other.network == port.network and other is not port]
            for port in self._ports
        }
        routed = {name: router.networks for router in topology.routers.values() for name in router.networks}
        self._through = {
            port.name: [
                other for other in self._ports if other.network in routed.get(port.network, ()) and other is not port
            ]
            for port in self._ports
        }
        for port in self._ports:
            for group in port.groups:
                self._members.setdefault(group, []).extend(port.ips)

    def packet(self) -> Packet:
        """Return the next packet: by a rule mostly, of any kind otherwise."""
        random = self._random
        if random.random() < 0.25:
            return samples.packet(random, self._topology)
        source = random.choice(self._ports)
        is_routed = bool(self._through[source.name]) and random.random() < 0.6
        target = random.choice((self._through if is_routed else self._near)[source.name] or self._ports)
        rule = self._rule(source, target)
        version = self._version(source, target, rule)
        plain = Packet(
            *(source.name, source.mac, target.mac, wire.IPV4 if version == 4 else wire.IPV6),
            *(self._own(source, version), self._own(target, version)),
        )
        made = self._upper(plain, version, rule)
        if rule is not None:
            made = self._addresses(made, version, rule, source)
        if is_routed:
            made = self._sent_on(made, version, source)
        if random.random() < 0.06:
            made = replace(made, eth_dst=random.choice((BROADCAST_MAC, samples.STRANGE_MAC, samples.SHARED_MAC)))
        if random.random() < 0.08:
            made = samples.forged(random, made, version, random.choice(self._ports))
        return made

    def _sent_on(self, made: Packet, version: int, source: Port) -> Packet:
        """Return the packet as the router is sent it, now and then for where a static route leads."""
        random = self._random
        if random.random() < 0.1:
            made = replace(made, dst=random.choice(samples.FAR_AWAY[version]))
        return replace(made, eth_dst=router_mac(source.network), ttl=random.choice((*[64] * 12, 255, 2, 1)))

    def _rule(self, source: Port, target: Port) -> Rule | None:
        groups = self._topology.groups
        found = [rule for name in source.groups for rule in groups[name].egress]
        found += [rule for name in target.groups for rule in groups[name].ingress] * 2
        return self._random.choice(found) if found and self._random.random() < 0.9 else None

    def _version(self, source: Port, target: Port, rule: Rule | None) -> int:
        if rule is not None and rule.ethertype is not None and self._random.random() < 0.9:
            return rule.ethertype
        shared = {ip.version for ip in source.ips} & {ip.version for ip in target.ips} or {4, 6}
        return self._random.choice(sorted(shared))

    def _own(self, port: Port, version: int) -> Address:
        mine: list[Address] = [ip for ip in port.ips if ip.version == version]
        return self._random.choice(mine) if mine else samples.STRANGE[version]

    def _upper(self, plain: Packet, version: int, rule: Rule | None) -> Packet:
        """Return the packet with a protocol that the rule speaks of, mostly, and with numbers at its edges."""
        random = self._random
        protocol = rule.protocol if rule is not None else None
        if protocol is None or random.random() < 0.08:
            protocol = random.choice(_PROTOCOLS[version])
        made = replace(plain, protocol=protocol, sport=random.randrange(1, 65536))
        if protocol in wire.WITH_PORTS:
            return replace(made, dport=self._number(rule))
        if protocol == _ICMP[version]:
            kind, code = self._kind(rule, version)
            made = replace(made, icmp_type=kind, icmp_code=code)
            # Neighbour discovery carries more than a type: `samples` makes it.
            return made if kind not in wire.UNTRACKED or version == 4 else replace(made, icmp_type=128)
        if protocol in (wire.ICMP, wire.ICMPV6):  # The other version's: it has no fields that anybody reads.
            return replace(made, protocol=47)
        return made

    def _number(self, rule: Rule | None) -> int:
        random = self._random
        if rule is None or not rule.ports:
            return random.choice(samples.PORTS)
        ports = random.choice(rule.ports)
        bit = 1 << random.randrange(16)
        inside = random.randint(ports.first, ports.last)
        edges = (ports.first, ports.last, inside, ports.first - 1, ports.last + 1, inside ^ bit, ports.last ^ bit)
        return random.choice(edges) & 0xFFFF

    def _kind(self, rule: Rule | None, version: int) -> tuple[int, int]:
        random = self._random
        kind = random.choice(_ICMP_TYPES[version])
        code = random.choice((0, 0, 0, 1, 4))
        if rule is not None and rule.icmp_type is not None and random.random() < 0.7:
            kind = rule.icmp_type
            if rule.icmp_code is not None and random.random() < 0.7:
                code = rule.icmp_code
        return kind, code

    def _addresses(self, made: Packet, version: int, rule: Rule, source: Port) -> Packet:
        """Return the packet with the far side at an edge of what the rule says, where the sender may say so."""
        random = self._random
        edges = self._edges(rule, version)
        if not edges or random.random() < 0.3:
            return made
        if rule.direction is Direction.EGRESS:
            return replace(made, dst=random.choice(edges))
        free = not source.port_security or not self._topology.networks[source.network].cidrs
        mine = [edge for edge in edges if free or any(_within(edge, allowed.ip) for allowed in source.allowed)]
        return replace(made, src=random.choice(mine)) if mine else made

    def _edges(self, rule: Rule, version: int) -> Sequence[Address]:
        found: list[Address] = []
        listed = (cidr for name in rule.addresses for cidr in self._topology.address_groups[name].prefixes)
        for cidr in (*rule.cidrs, *listed):
            if cidr.version == version:
                first, last = cidr.network_address, cidr.broadcast_address
                found += [first, last]
                found += [first - 1] if int(first) else []
                found += [last + 1] if int(last) + 1 < 1 << cidr.max_prefixlen else []
        for group in rule.groups:
            found += [ip for ip in self._members.get(group, ()) if ip.version == version]
        return found


def _within(address: Address, prefix: Prefix) -> bool:
    return prefix.version == address.version and address in prefix
