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
| the same for an address of the router: a gateway of the network, the link-local one if there is IPv6 | answered at once |
| a DHCP client's question, a router solicitation, where Weft answers them (`controller.proof.clients`) | the controller |
| broadcast, multicast | every other port of the network that has a path |
| the router's MAC, from a host that Weft programs | whomever the router finds, as below |
| a MAC that ports may use | each of those ports but the sender |
| an unknown MAC (in a `local` network: unknown on the host) | the network's ports without port security |

| what a router does with what is sent to its MAC | |
|---|---|
| what is not IP, neighbour discovery, listener messages | dropped |
| a ping of an own address, any gateway or link-local one, or of a router's outside | answered if the sender's egress rules allow |
| anything else for such an address | dropped |
| for an unspecified, loopback, link-local, multicast or broadcast address, or from a link-local one of IPv6 | dropped |
| its time to live is 1 or less | dropped |
| the longest prefix is a network's | to the ports whose own it is or that may use exactly this address, if all name one MAC |
| ... and a port may use a prefix around it, or they name several, or none has it | to whoever was heard of |
| ... a static route's | the same for its next hop; several routes with one prefix share it |
| ... the external network's, or its gateway's | out, as the sender's floating IP, else as the router's address (`snat`), else as it is |
| there is none such, or nobody has the next hop | dropped: it is unreachable |
| what goes out is for a floating IP of the same external network | in again, for the address that it stands for |

What is routed arrives from the router's MAC there (from that of the sender's host, on a physical network), and has one less to live, or
two if it has been outside. It is never flooded, and no port reaches itself by its own address so. The sender's rules see it as it was
sent, the receiver's as it arrives.

| which host routes | |
|---|---|
| the sender's is wired to the network, or the network is on no physical network | the sender's |
| all ports that may use the MAC are on one host, and packets of the sender's network get there | that one |
| they are on several, or no port has it | the first of the wired hosts that packets of the sender's network get to |
| there is none such | none |

| is there a path | |
|---|---|
| another network | by a router that joins both, from a host that Weft programs; then as below, from the host that routes there |
| a `local` network | on one host only |
| a `flat` or `vlan` network | between hosts that are wired to its physical network |
| any other | yes |
| out by an external network, or in | floating IPs where the port's host is wired to it; all by a gateway that the port's network reaches |
| in from outside | to floating IPs; to ports' own addresses where their router has `snat: false` |

| what the groups say | |
|---|---|
| ARP, neighbour discovery and listener messages | pass |
| the ethertype is not IP | passes to ports that are not guarded, and to those that have it among their `ethertypes` |
| ICMP that opens nothing (an error, an answer) | passes as part of a connection only, if an end is guarded, not stateless, or translated |
| a port that is not guarded | its own side passes; in others' rules its addresses count as members' |
| no groups | nothing in, everything out |
| egress of a DHCP client's request | passes |
| any rule of any group that covers the packet | passes; a group as far side means its members' addresses *in the same address space* |
| everything else | dropped |

An address space is a router's networks, or a network without a router.
What passes only because a rule, or all groups of a port, are not enforced passes all the same, and the decision says `would_drop`
(`controller.proof.verdict`, which judges the sides).

Answers and related ICMP of what passed pass as well where both ends track connections. A port all of whose groups are stateless
tracks none: each packet meets its rules, answers too, of which `reply_allowed` speaks. A later fragment shares the fate of its first
where connections are tracked; a stateless port's rules compare all of it but ports and ICMP types, which it does not carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from controller.model.address import format_mac, is_multicast_mac, router_mac
from controller.model.entities import Address, Port, Range, Topology
from controller.proof import packet as wire
from controller.proof.clients import is_answered
from controller.proof.guard import Guard, malformed
from controller.proof.packet import ECHO, Packet
from controller.proof.routers import Routers
from controller.proof.routing import Routing
from controller.proof.rules import Rulebook, Span, Traffic
from controller.proof.segments import Heard, Segments
from controller.proof.verdict import Decision, Judge, Way, best, overall
from controller.proof.ways import Ways

__all__ = ["ECHO", "Answerer", "Decision", "Oracle", "Way"]

# The question that an answer answers: ICMP's types, by the IP version.
_ANSWERS = {
    4: {wire.ECHO_REQUEST: wire.ECHO_REPLY, wire.TIMESTAMP_REQUEST: 14, wire.INFORMATION_REQUEST: 16},
    6: {wire.ECHO_REQUEST_6: wire.ECHO_REPLY_6},
}


@dataclass(frozen=True, slots=True)
class Answerer:
    """Whose address a question is for that Weft answers at once: a port, or a router by its MAC on the network."""

    name: str
    mac: int
    is_router: bool = False


