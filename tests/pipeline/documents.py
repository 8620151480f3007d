"""A fabric's files as data that random edits change (`tests.pipeline.edits`), and as the YAML that tenants write, one entity a line.

Names, addresses and hosts are few, so that edits meet: what one removes another still uses, two ports want one address, a number of a
network that has gone is taken by the next. Much of what comes out is refused, as in life.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Entry = dict[str, Any]

HOSTS = ("hv1", "hv2", "hv3", "rack9")
TENANTS = ("red", "blue")
GROUPS = ("web", "ops", "db")
NETWORKS = ("a", "b", "c", "d")
PORTS = tuple(f"p{number}" for number in range(7))
MAC = "02:00:00:00:00:aa"
FURTHER: tuple[Entry, ...] = (
    {"ip": "10.0.1.200"},
    {"ip": "10.0.1.200", "mac": MAC},
    {"ip": "10.0.1.192/26"},
    {"ip": "10.0.1.11"},
    {"ip": "fd00::5", "mac": MAC},
    {"ip": "10.0.1.12", "mac": "02:00:00:00:00:bb"},
)
RULES: tuple[Entry, ...] = (
    {},
    {"protocol": "tcp", "ports": [80, 443]},
    {"protocol": "tcp", "ports": "1000-1999", "from": {"group": "web"}},
    {"protocol": "tcp", "ports": "1000-1999", "from": [{"group": "ops"}, {"group": "web"}]},
    {"protocol": "tcp", "ports": [22, "1000-1010"], "from": [{"cidr": "10.0.1.0/26"}, {"cidr": "10.0.3.0/24"}]},
    {"protocol": "udp", "from": {"group": "db"}},
    {"from": {"group": "default"}},
    {"protocol": "icmp", "type": 8},
    {"ethertype": "ipv6", "protocol": "tcp"},
    {"protocol": "tcp", "ports": 443},
)
KINDS: tuple[Entry, ...] = (
    {},
    {"cidr": "10.0.1.0/24"},
    {"cidr": ["10.0.1.0/24", "fd00::/64"]},
    {"type": "geneve", "cidr": "10.0.1.0/24"},
    {"type": "local", "cidr": "10.0.1.0/24"},
    {"type": "vlan", "physical_network": "phys1", "cidr": "10.0.1.0/24"},
    {"type": "flat", "physical_network": "phys2"},
    {"cidr": "10.0.2.0/24"},
    {"type": "vlan", "physical_network": "phys1", "cidr": "10.0.3.0/24"},
    {"cidr": ["10.0.4.0/24", "fd00:4::/64"], "ipv6": "slaac"},
)
ROUTERS = ("r1", "r2")
FLOATING = tuple(f"192.0.2.{number}" for number in range(5, 9))
ROUTES: tuple[Entry, ...] = (
    {"to": "172.16.0.0/16", "via": "10.0.1.77"},
    {"to": "172.16.0.0/16", "via": "10.0.1.11"},
    {"to": "172.17.0.0/16", "via": "10.0.2.9"},
    {"to": "172.18.0.0/16", "via": "192.0.2.14"},
)
OUTSIDE: tuple[Entry, ...] = (
    {"physical_network": "phys1", "vlan": 150, "cidr": "192.0.2.0/28"},
    {"physical_network": "phys1", "vlan": 151, "cidr": ["192.0.2.0/28", "2001:db8::/64"], "gateway": "192.0.2.14"},
    {"physical_network": "phys2", "cidr": "192.0.2.0/28"},
)
# Who may be heard: on an external network, on a network of a router, and an upstream gateway.
STRANGERS = (("public", "192.0.2.13"), ("public", "192.0.2.14"), ("red/a", "10.0.1.77"), ("red/b", "10.0.2.9"))
OWN_HOST: tuple[Entry, ...] = (
    {},
    {"local_vlans": "1-2"},
    {"local_vlans": "2-4"},
    {"bridges": {"int": "br-x"}},
    {"id": 77},
    {"kind": "vtep"},
    {"gateway": True},
    {"gateway": True, "id": 78},
)


@dataclass
class Tenant:
    """One tenant's file; `blank` lines stand before an entity of that name."""

    networks: dict[str, Entry] = field(default_factory=dict)
    groups: dict[str, list[Entry]] = field(default_factory=dict)
    ports: dict[str, Entry] = field(default_factory=dict)
    routers: dict[str, Entry] = field(default_factory=dict)
    floating: dict[str, Entry] = field(default_factory=dict)
    blank: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        sections = {"networks": self.networks, "ports": self.ports, "routers": self.routers}
        for section, entries in (sections | {"floating_ips": self.floating}).items():
            yield f"{section}:" if entries else f"{section}: {{}}"
            for name, entry in entries.items():
                yield from ["# A line more."] * self.blank.get(name, 0)
                yield f"  {name}: {json.dumps(entry)}"
        yield "security_groups:" if self.groups else "security_groups: {}"
        for name, rules in self.groups.items():
            yield from [""] * self.blank.get(name, 0)
            yield f"  {name}:"
            yield "    ingress:" if rules else "    ingress: []"
            for rule in rules:
                yield f"      - {json.dumps(rule)}"


