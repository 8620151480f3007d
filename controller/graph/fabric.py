"""The fabric as a graph: what is joined to what, for drawings and for everybody who looks at the whole.

    ("host", hv1) ── ("port", red/web1) ── ("network", red/web) ── ("physical_network", physnet1)
                            │                                              │
                     ("group", red/web)                              ("host", hv1)

Edges carry `relation`: a port is `placed` on a host, `attached` to a network and `member` of groups; a network is
`carried` by a physical network, a host `wired` to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import networkx as nx

from controller.graph import queries
from controller.graph.entering import enter
from controller.memo import Memo
from controller.model.entities import Topology


class Node(NamedTuple):
    """A node of the graph: what kind of thing, and its name."""

    kind: str
    name: str


class Fabric:
    """A topology with its ports placed on hosts.

    `location` says where ports without a `host:` are; a port that is nowhere takes part in nothing. `memo` answers the questions of
    `controller.graph.queries`.
    """

    def __init__(self, topology: Topology, location: Mapping[str, str] | None = None) -> None:
        self.topology = topology
        self.memo = Memo()
        enter(self.memo, topology, None)
        for name, host in (location or {}).items():
            self.memo.set(queries.found_on, (name,), host)
        self.memo.settle()

    @cached_property
    def location(self) -> dict[str, str]:
        """Port -> the host that it is on."""
        return {
            port.name: host
            for tenant in self.topology.tenants
            for ports in queries.placed(self.memo, tenant).values()
            for port, host in ports
        }

    def is_programmed(self, host: str) -> bool:
        """Return whether Weft writes this host's flows."""
        return queries.is_programmed(self.memo, host)

    @cached_property
    def graph(self) -> nx.Graph[Node]:
        """The graph."""
        topology = self.topology
        graph: nx.Graph[Node] = nx.Graph()
        for kind, names in (
            ("host", topology.hosts),
            ("physical_network", topology.physical_networks),
            ("network", topology.networks),
            ("group", topology.groups),
            ("router", topology.routers),
            ("external_network", topology.external_networks),
            ("floating_ip", topology.floating_ips),
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
        _add_ways(graph, topology)
        return graph


def _add_ways(graph: nx.Graph[Node], topology: Topology) -> None:
    """Add what routers join, where they lead out, and what floating IPs stand for."""
    for external in topology.external_networks.values():
        there = Node("physical_network", external.physical_network)
        graph.add_edge(Node("external_network", external.name), there, relation="carried")
    for router in topology.routers.values():
        node = Node("router", router.name)
        graph.add_edges_from(((node, Node("network", name)) for name in router.networks), relation="routed")
        if router.external is not None:
            graph.add_edge(node, Node("external_network", router.external), relation="leads out")
    for floating in topology.floating_ips.values():
        node = Node("floating_ip", floating.name)
        graph.add_edge(node, Node("port", floating.port), relation="stands for")
        graph.add_edge(node, Node("router", floating.router), relation="translated")
