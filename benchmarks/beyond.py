"""A small fabric with routers, for the data plane: two networks on two hosts, and two further hosts that lead out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.workload import Document, Size, generate

_SIZE = Size(hosts=4, tenants=1, networks_per_tenant=2, ports_per_network=8, rules_per_group=20)
_WORKERS = 2  # The first hosts; the others have no ports and are gateways.
_EXTERNAL = "public"

Port = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Routed:
    """Who talks to whom. The server is of `web`, everybody else of `app`; neighbours are on its network, the others across the router."""

    server: Port
    neighbour: Port
    far_neighbour: Port
    routed: Port
    far_routed: Port


def routed() -> Document:
    """Return a tenant with a router between its two networks, which leads out by either of two gateways."""
    document = generate(_SIZE)
    for number, port in enumerate(document["ports"]):
        port["host"] = f"host{number // 2 % _WORKERS + 1}"
    gateways = document["hosts"][_WORKERS:]
    for host in gateways:
        host["gateway"] = True
    tenant = document["ports"][0]["tenant"]
    networks = [network["name"] for network in document["networks"]]
    wired = f"[{', '.join(host['name'] for host in gateways)}]"
    return document | {
        "physical_networks": [{"name": "wire", "hosts": wired}],
        "external_networks": [
            {
                "name": _EXTERNAL,
                "physical_network": "wire",
                "cidr": "203.0.113.0/24",
                "gateway": "203.0.113.1",
                "pool": "203.0.113.10-203.0.113.99",
            }
        ],
        "routers": [{"name": f"{tenant}-main", "tenant": tenant, "networks": networks, "external": _EXTERNAL}],
    }


def cast(document: Document) -> Routed:
    """Return the ports of `routed` by what they do."""
    first, second = document["ports"][:8], document["ports"][8:]
    return Routed(server=first[0], neighbour=first[1], far_neighbour=first[3], routed=second[1], far_routed=second[3])
