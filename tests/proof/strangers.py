"""Packets that come in by ways that no file names: with tags, from VTEPs and by keys that are nobody's. Nobody gets them."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from controller.model.names import interface_name, physical_bridge, tunnel_port
from controller.proof.packet import Packet
from tests.ovs.tracing import Encapsulation
from tests.proof.passage import Arrival, Tracer

_GROUP = 1 << 40  # Of a MAC.
_OWN_TAG = 5  # Means nothing to anybody.


@dataclass(frozen=True, slots=True)
class Stranger:
    """A packet that comes in where it should not; who is not guarded may get it where `may_arrive`."""

    at: Arrival
    may_arrive: bool = False

    @property
    def packet(self) -> Packet:
        """The packet."""
        return self.at.packet

    @property
    def way(self) -> Hashable:
        """Where it comes in, whatever it is."""
        return self.at.host, self.at.interface, self.at.vlan, self.at.tunnel


def strangers(tracer: Tracer, hellos: Iterable[Packet]) -> Iterator[Stranger]:
    """Yield such packets for all hosts, each like one of these."""
    for packet in hellos:
        for host in tracer.twin.hosts:
            yield from _inside(tracer, packet, host)
            yield from _by_tunnel(tracer, packet, host)
            yield from _by_wire(tracer, packet, host)


def _inside(tracer: Tracer, packet: Packet, host: str) -> Iterator[Stranger]:
    """Yield what comes to br-int by itself, with tags that mean a network there."""
    twin = tracer.twin
    bridge, tags = twin.topology.hosts[host].integration_bridge, tracer.tags(host)
    ports = [port for port, where in twin.location.items() if where == host]
    yield Stranger(Arrival(host, packet, bridge, bridge))
    for interface in (bridge, *map(interface_name, ports[:2])):
        yield from (Stranger(Arrival(host, packet, bridge, interface, tag)) for tag in tags)


def _by_tunnel(tracer: Tracer, packet: Packet, host: str) -> Iterator[Stranger]:
    """Yield what comes by a tunnel: from no VTEP of the network, from one by no key, with a tag or a group source within."""
    twin = tracer.twin
    topology = twin.topology
    name = topology.ports[packet.source].network
    network = topology.networks[name]
    if not network.type.is_tunnel:
        return
    kind, segment = network.type, network.segment or 0
    homes = {twin.location[port.name] for port in topology.ports.values() if port.network == name}
    known = {topology.hosts[home].tunnel_ip for home in homes - {host}}
    here = topology.hosts[host].tunnel_ip
    assert isinstance(here, IPv4Address)
    here_too = [port for port in topology.ports.values() if port.network == name and twin.location[port.name] == host]
    # Who is not guarded may have any MAC.
    is_elsewhere = all(port.port_security and port.mac != packet.eth_dst for port in here_too)
    for home in sorted(homes - {host}):
        there = topology.hosts[home].tunnel_ip
        assert isinstance(there, IPv4Address)
        good = Encapsulation(kind, segment, there, here)
        at = Arrival(host, packet, topology.hosts[host].tunnel_bridge, tunnel_port(kind))
        for source in (IPv4Address(int(there) ^ 1), IPv4Address(int(there) ^ 1 << 8), here):
            if source not in known:
                yield Stranger(replace(at, tunnel=replace(good, src=source)))
        for number in (segment ^ 1, segment ^ 1 << 10, segment ^ 64, 0):
            yield Stranger(replace(at, tunnel=replace(good, key=number)))
        if host not in homes:
            continue
        yield Stranger(replace(at, packet=replace(packet, eth_src=packet.eth_src | _GROUP), tunnel=good))
        yield from (Stranger(replace(at, tunnel=good, vlan=tag)) for tag in (_OWN_TAG, *tracer.tags(host)))
        if not packet.eth_dst & _GROUP:
            yield Stranger(replace(at, tunnel=good), may_arrive=not is_elsewhere)  # This host does not send it on.


def _by_wire(tracer: Tracer, packet: Packet, host: str) -> Iterator[Stranger]:
    """Yield what comes from the wire with the tag of no network, or from a group's MAC."""
    topology = tracer.twin.topology
    network = topology.networks[topology.ports[packet.source].network]
    physical = topology.physical_networks.get(network.physical_network or "")
    if physical is None or host not in physical.hosts:
        return
    bridge, tag = physical_bridge(physical.name), network.segment or 0
    wired = Arrival(host, packet, bridge, f"wire-{physical.name}", tag)
    yield Stranger(replace(wired, packet=replace(packet, eth_src=packet.eth_src | _GROUP)))
    yield from (Stranger(replace(wired, vlan=other)) for other in (None, _OWN_TAG, tag ^ 1))
