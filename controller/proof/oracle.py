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
| another ethertype than ARP, IPv4, IPv6 | passes if it is among the port's `ethertypes`, else dropped |
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
| a DHCP client's question, a router solicitation, where Weft answers them (`controller.proof.clients`) | the controller |
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
| the ethertype is not IP | passes to ports that are not guarded, and to those that have it among their `ethertypes` |
| ICMP that opens nothing (an error, an answer) | passes as part of a connection only, if either end is guarded and not stateless |
| a port that is not guarded | its own side passes; in others' rules its addresses count as members' |
| no groups | nothing in, everything out |
| egress of a DHCP client's request | passes |
| any rule of any group that covers the packet | passes; a group as far side means its members' addresses *in the same network* |
| everything else | dropped |

What passes only because a rule, or all groups of a port, are not enforced passes all the same, and the decision says `would_drop`
(`controller.proof.verdict`, which judges the sides).

Answers and related ICMP of what passed pass as well where both ends track connections. A port all of whose groups are stateless
tracks none: each packet meets its rules, answers too, of which `reply_allowed` speaks. A later fragment shares the fate of its first
where connections are tracked; a stateless port's rules compare all of it but ports and ICMP types, which it does not carry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address

from controller.model.address import format_mac, is_multicast_mac
from controller.model.entities import Address, HostKind, NetworkType, Port, Range, Topology
from controller.proof import packet as wire
from controller.proof.clients import is_answered
from controller.proof.guard import Guard, malformed
from controller.proof.packet import Packet
from controller.proof.rules import Rulebook, Span, Traffic
from controller.proof.verdict import Decision, Judge, Way, best

__all__ = ["ECHO", "Decision", "Oracle", "Way"]

ECHO = {4: (wire.ICMP, wire.ECHO_REQUEST), 6: (wire.ICMPV6, wire.ECHO_REQUEST_6)}


# The question that an answer answers: ICMP's types, by the IP version.
_ANSWERS = {
    4: {wire.ECHO_REQUEST: wire.ECHO_REPLY, wire.TIMESTAMP_REQUEST: 14, wire.INFORMATION_REQUEST: 16},
    6: {wire.ECHO_REQUEST_6: wire.ECHO_REPLY_6},
}


class Oracle:
    """Answers for one topology; `location` says where ports without a `host:` are."""

    def __init__(self, topology: Topology, location: Mapping[str, str] | None = None) -> None:
        self.topology = topology
        self._judge = Judge(Rulebook(topology), self.is_guarded)
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
        return best(found.values())

    def receivers(self, packet: Packet) -> dict[str, Decision]:
        """Return, for every port that the packet is meant for, whether it arrives there."""
        source = self.topology.ports[packet.source]
        refusal = self._refusal(source, packet)
        if refusal is None:
            owner = self._answerer(source, packet)
            refusal = f"answered at once in the place of {owner.name}" if owner else None
        if refusal is None and self._is_programmed(source) and is_answered(self.topology, source, packet):
            refusal = f"answered by the controller in the place of network {source.network}"
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
        decisions = []
        for way in ways:
            if protocol is None:
                number, kind = ECHO[way.version]
                traffic = Traffic(way.version, number, None, kind, 0)
            else:
                traffic = Traffic(way.version, protocol, port, icmp_type, icmp_code)
            decisions.append(self.judge(way, traffic))
        return best(decisions)

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
        return self._judge.open_spans(way)

    def judge(self, way: Way, traffic: Traffic) -> Decision:
        """Return what the groups of both ends say of what opens a connection."""
        return self._judge.packet(way, traffic)

    def answer(self, way: Way, traffic: Traffic, ports: Range) -> Decision:
        """Return whether answers to what this judged pass; those of TCP, UDP and SCTP to all of these ports of the asker."""
        return self._judge.answer(way, _answer(traffic), ports if traffic.protocol in wire.WITH_PORTS else None)

    def reply_allowed(self, packet: Packet, target: str) -> Decision:
        """Return whether the answer to a packet that this port got passes: the same with source and destination exchanged.

        It always does where both ends track connections. An end that is stateless has rules that must allow the answer by itself:
        the receiver's egress rules, and the sender's ingress rules.
        """
        source, owner = self.topology.ports[packet.source], self.topology.ports[target]
        traffic = _traffic(packet)
        if traffic is None:
            return Decision(True, "what is no part of a connection is answered like that")
        way = Way(source, owner, traffic.version, packet.src, packet.dst)
        port = None if traffic.port is None else packet.sport
        return self._judge.answer(way, _answer(replace(traffic, port=port, later_fragment=False)))

    def is_guarded(self, port: Port) -> bool:
        """Return whether source guard and groups are enforced at this port."""
        return port.port_security and self._is_programmed(port)

    def _is_programmed(self, port: Port) -> bool:
        host = self._host[port.name]
        return host is None or self.topology.hosts[host].kind is HostKind.OVS

    def _refusal(self, source: Port, packet: Packet) -> str | None:
        if not self.is_guarded(source):
            return malformed(packet)
        if self._judge.is_stateless(source):
            packet = packet.as_seen
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
        is_discovery = packet.is_icmpv6 and packet.icmp_type in wire.UNTRACKED and not packet.later_fragment
        if packet.eth_type == wire.ARP or is_discovery:
            return Decision(True, "ARP and neighbour discovery pass between the ports of a network")
        traffic = _traffic(packet)
        if traffic is None:
            is_let_in = not self.is_guarded(target) or (packet.version is None and packet.eth_type in target.ethertypes)
            return Decision(is_let_in, f"ethertype {packet.eth_type:#06x} to {target.name}", None, target.place)
        if packet.opens_nothing and (self._judge.tracks(source) or self._judge.tracks(target)):
            return Decision(False, f"ICMP type {packet.icmp_type} starts no connection", None, source.place)
        way = Way(source, target, traffic.version, packet.src, packet.dst)
        seen = packet.as_seen if self._judge.is_stateless(source) else packet
        return self._judge.packet(way, traffic, leaves_always=seen.is_dhcp_request)


def _traffic(packet: Packet) -> Traffic | None:
    """Return what rules see of a packet, None if that is nothing."""
    if packet.version is None or packet.protocol is None:
        return None
    has_ports, is_icmp = packet.protocol in wire.WITH_PORTS, packet.protocol in (wire.ICMP, wire.ICMPV6)
    return Traffic(
        version=packet.version,
        protocol=packet.protocol,
        port=packet.dport if has_ports else None,
        icmp_type=packet.icmp_type if is_icmp else None,
        icmp_code=packet.icmp_code if is_icmp else None,
        later_fragment=packet.later_fragment,
    )


def _answer(traffic: Traffic) -> Traffic | None:
    """Return what answers this, to the same port number; None if nothing does."""
    if traffic.protocol not in (wire.ICMP, wire.ICMPV6):
        return traffic
    kind = _ANSWERS[traffic.version].get(traffic.icmp_type or 0)
    return None if kind is None else replace(traffic, icmp_type=kind, icmp_code=0)


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
