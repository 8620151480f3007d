"""The oracle: may this port send this to that port? Answered from the model alone.

It never sees the pipeline, the graph or a flow, and shares no code with them, so that both can be wrong only separately.
Its rules are these; the first line that fits decides. A port is *guarded* when it has port security and its host is one that
Weft programs; on a VTEP that is not ours nothing can be enforced.

| who may send | |
|---|---|
| a frame with a VLAN tag, or from a group MAC | dropped |
| a port that is not guarded | anything else passes |
| a source MAC that is neither the port's nor an allowed one | dropped |
| ARP, not from the port's MAC and address (a request may have address 0) | dropped |
| an ethertype other than ARP, IPv4, IPv6 | dropped |
| DHCP and DHCPv6 servers' messages, router advertisements, redirects | dropped |
| a DHCP request (68 to 67 from 0.0.0.0 to everyone) | passes |
| IPv6 from `::`: address detection of an own address, router solicitation, listener reports | passes |
| a neighbour message with another MAC or without a target, an advertisement of another address | dropped |
| an own or allowed address with its MAC; on a network without cidr any address with the port's MAC | passes |
| everything else | dropped |

| who is meant | |
|---|---|
| an ARP request for an own address, which announces it | everybody, as below |
| ARP request, neighbour solicitation for a guarded port's own address that no other port may use | answered at once |
| broadcast, multicast | every other port of the network that has a path |
| a MAC that ports may use | each of those ports but the sender |
| an unknown MAC (in a `local` network: unknown on the host) | the network's ports without port security |

| is there a path | |
|---|---|
| another network | no (there are no routers yet) |
| a `local` network | on one host only |
| a `flat` or `vlan` network | between hosts that are wired to its physical network |
| any other | yes |

| what the groups say | |
|---|---|
| ARP, neighbour discovery and listener messages | pass |
| the ethertype is not IP | passes only to ports that are not guarded |
| ICMP that opens nothing (an error, an answer) | passes as part of a connection only, unless neither end is guarded |
| a port that is not guarded | its own side passes; in others' rules its addresses count as members' |
| no groups | nothing in, everything out |
| egress of a DHCP client's request | passes |
| any rule of any group that covers the packet | passes; a group as far side means its members' addresses *in the same network* |
| everything else | dropped |

Replies and related ICMP of what passed pass as well, so they are never asked about.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from controller.model.address import format_mac, is_multicast_mac
from controller.model.entities import Address, Direction, HostKind, NetworkType, Place, Port, Rule, Topology
from controller.proof import packet as wire
from controller.proof.guard import Guard, malformed
from controller.proof.packet import Packet
from controller.proof.rules import ALL_NUMBERS, Rulebook, Span, Traffic, common, rule_text, spans

ECHO = {4: (wire.ICMP, wire.ECHO_REQUEST), 6: (wire.ICMPV6, wire.ECHO_REQUEST_6)}


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a packet arrives, why in one sentence, and the rule and place that decide."""

    allowed: bool
    reason: str
    rule: Rule | None = None
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """A pair of addresses by which one port speaks to another: None where the files name no address.

    `source` or `target` None means that the address is on the physical network, beyond what the files say.
    """

    source: Port | None
    target: Port | None
    version: int
    src: Address | None
    dst: Address | None


