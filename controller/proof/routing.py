"""What a router makes of one packet that is sent to its MAC: an answer, nothing, or the same packet with new addresses somewhere else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from controller.model.address import outer_mac, router_mac, wire_mac
from controller.model.entities import Address, FloatingIp, Port, Router, Topology
from controller.proof import packet as wire
from controller.proof.packet import Packet
from controller.proof.routers import Routers, is_routed
from controller.proof.segments import Segments

_ANSWER_TTL = 64  # Of what routers send by themselves.


@dataclass(frozen=True, slots=True)
class Routed:
    """What came of a packet: the ports that it goes to, each with what it would get, or why it goes to none.

    `is_split`: routes share what is sent, and one of them has it. `outside`: the external network that it leaves by, and as what.
    """

    arrivals: tuple[tuple[Port, Packet], ...] = ()
    reason: str = ""
    is_split: bool = False
    outside: tuple[str, Packet] | None = None


class Routing:
    """The routers of one topology at work. Rules are not asked here."""

    def __init__(self, topology: Topology, segments: Segments, routers: Routers) -> None:
        self._topology = topology
        self._segments = segments
        self._routers = routers

    def router(self, packet: Packet) -> Router | None:
        """Return the router that a packet is sent to by its destination MAC."""
        source = self._topology.ports[packet.source]
        if packet.eth_dst != router_mac(source.network) or not self._segments.is_programmed(source):
            return None
        return self._routers.of(source.network)

    def echo(self, packet: Packet) -> Packet | None:
        """Return the router's answer to a ping of an address of its own; None if the packet is something else."""
        router = self.router(packet)
        if (
            router is None
            or packet.version is None
            or packet.src is None
            or packet.dst is None
            or packet.later_fragment
        ):
            return None
        if (packet.protocol, packet.icmp_type) != wire.ECHO[packet.version] or packet.icmp_code:
            return None
        network, left = self._topology.ports[packet.source].network, _ANSWER_TTL
        if self._routers.pinged(network, packet.dst) is None:
            if not self._is_answered_outside(router, packet, packet.src, packet.dst):
                return None
            left -= 1
        back = replace(packet, eth_src=packet.eth_dst, eth_dst=packet.eth_src, src=packet.dst, dst=packet.src)
        return replace(back, icmp_type=wire.ECHO_REPLY if packet.version == 4 else wire.ECHO_REPLY_6, ttl=left)

    def _is_answered_outside(self, router: Router, packet: Packet, src: Address, dst: Address) -> bool:
        """Return whether a packet gets to a router's address on the external network, from where its answer comes in again."""
        other, source = self._routers.with_outer(dst), self._topology.ports[packet.source]
        if other is None or other.external != router.external or not self._routers.gateways(other):
            return False
        if self._segments.neighbour(source.network, src) != packet.eth_src:
            return False  # The answer is for somebody else, or for nobody.
        leads_out = any(step.network is None for step in self._routers.steps(router, dst))
        return leads_out and self._refusal(packet) is None and self._routers.leaving(router, source, src)[0] is not None

    def route(self, router: Router, packet: Packet) -> Routed:
        """Return where a router sends a packet of a port in one of its networks."""
        reason, src, dst = self._refusal(packet), packet.src, packet.dst
        if reason is not None or src is None or dst is None:
            return Routed(reason=f"router {router.name} {reason or 'takes nothing but IP'}")
        found = [
            self._out(router, packet, src, dst, step.next_hop)
            if step.network is None
            else self._in(step.network, step.next_hop, packet)
            for step in self._routers.steps(router, dst)
        ]
        if not found:
            return Routed(reason=f"{dst} is unreachable, router {router.name} leads nowhere to it")
        arrivals = tuple(arrival for each in found for arrival in each.arrivals)
        return Routed(arrivals, found[0].reason, is_split=len(found) > 1, outside=found[0].outside)

    def _refusal(self, packet: Packet) -> str | None:
        """Return why a router passes a packet on to nobody, or None."""
        if packet.version is None:
            return "takes nothing but IP"
        if packet.is_icmpv6 and packet.icmp_type in wire.UNTRACKED and not packet.later_fragment:
            return "passes on no neighbour discovery and no listener messages"
        network = self._topology.ports[packet.source].network
        if packet.dst is not None and self._routers.pinged(network, packet.dst) is not None:
            return f"answers nothing but pings at its own address {packet.dst}"
        if not is_routed(packet.dst):
            return f"passes on nothing for {packet.dst}"
        if packet.version == 6 and packet.src is not None and packet.src.is_link_local:
            return f"passes on nothing from {packet.src}"
        return "passes on nothing whose time to live ends" if packet.ttl < 2 else None

    def enter(self, external: str, packet: Packet) -> Routed:
        """Return who gets a packet that comes from an external network, for a floating IP or a port of a router that masks nothing."""
        src, dst = packet.src, packet.dst
        if packet.version is None or src is None or dst is None or packet.ttl < 2:
            return Routed(reason="nothing comes in but IP that has time to live")
        inside, floating = replace(packet, ttl=packet.ttl - 1), self._routers.floating(dst)
        if floating is not None:
            _, closed = self._routers.entering(floating, src)
            if closed is not None or floating.external != external or packet.eth_dst != outer_mac(floating.name):
                return Routed(reason=closed or f"{dst} is not asked for by its own MAC on {external}")
            return self._to_fixed(floating, inside)
        for router in self._topology.routers.values():
            is_meant = router.external == external and packet.eth_dst == outer_mac(router.name)
            if is_meant and not router.snat and self._routers.forged(router, src) is None:
                return Routed(tuple(self._let_in(router, inside, dst)))
        return Routed(reason=f"nobody on {external} has {dst}")

    def _let_in(self, router: Router, inside: Packet, dst: Address) -> Iterator[tuple[Port, Packet]]:
        for step in self._routers.steps(router, dst):
            mac = None if step.network is None else self._segments.neighbour(step.network, step.next_hop)
            if step.network is None or mac is None:
                continue
            for port in self._segments.with_mac(step.network, mac):
                owner = self._segments.with_address(step.network, dst)
                is_hidden = owner is not None and self._routers.has_floating(owner, dst)
                if not is_hidden and self._routers.no_exit(router, port, floating=False) is None:
                    at = self._segments.host(port)
                    yield port, replace(inside, eth_src=self._mac_on(step.network, at), eth_dst=mac)

    def _on_wire(self, router: Router, packet: Packet, name: Address, next_hop: Address) -> tuple[str, Packet] | None:
        """Return what is seen on the external network of a packet that leaves in this name; None if nobody has the next hop."""
        external = router.external
        mac = None if external is None else self._segments.heard(external, next_hop)
        if external is None or mac is None:
            return None
        floating = self._routers.floating(name)
        owner = router.name if floating is None else floating.name
        return external, replace(packet, eth_src=outer_mac(owner), eth_dst=mac, src=name, ttl=packet.ttl - 1)

    def _in(self, network: str, next_hop: Address, packet: Packet) -> Routed:
        """Return the ports that get what is for a next hop on a network of the router."""
        mac = self._segments.neighbour(network, next_hop)
        if mac is None:
            return Routed(reason=f"{packet.dst} is unreachable, no port of {network} has {next_hop}")
        return Routed(tuple(self._arrivals(network, mac, replace(packet, ttl=packet.ttl - 1))))

    def _arrivals(self, network: str, mac: int, packet: Packet) -> Iterator[tuple[Port, Packet]]:
        source = self._topology.ports[packet.source]
        at, _ = self._segments.router_host(source, network, mac)
        for port in self._segments.with_mac(network, mac):
            if port is not source:
                yield port, replace(packet, eth_src=self._mac_on(network, at), eth_dst=mac)

    def _mac_on(self, network: str, host: str | None) -> int:
        """Return the MAC from which a host sends what it routes into a network."""
        if self._topology.networks[network].type.is_provider and host is not None:
            return wire_mac(network, host)
        return router_mac(network)

    def _out(self, router: Router, packet: Packet, src: Address, dst: Address, next_hop: Address) -> Routed:
        """Return what becomes of a packet outside: it may be for a floating IP on the same external network."""
        source = self._topology.ports[packet.source]
        name, reason = self._routers.leaving(router, source, src)
        if name is None:
            return Routed(reason=f"{dst} is unreachable, {reason}")
        floating, other = self._routers.floating(dst), self._routers.with_outer(dst)
        if other is not None and other.external == router.external:
            return Routed(reason=f"router {other.name} answers nothing but pings at its own address {dst}")
        if floating is None or floating.external != router.external:
            return Routed(
                reason=f"it leaves by {router.external} as {name}",
                outside=self._on_wire(router, packet, name, next_hop),
            )
        _, closed = self._routers.entering(floating, name)
        if closed is not None:
            return Routed(reason=f"{dst} is unreachable, {closed}")
        if packet.ttl < 3:
            return Routed(reason=f"router {floating.router} passes on nothing whose time to live ends")
        # Out by one router and in by another, which may be the same. Which host routes it inwards depends on which gateways are alive,
        # and with it the MAC on a physical network.
        return self._to_fixed(floating, replace(packet, src=name, ttl=packet.ttl - 2))

    def _to_fixed(self, floating: FloatingIp, packet: Packet) -> Routed:
        """Return who gets what is let in for a floating IP: whoever has the address that it stands for."""
        network = self._topology.ports[floating.port].network
        mac = self._segments.neighbour(network, floating.fixed)
        if mac is None:
            return Routed(reason=f"{floating.address} is unreachable, no port of {network} has {floating.fixed}")
        seen = replace(packet, dst=floating.fixed, eth_dst=mac)
        ports = self._segments.with_mac(network, mac)
        return Routed(
            tuple((port, replace(seen, eth_src=self._mac_on(network, self._segments.host(port)))) for port in ports)
        )
