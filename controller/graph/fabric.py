"""The fabric as a graph, and the questions that the pipeline asks of it.

    ("host", hv1) ── ("port", red/web1) ── ("network", red/web) ── ("physical_network", physnet1)
                            │                                              │
                     ("group", red/web)                              ("host", hv1)

Edges carry `relation`: a port is `placed` on a host, `attached` to a network and `member` of groups; a network is
`carried` by a physical network, a host `wired` to it. An address space is a connected component of networks
(and, once there are routers, of what joins them); it is the scope of addresses and of connection tracking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import NamedTuple

import networkx as nx

from controller.model.entities import Address, HostKind, Network, Port, Prefix, Topology


class Node(NamedTuple):
    """A node of the graph: what kind of thing, and its name."""

    kind: str
    name: str


class Identity(NamedTuple):
    """A prefix that is known to belong to members of these groups."""

    prefix: Prefix
    groups: frozenset[str]


class Fabric:
    """A topology with its ports placed on hosts.

    `location` says where ports without a `host:` are; a port that is nowhere takes part in nothing.
    """

    def __init__(self, topology: Topology, location: Mapping[str, str] | None = None) -> None:
        self.topology = topology
        found = location or {}
        self.location: dict[str, str] = {}
        for port in topology.ports.values():
            host = port.host or found.get(port.name)
            if host is not None and self._carries(host, topology.networks[port.network]):
                self.location[port.name] = host
        self.graph = self._build()
        self._ports_of: dict[str, list[Port]] = {name: [] for name in topology.networks}
        self._placed: dict[tuple[str, str], list[Port]] = {}
        self._networks_of: dict[str, list[str]] = {name: [] for name in topology.hosts}
        self._hosts_of: dict[str, list[str]] = {name: [] for name in topology.networks}
        self._index()

    def _carries(self, host: str, network: Network) -> bool:
        """Return whether frames of the network can reach the host at all."""
        physical = network.physical_network
        return physical is None or host in self.topology.physical_networks[physical].hosts

    def _build(self) -> nx.Graph[Node]:
        topology = self.topology
        graph: nx.Graph[Node] = nx.Graph()
        for kind, names in (
            ("host", topology.hosts),
            ("physical_network", topology.physical_networks),
            ("network", topology.networks),
            ("group", topology.groups),
        ):
            graph.add_nodes_from(Node(kind, name) for name in names)
        for physical in topology.physical_networks.values():
            here = Node("physical_network", physical.name)
            graph.add_edges_from(((Node("host", host), here) for host in physical.hosts), relation="wired")
        for network in topology.networks.values():
            if network.physical_network is not None:
                there = Node("physical_network", network.physical_network)
                graph.add_edge(Node("network", network.name), there, relation="carried")
        for port in topology.ports.values():
            node = Node("port", port.name)
            graph.add_edge(node, Node("network", port.network), relation="attached")
            graph.add_edges_from(((node, Node("group", group)) for group in port.groups), relation="member")
            if port.name in self.location:
                graph.add_edge(node, Node("host", self.location[port.name]), relation="placed")
        return graph

    def _index(self) -> None:
        for name, host in self.location.items():
            port = self.topology.ports[name]
            self._ports_of[port.network].append(port)
            here = self._placed.setdefault((host, port.network), [])
            if not here:
                self._networks_of[host].append(port.network)
                self._hosts_of[port.network].append(host)
            here.append(port)

    def ports_of(self, network: str) -> list[Port]:
        """Return the placed ports of a network."""
        return self._ports_of[network]

    def ports_on(self, host: str, network: str) -> list[Port]:
        """Return the ports of a network that are on a host."""
        return self._placed.get((host, network), [])

    def networks_on(self, host: str) -> list[str]:
        """Return the networks that a host must know: those with a port there."""
        return self._networks_of[host]

    def hosts_of(self, network: str) -> list[str]:
        """Return the hosts that must know a network."""
        return self._hosts_of[network]

    def flood_hosts(self, host: str, network: str) -> list[str]:
        """Return the hosts that get a copy of what a host floods into a tunnel network."""
        return [other for other in self._hosts_of[network] if other != host]

    def pairs(self) -> Iterable[tuple[str, str]]:
        """Return the pairs of hosts that exchange tunnel packets, each once, in name order."""
        found: set[tuple[str, str]] = set()
        for network, hosts in self._hosts_of.items():
            if self.topology.networks[network].type.is_tunnel:
                ordered = sorted(hosts)
                found.update((first, second) for at, first in enumerate(ordered) for second in ordered[at + 1 :])
        return sorted(found)

    @cached_property
    def spaces(self) -> dict[str, str]:
        """Network -> the name of its address space, which is the first of the component's networks by name."""
        joined = self.graph.subgraph(node for node in self.graph if node.kind in ("network", "router"))
        spaces = {}
        for component in nx.connected_components(joined):
            members = sorted(node.name for node in component if node.kind == "network")
            spaces.update(dict.fromkeys(members, members[0]))
        return spaces

    @cached_property
    def identities(self) -> dict[str, list[Identity]]:
        """Address space -> whose addresses are whose, longest prefix first.

        An address that several ports may use (a VRRP address, a subnet of a router VM) belongs to the groups of all of
        them, and so does every address inside a wider prefix: the longest match tells all groups.
        """
        claims: dict[str, dict[Prefix, set[str]]] = {}
        for port in self.topology.ports.values():
            if port.groups and port.name in self.location:
                space = claims.setdefault(self.spaces[port.network], {})
                for prefix in prefixes_of(port):
                    space.setdefault(prefix, set()).update(port.groups)
        return {space: _with_wider(prefixes) for space, prefixes in claims.items()}

    @cached_property
    def combinations(self) -> frozenset[frozenset[str]]:
        """Every combination of groups that some address belongs to."""
        return frozenset(identity.groups for found in self.identities.values() for identity in found)

    @cached_property
    def combinations_with(self) -> dict[str, list[frozenset[str]]]:
        """Group -> the combinations that it is part of."""
        found: dict[str, list[frozenset[str]]] = {}
        for combination in self.combinations:
            for group in combination:
                found.setdefault(group, []).append(combination)
        return found

    def is_programmed(self, host: str) -> bool:
        """Return whether Weft writes this host's flows."""
        return self.topology.hosts[host].kind is HostKind.OVS


def host_prefix(address: Address) -> Prefix:
    """Return the prefix of one address."""
    if isinstance(address, IPv4Address):
        return IPv4Network((int(address), 32))
    return IPv6Network((int(address), 128))


def prefixes_of(port: Port) -> list[Prefix]:
    """Return all addresses that a port may use as prefixes: its own, then the further allowed ones."""
    return [*map(host_prefix, port.ips), *(allowed.ip for allowed in port.allowed)]


def _with_wider(claims: Mapping[Prefix, set[str]]) -> list[Identity]:
    wide = [prefix for prefix in claims if prefix.prefixlen < prefix.max_prefixlen]
    found = []
    for prefix, groups in claims.items():
        everyone = set(groups)
        for other in wide:
            if (
                other.version == prefix.version
                and other.prefixlen < prefix.prefixlen
                and int(prefix.network_address) & int(other.netmask) == int(other.network_address)
            ):
                everyone |= claims[other]
        found.append(Identity(prefix, frozenset(everyone)))
    found.sort(
        key=lambda identity: (-identity.prefix.prefixlen, identity.prefix.version, int(identity.prefix.network_address))
    )
    return found