class Oracle:
    """Answers for one topology; `location` says where ports without a `host:` are."""

    def __init__(self, topology: Topology, location: Mapping[str, str] | None = None) -> None:
        self.topology = topology
        self._rules = Rulebook(topology)
        self._host = {port.name: port.host or (location or {}).get(port.name) for port in topology.ports.values()}
        self._guards: dict[str, Guard] = {}
        self._in_network: dict[str, list[Port]] = {name: [] for name in topology.networks}
        self._allowing: dict[str, list[Port]] = {name: [] for name in topology.networks}
        self._by_mac: dict[tuple[str, int], list[Port]] = {}
        self._by_address: dict[tuple[str, Address], Port] = {}
        for port in topology.ports.values():
            self._in_network[port.network].append(port)
            if port.allowed:
                self._allowing[port.network].append(port)
            for mac in dict.fromkeys([port.mac, *(a.mac for a in port.allowed if a.mac is not None)]):
                self._by_mac.setdefault((port.network, mac), []).append(port)
            self._by_address.update(dict.fromkeys(((port.network, address) for address in port.ips), port))

    def decide(self, packet: Packet) -> Decision:
        """Return whether anybody gets the packet: an owner of its destination MAC, or any member of a multicast."""
        found = self.receivers(packet)
        if not found:
            network = self.topology.ports[packet.source].network
            return Decision(False, f"no other port of {network} has MAC {format_mac(packet.eth_dst)}")
        return next((decision for decision in found.values() if decision.allowed), next(iter(found.values())))

    def receivers(self, packet: Packet) -> dict[str, Decision]:
        """Return, for every port that the packet is meant for, whether it arrives there."""
        source = self.topology.ports[packet.source]
        refusal = self._refusal(source, packet)
        if refusal is None:
            owner = self._answerer(source, packet)
            refusal = f"answered at once in the place of {owner.name}" if owner else None
        if refusal is not None:
            stopped = Decision(False, refusal, None, source.place)
            return {target.name: stopped for target in self._meant(source, packet.eth_dst)}
        return {target.name: self._arrives(packet, source, target) for target in self._meant(source, packet.eth_dst)}

    def answerer(self, packet: Packet) -> Port | None:
        """Return the port whose address the packet asks for, if Weft answers in its place."""
        source = self.topology.ports[packet.source]
        return None if self._refusal(source, packet) else self._answerer(source, packet)

    def allows(
        self,
        source: str,
        target: str,
        *,
        protocol: int | None = None,
        port: int | None = None,
        version: int | None = None,
        icmp_type: int | None = None,
        icmp_code: int | None = None,
    ) -> Decision:
        """Return whether a new connection may be opened; either end is a port's name or, if not both, an address as text.

        Every pair of addresses of one IP version is tried, and one that passes suffices. Without a protocol the
        question is ICMP echo.
        """
        ways = self.ways(source, target, version)
        if isinstance(ways, Decision):
            return ways
        refused = []
        for way in ways:
            if protocol is None:
                number, kind = ECHO[way.version]
                traffic = Traffic(way.version, number, None, kind, 0)
            else:
                traffic = Traffic(way.version, protocol, port, icmp_type, icmp_code)
            decision = self.judge(way, traffic)
            if decision.allowed:
                return decision
            refused.append(decision)
        return refused[0]

    def ways(self, source: str, target: str, version: int | None = None) -> list[Way] | Decision:
        """Return the pairs of addresses by which `source` may address `target`, or why there is none.

        Either may be an address as text: that of a port of the other's network, or one beyond a physical network.
        """
        if source not in self.topology.ports:
            return self._ways_from(ip_address(source), target)
        sender = self.topology.ports[source]
        if target in self.topology.ports:
            receiver, dst = self.topology.ports[target], None
        else:
            dst = ip_address(target)
            owner = self._owner(sender, dst)
            if owner is None:
                return self._beyond(sender, dst)
            receiver, version = owner, dst.version
        reason = self._no_path(sender, receiver)
        if reason is not None:
            return Decision(False, f"no path: {reason}", None, sender.place)
        found = _pairs(sender, receiver, dst, version)
        if not found and not self.topology.networks[sender.network].cidrs:
            found = [Way(sender, receiver, each, None, dst) for each in (4, 6) if version in (None, each)]
        return found or Decision(False, f"{source} and {target} share no IP version", None, sender.place)

    def _ways_from(self, src: Address, target: str) -> list[Way] | Decision:
        """Return the ways from an address: its port's, or those of whatever is on the physical network."""
        receiver = self.topology.ports.get(target)
        if receiver is None:
            return Decision(False, f"no path: {src} and {target} are both not ports of the files")
        owner = self._owner(receiver, src)
        if owner is not None:
            found = self.ways(owner.name, target, src.version)
            return found if isinstance(found, Decision) else [way for way in found if way.src in (src, None)] or found
        network = self.topology.networks[receiver.network]
        if not network.type.is_provider:
            reason = f"no path: no port of {network.name} has {src}, and no router leads there"
            return Decision(False, reason, None, receiver.place)
        mine = [ip for ip in receiver.ips if ip.version == src.version]
        if not mine:
            return Decision(False, f"{receiver.name} has no IPv{src.version} address", None, receiver.place)
        return [Way(None, receiver, src.version, src, ip) for ip in mine]

    def open_spans(self, way: Way) -> list[Span]:
        """Return everything that the groups of both ends let pass."""
        found = [Span(None, ALL_NUMBERS)]
        for port, direction, far in _sides(way):
            if not self._is_open(port, direction):
                found = common(found, spans(self._rules.applying(port, direction, far, way.version)))
        return found

    def judge(self, way: Way, traffic: Traffic, *, leaves_always: bool = False) -> Decision:
        """Return what the groups of both ends say; `leaves_always` takes the sender's side for granted."""
        whence = way.source.name if way.source else way.src
        decision = Decision(True, f"neither end of {whence} to {way.dst} is under a group's rules")
        for port, direction, far in _sides(way):
            if self._is_open(port, direction) or (leaves_always and direction is Direction.EGRESS):
                continue
            found = self._rules.allowing(port, direction, far, traffic)
            if found is None:
                return _refused(port, direction, far, traffic)
            group, rule = found
            reason = f"{direction} of {port.name}: group {group} {rule_text(rule)} ({rule.place})"
            decision = Decision(True, reason, rule, rule.place)
        return decision

    def is_guarded(self, port: Port) -> bool:
        """Return whether source guard and groups are enforced at this port."""
        return port.port_security and self._is_programmed(port)

    def _is_programmed(self, port: Port) -> bool:
        host = self._host[port.name]
        return host is None or self.topology.hosts[host].kind is HostKind.OVS

    def _is_open(self, port: Port, direction: Direction) -> bool:
        return not self.is_guarded(port) or (not port.groups and direction is Direction.EGRESS)

    def _refusal(self, source: Port, packet: Packet) -> str | None:
        if not self.is_guarded(source):
            return malformed(packet)
        guard = self._guards.get(source.name)
        if guard is None:
            guard = self._guards[source.name] = Guard(source, self.topology.networks[source.network])
        return guard.refusal(packet)

    def _answerer(self, source: Port, packet: Packet) -> Port | None:
        asked = _asked_for(packet)
        if asked is None or not self._is_programmed(source) or (packet.eth_type == wire.ARP and asked in source.ips):
            return None
        owner = self._by_address.get((source.network, asked))
        # An address that others may use as well moves between them, so they are left to answer for themselves.
        if owner is None or not owner.port_security or self._claimants(source.network, asked):
            return None
        return owner

    def _claimants(self, network: str, address: Address) -> list[Port]:
        """Return the ports that are allowed to use an address beside their own ones."""
        return [
            port
            for port in self._allowing[network]
            if any(a.ip.version == address.version and address in a.ip for a in port.allowed)
        ]

    def _owner(self, sender: Port, address: Address) -> Port | None:
        found = self._by_address.get((sender.network, address))
        return found or next(iter(self._claimants(sender.network, address)), None)

    def _meant(self, source: Port, mac: int) -> list[Port]:
        reached = [port for port in self._in_network[source.network] if self._no_path(source, port) is None]
        if is_multicast_mac(mac):
            return [port for port in reached if port is not source]
        owners = self._by_mac.get((source.network, mac), [])
        if not any(port in reached for port in owners):
            # Nobody here has it, so it is unknown; its owner without a path is named only if nobody else gets it.
            return [port for port in reached if not port.port_security and port is not source] or owners
        return [port for port in owners if port is not source and port in reached]

    def _no_path(self, source: Port, target: Port) -> str | None:
        """Return why no frame of one port reaches the other, or None."""
        if source.network != target.network:
            return (
                f"{source.name} is in network {source.network}, {target.name} in {target.network}"
                ", and no router joins them"
            )
        if source is target:
            return None
        network = self.topology.networks[source.network]
        here, there = self._host[source.name], self._host[target.name]
        if network.type is NetworkType.LOCAL and (here is None or here != there):
            return f"{network.name} is local to a host, {source.name} is on {here or 'none'}, {target.name} on {there}"
        if network.physical_network is not None and here != there:
            wired = self.topology.physical_networks[network.physical_network].hosts
            for port, host in ((source, here), (target, there)):
                if host is not None and host not in wired:
                    return f"{host} with {port.name} is not wired to {network.physical_network}"
        return None

    def _beyond(self, sender: Port, address: Address) -> list[Way] | Decision:
        """Return the ways to an address that no port has: there are some on a physical network only."""
        network = self.topology.networks[sender.network]
        mine = [ip for ip in sender.ips if ip.version == address.version]
        if network.type.is_provider and any(
            address in cidr for cidr in network.cidrs if cidr.version == address.version
        ):
            if mine:
                return [Way(sender, None, address.version, ip, address) for ip in mine]
            return Decision(False, f"{sender.name} has no IPv{address.version} address", None, sender.place)
        reason = f"no path: no port of {network.name} has {address}, and no router leads elsewhere"
        return Decision(False, reason, None, sender.place)

    def _arrives(self, packet: Packet, source: Port, target: Port) -> Decision:
        reason = self._no_path(source, target)
        if reason is not None:
            return Decision(False, f"no path: {reason}", None, source.place)
        if packet.eth_type == wire.ARP or (packet.is_icmpv6 and packet.icmp_type in wire.UNTRACKED):
            return Decision(True, "ARP and neighbour discovery pass between the ports of a network")
        if packet.version is None or packet.protocol is None:
            closed = self.is_guarded(target)
            return Decision(not closed, f"ethertype {packet.eth_type:#06x} to {target.name}", None, target.place)
        if packet.opens_nothing and (self.is_guarded(source) or self.is_guarded(target)):
            return Decision(False, f"ICMP type {packet.icmp_type} starts no connection", None, source.place)
        has_ports, is_icmp = packet.protocol in wire.WITH_PORTS, packet.protocol in (wire.ICMP, wire.ICMPV6)
        traffic = Traffic(
            packet.version,
            packet.protocol,
            packet.dport if has_ports else None,
            packet.icmp_type if is_icmp else None,
            packet.icmp_code if is_icmp else None,
        )
        way = Way(source, target, packet.version, packet.src, packet.dst)
        return self.judge(way, traffic, leaves_always=packet.is_dhcp_request)