class Oracle:
    """Answers for one topology.

    `location` says where ports without a `host:` are, `heard` which MACs answered for addresses that the files leave open.
    """

    def __init__(
        self, topology: Topology, location: Mapping[str, str] | None = None, heard: Heard | None = None
    ) -> None:
        self.topology = topology
        self._judge = Judge(Rulebook(topology), self.is_guarded)
        self._guards: dict[str, Guard] = {}
        self._segments = Segments(topology, location, heard)
        routers = Routers(topology, self._segments)
        self._routers = routers
        self._routing = Routing(topology, self._segments, routers)
        self._ways = Ways(topology, self._segments, routers)

    def decide(self, packet: Packet) -> Decision:
        """Return whether anybody gets the packet: an owner of its destination MAC, or any member of a multicast."""
        found = self.receivers(packet)
        if found:
            return best(found.values())
        source = self.topology.ports[packet.source]
        router = self._routing.router(packet)
        if router is None:
            return Decision(False, f"no other port of {source.network} has MAC {format_mac(packet.eth_dst)}")
        if self.echoed(packet) is not None:
            return Decision(False, f"answered at once by router {router.name}", None, source.place)
        reason = self._refusal(source, packet) or self._routing.route(router, packet).reason
        return Decision(False, reason or f"{source.name} does not reach itself", None, source.place)

    def receivers(self, packet: Packet) -> dict[str, Decision]:
        """Return, for every port that the packet is meant for, whether it arrives there.

        Of those to whom it is routed only one gets it where `is_split`.
        """
        source = self.topology.ports[packet.source]
        refusal = self._refusal(source, packet)
        if refusal is None:
            owner = self._answerer(source, packet)
            refusal = f"answered at once in the place of {owner.name}" if owner else None
        if refusal is None and self._segments.is_programmed(source) and is_answered(self.topology, source, packet):
            refusal = f"answered by the controller in the place of network {source.network}"
        meant = self._meant(source, packet)
        if refusal is not None:
            stopped = Decision(False, refusal, None, source.place)
            return {target.name: stopped for target, _ in meant}
        return {target.name: self._arrives(packet, source, target, seen) for target, seen in meant}

    def received(self, packet: Packet, target: str) -> Packet:
        """Return the packet as one of its `receivers` gets it: what is routed has other MACs, less to live, maybe other addresses."""
        source = self.topology.ports[packet.source]
        return next(seen for port, seen in self._meant(source, packet) if port.name == target)

    def outside(self, packet: Packet) -> tuple[str, Packet] | None:
        """Return the external network by which a packet leaves for the world, and what is seen of it there."""
        source, router, traffic = self.topology.ports[packet.source], self._routing.router(packet), _traffic(packet)
        if router is None or traffic is None or self._refusal(source, packet) is not None:
            return None
        if is_answered(self.topology, source, packet):
            return None
        found = self._routing.route(router, packet).outside
        if found is None or (packet.opens_nothing and (self._judge.tracks(source) or found[1].src != packet.src)):
            return None
        way = Way(source, None, traffic.version, packet.src, packet.dst)
        return found if self._judge.packet(way, traffic).allowed else None

    def inside(self, external: str, packet: Packet) -> dict[str, Packet]:
        """Return which ports get a packet that somebody on an external network sends, and what each of them gets."""
        found, traffic = {}, _traffic(packet)
        for port, seen in self._routing.enter(external, packet).arrivals if traffic is not None else ():
            if packet.opens_nothing and (self._judge.tracks(port) or seen.dst != packet.dst):
                continue
            ends = None if seen.src is None or seen.dst is None else (seen.src, seen.dst)
            way = Way(None, port, packet.version or 0, packet.src, packet.dst, seen=ends)
            if traffic is not None and self._judge.packet(way, traffic).allowed:
                found[port.name] = seen
        return found

    def is_split(self, packet: Packet) -> bool:
        """Return whether only one of those whom the packet is meant for gets it, because routes share what is sent."""
        router = self._routing.router(packet)
        return router is not None and self._routing.route(router, packet).is_split

    def answerer(self, packet: Packet) -> Answerer | None:
        """Return whose address the packet asks for, if Weft answers at once."""
        source = self.topology.ports[packet.source]
        return None if self._refusal(source, packet) else self._answerer(source, packet)

    def echoed(self, packet: Packet) -> Packet | None:
        """Return what a router answers to a ping of an address of its own, if it gets there."""
        source, router = self.topology.ports[packet.source], self._routing.router(packet)
        answer = self._routing.echo(packet)
        traffic = _traffic(packet)
        if router is None or answer is None or traffic is None or self._refusal(source, packet) is not None:
            return None
        way = Way(source, None, traffic.version, packet.src, packet.dst, router=router.name)
        return answer if self._judge.packet(way, traffic).allowed else None

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
        return overall(ways, decisions)

    def ways(
        self, source: str, target: str, version: int | None = None, *, floating: bool = False
    ) -> list[Way] | Decision:
        """Return the pairs of addresses by which `source` may address `target`, or why there is none.

        Either may be an address as text: that of a port, a floating IP, or one beyond what the files say. Between ports those through the
        outside, to floating IPs, count as well if `floating`.
        """
        return self._ways.between(source, target, version, floating=floating)

    def open_spans(self, way: Way) -> list[Span]:
        """Return everything that the groups of both ends let pass."""
        return self._judge.open_spans(way)

    def judge(self, way: Way, traffic: Traffic) -> Decision:
        """Return what the groups of both ends say of what opens a connection."""
        return self._judge.packet(way, traffic)

    def answer(self, way: Way, traffic: Traffic, ports: Range) -> Decision:
        """Return whether answers to what this judged pass; those of TCP, UDP and SCTP to all of these ports of the asker."""
        reason = self._ways.no_way_back(way)
        if reason is not None:
            return Decision(False, f"no answer: {reason}", None, way.target.place if way.target else None)
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
        seen = self.received(packet, target)
        way = self._way(packet, source, owner, seen)
        reason = self._ways.no_way_back(way, is_routed=seen is not packet)
        if reason is not None:
            return Decision(False, f"no answer: {reason}", None, owner.place)
        port = None if traffic.port is None else packet.sport
        return self._judge.answer(way, _answer(replace(traffic, port=port, later_fragment=False)))

    def is_guarded(self, port: Port) -> bool:
        """Return whether source guard and groups are enforced at this port."""
        return port.port_security and self._segments.is_programmed(port)

    def _refusal(self, source: Port, packet: Packet) -> str | None:
        if not self.is_guarded(source):
            return malformed(packet)
        if self._judge.is_stateless(source):
            packet = packet.as_seen
        guard = self._guards.get(source.name)
        if guard is None:
            guard = self._guards[source.name] = Guard(source, self.topology.networks[source.network])
        return guard.refusal(packet)

    def _answerer(self, source: Port, packet: Packet) -> Answerer | None:
        asked, network = _asked_for(packet), source.network
        if asked is None or not self._segments.is_programmed(source):
            return None
        router = self._routers.asked(network, asked)
        if router is not None:
            return Answerer(router.name, router_mac(network), is_router=True)
        if packet.eth_type == wire.ARP and asked in source.ips:
            return None
        owner = self._segments.with_address(network, asked)
        # An address that others may use as well moves between them, so they are left to answer for themselves.
        if owner is None or not owner.port_security or self._segments.claimants(network, asked):
            return None
        return Answerer(owner.name, owner.mac)

    def _meant(self, source: Port, packet: Packet) -> list[tuple[Port, Packet]]:
        """Return whom a packet is meant for, each with what that port gets."""
        router = self._routing.router(packet)
        if router is not None:
            return list(self._routing.route(router, packet).arrivals)
        return [(port, packet) for port in self._bridged(source, packet.eth_dst)]

    def _bridged(self, source: Port, mac: int) -> list[Port]:
        reached = [port for port in self._segments.ports(source.network) if self._ways.no_path(source, port) is None]
        if is_multicast_mac(mac):
            return [port for port in reached if port is not source]
        owners = self._segments.with_mac(source.network, mac)
        if not any(port in reached for port in owners):
            # Nobody here has it, so it is unknown; its owner without a path is named only if nobody else gets it.
            return [port for port in reached if not port.port_security and port is not source] or owners
        return [port for port in owners if port is not source and port in reached]

    def _arrives(self, packet: Packet, source: Port, target: Port, seen: Packet) -> Decision:
        """Return whether a packet arrives that the target would get as `seen`."""
        reason = None if seen.dst != packet.dst else self._ways.no_path(source, target, seen.eth_dst)
        if reason is not None:
            return Decision(False, f"no path: {reason}", None, source.place)
        is_discovery = packet.is_icmpv6 and packet.icmp_type in wire.UNTRACKED and not packet.later_fragment
        if packet.eth_type == wire.ARP or is_discovery:
            return Decision(True, "ARP and neighbour discovery pass between the ports of a network")
        traffic = _traffic(packet)
        if traffic is None:
            is_let_in = not self.is_guarded(target) or (packet.version is None and packet.eth_type in target.ethertypes)
            return Decision(is_let_in, f"ethertype {packet.eth_type:#06x} to {target.name}", None, target.place)
        is_translated = (seen.src, seen.dst) != (packet.src, packet.dst)
        if packet.opens_nothing and (is_translated or self._judge.tracks(source) or self._judge.tracks(target)):
            return Decision(False, f"ICMP type {packet.icmp_type} starts no connection", None, source.place)
        as_guarded = packet.as_seen if self._judge.is_stateless(source) else packet
        way = self._way(packet, source, target, seen)
        return self._judge.packet(way, traffic, leaves_always=as_guarded.is_dhcp_request)

    def _way(self, packet: Packet, source: Port, target: Port, seen: Packet) -> Way:
        """Return the way that a packet takes which the target gets as `seen`."""
        version = packet.version or 0
        if (seen.src, seen.dst) == (packet.src, packet.dst) or seen.src is None or seen.dst is None:
            return Way(source, target, version, packet.src, packet.dst)
        return Way(source, target, version, packet.src, packet.dst, seen=(seen.src, seen.dst))


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


def _asked_for(packet: Packet) -> Address | None:
    """Return the address whose owner is sought; None for detection of duplicates, which nobody may answer for another."""
    if packet.eth_type == wire.ARP and packet.arp_op == wire.ARP_REQUEST:
        return packet.dst if packet.src is not None and int(packet.src) else None
    if packet.is_solicitation:
        return packet.target if packet.src is not None and int(packet.src) else None
    return None