def start() -> dict[str, Tenant]:
    red = Tenant(
        networks={
            "a": {"cidr": "10.0.1.0/24", "share": ["blue"]},
            "b": {"cidr": "10.0.1.0/24"},
            "c": {"cidr": "10.0.2.0/24"},
        },
        groups={"web": [RULES[1], RULES[2]], "ops": [RULES[0]]},
        ports={
            "p0": {"network": "a", "host": "hv1", "security_groups": ["web"]},
            "p1": {"network": "a", "host": "hv2", "security_groups": ["web", "ops"]},
            "p2": {"network": "b", "security_groups": ["ops"]},
            "p3": {"network": "c", "host": "hv2"},
        },
        routers={"r1": {"networks": ["a", "c"], "external": "public"}},
        floating={FLOATING[0]: {"port": "p1"}},
    )
    blue = Tenant(ports={"p0": {"network": "red/a"}})
    return {"red": red, "blue": blue}


@dataclass
class Document:
    """All files of a fabric."""

    hosts: dict[str, Entry] = field(default_factory=lambda: {name: {"gateway": True} for name in HOSTS[:2]})
    addresses: dict[str, int] = field(default_factory=lambda: {name: place for place, name in enumerate(HOSTS, 1)})
    wires: dict[str, list[str]] = field(default_factory=lambda: {"phys1": ["hv1", "hv2"]})
    outside: dict[str, Entry] = field(default_factory=lambda: {"public": OUTSIDE[0]})
    tenants: dict[str, Tenant] = field(default_factory=start)
    connections: dict[str, int] = field(default_factory=dict)  # Tenant -> how many an address space may have on a host.
    is_torn: bool = False  # The first tenant's file ends in the middle.

    def copy(self) -> Document:
        return deepcopy(self)

    def files(self) -> dict[str, str]:
        found = {f"tenants/{name}.yaml": tenant.text() for name, tenant in self.tenants.items()}
        if self.is_torn and found:
            first = next(iter(found))
            found[first] += "ports: {p0: {netw"
        return {"fabric.yaml": "\n".join(self._fabric()) + "\n"} | found

    def write(self, folder: Path, before: Document | None) -> set[Path]:
        """Write the files that differ from another state of them; return their paths."""
        (folder / "tenants").mkdir(exist_ok=True)
        old, new = before.files() if before else {}, self.files()
        for name in old.keys() - new.keys():
            (folder / name).unlink()
        for name, text in new.items():
            if old.get(name) != text:
                (folder / name).write_text(text)
        return {folder / name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}

    def _fabric(self) -> Iterator[str]:
        yield "fabric: test"
        yield "hosts:" if self.hosts else "hosts: {}"
        for name, entry in self.hosts.items():
            yield f"  {name}: {json.dumps({'tunnel_ip': f'172.31.0.{self.addresses[name]}'} | entry)}"
        yield "physical_networks:" if self.wires else "physical_networks: {}"
        for name, hosts in self.wires.items():
            yield f"  {name}: {json.dumps({'hosts': hosts, 'vlans': '100-199'})}"
        yield "external_networks:" if self.outside else "external_networks: {}"
        for name, entry in self.outside.items():
            yield f"  {name}: {json.dumps(entry)}"
        yield "tenants:" if self.tenants else "tenants: {}"
        for name in self.tenants:
            place = TENANTS.index(name)
            vlans = dict.fromkeys(self.wires, f"{110 + 10 * place}-{113 + 10 * place}")
            grants: Entry = {"segments": f"{1000 + 100 * place}-{1004 + 100 * place}", "vlans": vlans}
            if name in self.connections:
                grants["connections"] = self.connections[name]
            yield f"  {name}: {json.dumps(grants)}"
