"""The fabric as a drawing, in formats that other tools read: Mermaid, DOT, SVG, JSON.

Nothing that a file says can break a drawing: node ids are numbers, and every text is escaped by the rules of its format.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from controller.graph.fabric import Fabric, Node
from controller.graph.svg import describe, svg
from controller.model.address import format_mac
from controller.model.entities import Host, HostKind, Network, Port, Topology


def draw(fabric: Fabric, wanted: str) -> str:
    """Return the drawing in the wanted format: mermaid, dot, svg or json; raise ValueError for any other."""
    match wanted:
        case "mermaid":
            return "\n".join(_mermaid(fabric)) + "\n"
        case "dot":
            return "\n".join(_dot(fabric)) + "\n"
        case "svg":
            return svg(fabric)
        case "json":
            return json.dumps(_data(fabric), indent=2, ensure_ascii=False) + "\n"
        case _:
            raise ValueError(f"no such drawing: {wanted}")


def _host_lines(host: Host) -> list[str]:
    kind = " (VTEP)" if host.kind is HostKind.VTEP else ""
    return [f"{host.name}{kind}", str(host.tunnel_ip)]


def _network_lines(network: Network) -> list[str]:
    return [network.name, describe(network), *map(str, network.cidrs)]


def _port_lines(port: Port) -> list[str]:
    return [port.name, *map(str, port.ips)]


def _ids(fabric: Fabric) -> Mapping[Node, str]:
    letters = {"host": "h", "port": "p", "network": "n", "physical_network": "w", "group": "g"}
    letters |= {"router": "r", "external_network": "e", "floating_ip": "f"}
    return {node: f"{letters.get(node.kind, 'x')}{number}" for number, node in enumerate(fabric.graph)}


def _by_host(fabric: Fabric) -> dict[str | None, list[Port]]:
    """Return host -> ports; None holds those that are on no host yet."""
    found: dict[str | None, list[Port]] = {name: [] for name in fabric.topology.hosts}
    for port in fabric.topology.ports.values():
        found.setdefault(fabric.location.get(port.name), []).append(port)
    return found


def _mermaid_text(lines: list[str]) -> str:
    """Return a quoted label; what is neither letter, digit nor harmless sign becomes a character code."""
    safe = "<br/>".join("".join(c if c.isalnum() or c in " ./:,-()" else f"#{ord(c)};" for c in line) for line in lines)
    return f'"{safe}"'


def _mermaid(fabric: Fabric) -> Iterator[str]:
    topology, ids = fabric.topology, _ids(fabric)
    yield "flowchart LR"
    for host, ports in _by_host(fabric).items():
        inside = [f"    {ids[Node('port', port.name)]}[{_mermaid_text(_port_lines(port))}]" for port in ports]
        if host is None:
            yield from (line.strip().join(("  ", "")) for line in inside)
            continue
        yield f"  subgraph {ids[Node('host', host)]}[{_mermaid_text(_host_lines(topology.hosts[host]))}]"
        yield from inside
        yield "  end"
    for network in topology.networks.values():
        yield f"  {ids[Node('network', network.name)]}([{_mermaid_text(_network_lines(network))}])"
    for name in topology.physical_networks:
        yield f"  {ids[Node('physical_network', name)]}[/{_mermaid_text([name])}/]"
    for kind, name, lines in _ways(topology):
        left, right = _MERMAID_WAYS[kind]
        yield f"  {ids[Node(kind, name)]}{left}{_mermaid_text(lines)}{right}"
    for port in topology.ports.values():
        yield f"  {ids[Node('port', port.name)]} --- {ids[Node('network', port.network)]}"
    for network in topology.networks.values():
        if network.physical_network is not None:
            there = ids[Node("physical_network", network.physical_network)]
            yield f"  {ids[Node('network', network.name)]} -.- {there}"
    for physical in topology.physical_networks.values():
        for name in physical.hosts:
            yield f"  {ids[Node('host', name)]} === {ids[Node('physical_network', physical.name)]}"
    for first, second, relation in _edges(fabric):
        if relation in _WAYS or first.kind == "external_network":
            yield f"  {ids[first]} {'-.-' if relation == 'carried' else '---'} {ids[second]}"


def _ways(topology: Topology) -> Iterator[tuple[str, str, list[str]]]:
    """Yield kind, name and label of what joins networks and leads out."""
    for router in topology.routers.values():
        yield "router", router.name, [f"router {router.name}", *map(str, router.addresses)]
    for external in topology.external_networks.values():
        yield "external_network", external.name, [external.name, *map(str, external.cidrs)]
    for floating in topology.floating_ips.values():
        yield "floating_ip", floating.name, [str(floating.address)]


_MERMAID_WAYS = {"router": ("{{", "}}"), "external_network": ("([", "])"), "floating_ip": ("(", ")")}
_DOT_SHAPES = {"router": "hexagon", "external_network": "ellipse", "floating_ip": "note"}
_WAYS = ("routed", "leads out", "stands for", "translated")


def _dot_text(lines: list[str]) -> str:
    escaped = (line.replace("\\", "\\\\").replace('"', '\\"') for line in lines)
    return '"' + "\\n".join("".join(c if c.isprintable() else " " for c in line) for line in escaped) + '"'


def _dot(fabric: Fabric) -> Iterator[str]:
    topology, ids = fabric.topology, _ids(fabric)
    yield f"graph {_dot_text([topology.name])} {{"
    yield '  graph [rankdir=LR, fontname="Helvetica", compound=true];'
    yield '  node [fontname="Helvetica", shape=box, style=rounded];'
    for host, ports in _by_host(fabric).items():
        inside = [f"{ids[Node('port', port.name)]} [label={_dot_text(_port_lines(port))}];" for port in ports]
        if host is None:
            yield from (f"  {line}" for line in inside)
            continue
        node = ids[Node("host", host)]
        # Graphviz draws a box around what a subgraph called cluster holds; the point stands for the host in edges.
        yield f"  subgraph cluster_{node} {{"
        yield f"    label={_dot_text(_host_lines(topology.hosts[host]))}; style=rounded;"
        yield f'    {node} [shape=point, label=""];'
        yield from (f"    {line}" for line in inside)
        yield "  }"
    for network in topology.networks.values():
        label = _dot_text(_network_lines(network))
        yield f"  {ids[Node('network', network.name)]} [label={label}, shape=ellipse];"
    for name in topology.physical_networks:
        yield f"  {ids[Node('physical_network', name)]} [label={_dot_text([name])}, shape=box3d];"
    for kind, name, lines in _ways(topology):
        yield f"  {ids[Node(kind, name)]} [label={_dot_text(lines)}, shape={_DOT_SHAPES[kind]}];"
    for first, second, relation in _edges(fabric):
        if relation in _DOT_EDGES:
            style = _DOT_EDGES[relation].format(host=ids[first] if first.kind == "host" else "")
            yield f"  {ids[first]} -- {ids[second]}{style};"
    yield "}"


_DOT_EDGES = {
    "attached": "",
    "carried": " [style=dashed]",
    "wired": " [style=bold, ltail=cluster_{host}]",
    **dict.fromkeys(_WAYS, ""),
}


def _edges(fabric: Fabric) -> Iterator[tuple[Node, Node, str]]:
    """Yield the edges, each from the smaller thing to the one that it belongs to."""
    kinds = ("floating_ip", "port", "router", "network", "external_network", "host", "physical_network", "group")
    order = {kind: place for place, kind in enumerate(kinds)}
    for first, second, facts in fabric.graph.edges(data=True):
        ends = sorted((first, second), key=lambda node: order.get(node.kind, len(order)))
        yield ends[0], ends[1], facts["relation"]


def _data(fabric: Fabric) -> dict[str, Any]:
    nodes = [{"kind": node.kind, "name": node.name, **_facts(fabric, node)} for node in fabric.graph]
    edges = [
        {
            "from": {"kind": first.kind, "name": first.name},
            "to": {"kind": second.kind, "name": second.name},
            "relation": relation,
        }
        for first, second, relation in _edges(fabric)
    ]
    return {"fabric": fabric.topology.name, "nodes": nodes, "edges": edges}


def _facts(fabric: Fabric, node: Node) -> dict[str, Any]:
    topology = fabric.topology
    match node.kind:
        case "host":
            host = topology.hosts[node.name]
            return {"host_kind": host.kind.value, "tunnel_ip": str(host.tunnel_ip), "gateway": host.gateway}
        case "network":
            network = topology.networks[node.name]
            return {
                "tenant": network.tenant,
                "type": network.type.value,
                "segment": network.segment,
                "cidrs": [str(cidr) for cidr in network.cidrs],
                "mtu": network.mtu,
            }
        case "port":
            port = topology.ports[node.name]
            return {
                "tenant": port.tenant,
                "mac": format_mac(port.mac),
                "ips": [str(ip) for ip in port.ips],
                "host": fabric.location.get(port.name),
                "port_security": port.port_security,
            }
        case "router":
            router = topology.routers[node.name]
            routes = [{"to": str(route.to), "via": str(route.via)} for route in router.routes]
            addresses = [str(address) for address in router.addresses]
            return {"tenant": router.tenant, "snat": router.snat, "addresses": addresses, "routes": routes}
        case "external_network":
            external = topology.external_networks[node.name]
            return {"vlan": external.vlan, "cidrs": [str(cidr) for cidr in external.cidrs]}
        case "floating_ip":
            floating = topology.floating_ips[node.name]
            return {"tenant": floating.tenant, "address": str(floating.address), "fixed": str(floating.fixed)}
        case _:
            return {}