def _sides(way: Way) -> list[tuple[Port, Direction, Address | None]]:
    """Return who judges a packet, each with the direction and the far address."""
    sides: list[tuple[Port, Direction, Address | None]] = []
    if way.source is not None:
        sides.append((way.source, Direction.EGRESS, way.dst))
    if way.target is not None:
        sides.append((way.target, Direction.INGRESS, way.src))
    return sides


def _refused(port: Port, direction: Direction, far: Address | None, traffic: Traffic) -> Decision:
    groups = f"no rule of {', '.join(port.groups)}" if port.groups else "no group, so nothing"
    word = "from" if direction is Direction.INGRESS else "to"
    reason = (
        f"{direction} default deny of {port.name}: {groups} allows {traffic} {word} {far or 'anyone'} ({port.place})"
    )
    return Decision(False, reason, None, port.place)


def _pairs(source: Port, target: Port, dst: Address | None, version: int | None) -> list[Way]:
    """Return the pairs of the ports' addresses that share an IP version."""
    theirs: Iterable[Address] = target.ips if dst is None else (dst,)
    return [
        Way(source, target, mine.version, mine, other)
        for mine in source.ips
        for other in theirs
        if mine.version == other.version and version in (None, mine.version)
    ]


def _asked_for(packet: Packet) -> Address | None:
    """Return the address whose owner is sought; None for detection of duplicates, which nobody may answer for another."""
    if packet.eth_type == wire.ARP and packet.arp_op == wire.ARP_REQUEST:
        return packet.dst if packet.src is not None and int(packet.src) else None
    if packet.is_solicitation:
        return packet.target if packet.src is not None and int(packet.src) else None
    return None
