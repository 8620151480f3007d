"""One neutral cloud network as plain data, the same that the peers were measured with.

Equal arguments give equal data on every machine and Python version: a seed decides what chance decides here. What a
workload means to Weft is `benchmarks.topology`'s business.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

Document = dict[str, list[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything a workload has."""

    hosts: int
    tenants: int
    networks_per_tenant: int
    ports_per_network: int
    rules_per_group: int

    @property
    def ports(self) -> int:
        """How many ports there are in all."""
        return self.tenants * self.networks_per_tenant * self.ports_per_network


SIZES = {
    "200": Size(hosts=4, tenants=10, networks_per_tenant=2, ports_per_network=10, rules_per_group=10),
    "1000": Size(hosts=4, tenants=50, networks_per_tenant=2, ports_per_network=10, rules_per_group=20),
    "big-tenant": Size(hosts=4, tenants=1, networks_per_tenant=1, ports_per_network=1000, rules_per_group=20),
    "10000": Size(hosts=100, tenants=500, networks_per_tenant=2, ports_per_network=10, rules_per_group=20),
}

# One host of this one has more than 100,000 flows, and it has few others.
DENSE = Size(hosts=2, tenants=650, networks_per_tenant=1, ports_per_network=4, rules_per_group=20)

# Many switches with little on each: two bridges a host, and every change is every host's business.
CROWD = Size(hosts=250, tenants=1, networks_per_tenant=1, ports_per_network=250, rules_per_group=6)

# Everybody on one host, who all want to know their addresses.
CLIENTS = Size(hosts=1, tenants=4, networks_per_tenant=1, ports_per_network=50, rules_per_group=6)


def generate(size: Size, seed: int = 1) -> Document:
    """Return hosts, networks, security groups and ports.

    Every tenant has two security groups: `web` (http, https and ping from anywhere, ssh from the tenant's `app`) and `app`
    (everything from itself, mysql from `web`, ping from anywhere), both filled up with random ranges from random prefixes. Egress
    is open. Ports alternate between the groups, and follow each other round the hosts.
    """
    chance = random.Random(seed)  # noqa: S311 - Figures that can be made again, no secrets.
    document: Document = {"hosts": _hosts(size.hosts), "networks": [], "groups": [], "ports": []}
    for number in range(size.tenants):
        tenant = f"t{number:04d}"
        for group in ("web", "app"):
            rules = _rules(chance, tenant, group, size.rules_per_group)
            document["groups"].append({"name": f"{tenant}-{group}", "tenant": tenant, "rules": rules})
        for place in range(size.networks_per_tenant):
            _add_network(document, size, tenant, place)
    return document


def _hosts(count: int) -> list[dict[str, Any]]:
    return [
        {"name": f"host{number + 1}", "tunnel_ip": f"172.31.{number // 250}.{number % 250 + 1}"}
        for number in range(count)
    ]


def _rules(chance: random.Random, tenant: str, group: str, count: int) -> list[dict[str, Any]]:
    anywhere = "0.0.0.0/0"
    rules: list[dict[str, Any]]
    if group == "web":
        rules = [
            {"protocol": "tcp", "port_min": 80, "port_max": 80, "remote_cidr": anywhere},
            {"protocol": "tcp", "port_min": 443, "port_max": 443, "remote_cidr": anywhere},
            {"protocol": "tcp", "port_min": 22, "port_max": 22, "remote_group": f"{tenant}-app"},
            {"protocol": "icmp", "remote_cidr": anywhere},
        ]
    else:
        rules = [
            {"protocol": None, "remote_group": f"{tenant}-app"},
            {"protocol": "tcp", "port_min": 3306, "port_max": 3306, "remote_group": f"{tenant}-web"},
            {"protocol": "icmp", "remote_cidr": anywhere},
        ]
    while len(rules) < count:
        # The order of the draws is part of the workload.
        low = chance.randrange(1024, 60000)
        prefix = ip_network((chance.getrandbits(32) & 0xFFFFFF00, 24))
        protocol = chance.choice(["tcp", "udp"])
        high = low + chance.randrange(0, 500)
        rules.append({"protocol": protocol, "port_min": low, "port_max": high, "remote_cidr": str(prefix)})
    return [{"direction": "ingress", **rule} for rule in rules]


def _add_network(document: Document, size: Size, tenant: str, place: int) -> None:
    prefix = ip_network((int(ip_address("10.0.0.0")) + ((place % 250) << 16), 16))
    name = f"{tenant}-net{place}"
    vni = 1000 + len(document["networks"])
    document["networks"].append(
        {"name": name, "tenant": tenant, "vni": vni, "type": "vxlan", "cidr": str(prefix)},
    )
    for member in range(size.ports_per_network):
        number = len(document["ports"])
        document["ports"].append(
            {
                "name": f"p{number:06d}",
                "tenant": tenant,
                "network": name,
                "mac": f"fa:16:3e:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}",
                "ip": str(prefix[10 + member]),
                "host": f"host{number % size.hosts + 1}",
                "groups": [f"{tenant}-{'app' if member % 2 else 'web'}"],
            }
        )
