"""What the features read: one host's share of the fabric, with keys and numbers resolved.

`Shared` holds what is the same on every host, computed once for the fabric; `HostView` what one host adds: which of
its ports are plugged in and where, its tags and zones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from controller.graph.fabric import Fabric
from controller.model.entities import Address, Host, Network, Port
from controller.model.ids import key
from controller.model.names import interface_name
from controller.pipeline.flow import Bindings, Flow, Origin
from controller.pipeline.numbers import Numbers
from controller.pipeline.registers import NO_CLASS


def class_name(groups: Iterable[str]) -> str:
    """Return the name of a combination of groups."""
    return ",".join(sorted(groups))


def class_key(groups: Iterable[str]) -> int:
    """Return the key of a combination of groups; ports without any group have a class as well."""
    return key("class", class_name(groups))


def policy_class(port: Port) -> int:
    """Return the class that a port's packets are judged by: none where port security is off."""
    return class_key(port.groups) if port.port_security else NO_CLASS


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """What is true of a network on every host.

    `claims` lists, per MAC, the ports that may use it; `answers` the (address, MAC) pairs that ARP and neighbour
    discovery are answered with; `open_hosts` the hosts with a port that may use any MAC.
    """

    network: Network
    key: int
    space: str
    space_key: int
    claims: dict[int, list[Port]]
    answers: list[tuple[Address, Port]]
    open_hosts: tuple[str, ...]


@dataclass(slots=True)
class Shared:
    """The fabric's facts and the flows that do not depend on the host, made once and reused by all programs."""

    fabric: Fabric
    _networks: dict[str, NetworkFacts] = field(default_factory=dict)
    _flows: dict[tuple[str, str], list[Flow]] = field(default_factory=dict)

    def network(self, name: str) -> NetworkFacts:
        """Return a network's facts."""
        facts = self._networks.get(name)
        if facts is None:
            facts = self._networks[name] = self._facts(self.fabric.topology.networks[name])
        return facts

    def flows(self, kind: str, name: str, make: Callable[[], list[Flow]]) -> list[Flow]:
        """Return the flows of this kind and name, made by the first who asks."""
        found = self._flows.get((kind, name))
        if found is None:
            found = self._flows[kind, name] = make()
        return found

    def _facts(self, network: Network) -> NetworkFacts:
        ports = self.fabric.ports_of(network.name)
        claims: dict[int, list[Port]] = {}
        for port in ports:
            for mac in macs_of(port):
                claims.setdefault(mac, []).append(port)
        # An address that several ports may use moves between them, and a port without port security may hold
        # any: both answer for themselves, so their addresses are left to be asked for on the network.
        movable = {allowed.ip for port in ports for allowed in port.allowed}
        answers = [
            (address, port)
            for port in ports
            if port.port_security
            for address in port.ips
            if not any(address.version == prefix.version and address in prefix for prefix in movable)
        ]
        hosts = dict.fromkeys(self.fabric.location[port.name] for port in ports if not port.port_security)
        space = self.fabric.spaces[network.name]
        return NetworkFacts(
            network, key("network", network.name), space, key("space", space), claims, answers, tuple(sorted(hosts))
        )


def macs_of(port: Port) -> list[int]:
    """Return the MACs that a port may use, its own first, each once."""
    return list(dict.fromkeys([port.mac, *(allowed.mac for allowed in port.allowed if allowed.mac is not None)]))


@dataclass(frozen=True, slots=True)
class PortView:
    """A port that is plugged in on this host: its OpenFlow number, keys and network."""

    port: Port
    number: int
    key: int
    class_key: int
    network: NetworkFacts
    origin: Origin


class HostView:
    """One host's share of the fabric."""

    def __init__(self, shared: Shared, host: str, bindings: Bindings, numbers: Numbers) -> None:
        self.shared = shared
        self.fabric = shared.fabric
        self.host: Host = shared.fabric.topology.hosts[host]
        self.bindings = bindings
        self.tags = numbers.tags[host]
        self.zones = numbers.zones[host]

    @cached_property
    def networks(self) -> list[NetworkFacts]:
        """The networks that the host must know."""
        return [self.shared.network(name) for name in self.fabric.networks_on(self.host.name)]

    @cached_property
    def ports(self) -> list[PortView]:
        """The ports that are plugged in."""
        return [view for facts in self.networks for view in self.ports_on(facts)]

    @cached_property
    def _by_network(self) -> dict[str, list[PortView]]:
        plugged = self.bindings.ports.get(self.host.integration_bridge, {})
        found: dict[str, list[PortView]] = {}
        for facts in self.networks:
            here = found[facts.network.name] = []
            for port in self.fabric.ports_on(self.host.name, facts.network.name):
                number = plugged.get(interface_name(port.name))
                if number is not None:
                    origin = Origin(f"port {port.name}", port.place)
                    here.append(PortView(port, number, key("port", port.name), policy_class(port), facts, origin))
        return found

    def ports_on(self, facts: NetworkFacts) -> list[PortView]:
        """Return the ports of a network that are plugged in on this host."""
        return self._by_network[facts.network.name]

    @cached_property
    def classes(self) -> dict[int, tuple[str, ...]]:
        """The classes of the host's ports under policy: key -> groups in name order."""
        return {view.class_key: tuple(sorted(view.port.groups)) for view in self.ports if view.class_key != NO_CLASS}

    def zone(self, facts: NetworkFacts) -> int:
        """Return the conntrack zone of a network's address space."""
        return self.zones[facts.space]

    def number(self, bridge: str, interface: str) -> int | None:
        """Return the OpenFlow number of an interface, or None while it is absent."""
        return self.bindings.number(bridge, interface)

    def is_here(self, port: Port) -> bool:
        """Return whether the port is placed on this host."""
        return self.fabric.location[port.name] == self.host.name

    def tunnel_peers(self, facts: NetworkFacts) -> list[Host]:
        """Return the other hosts that have the network."""
        hosts = self.fabric.topology.hosts
        return [hosts[name] for name in self.fabric.flood_hosts(self.host.name, facts.network.name)]


def network_origin(facts: NetworkFacts) -> Origin:
    """Return the origin of what a network needs."""
    return Origin(f"network {facts.network.name}", facts.network.place)
