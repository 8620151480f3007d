"""A fabric's files as data that random edits change, and as the YAML that tenants write, one entity a line.

Names, addresses and hosts are few, so that edits meet: what one removes another still uses, two ports want one address, a number of a
network that has gone is taken by the next. Much of what comes out is refused, as in life.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
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
)
OWN_HOST: tuple[Entry, ...] = (
    {},
    {"local_vlans": "1-2"},
    {"local_vlans": "2-4"},
    {"bridges": {"int": "br-x"}},
    {"id": 77},
    {"kind": "vtep"},
)


@dataclass
class Tenant:
    """One tenant's file; `blank` lines stand before an entity of that name."""

    networks: dict[str, Entry] = field(default_factory=dict)
    groups: dict[str, list[Entry]] = field(default_factory=dict)
    ports: dict[str, Entry] = field(default_factory=dict)
    blank: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for section, entries in (("networks", self.networks), ("ports", self.ports)):
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


def _start() -> dict[str, Tenant]:
    red = Tenant(
        networks={"a": {"cidr": "10.0.1.0/24", "share": ["blue"]}, "b": {"cidr": "10.0.1.0/24"}},
        groups={"web": [RULES[1], RULES[2]], "ops": [RULES[0]]},
        ports={
            "p0": {"network": "a", "host": "hv1", "security_groups": ["web"]},
            "p1": {"network": "a", "host": "hv2", "security_groups": ["web", "ops"]},
            "p2": {"network": "b", "security_groups": ["ops"]},
        },
    )
    blue = Tenant(ports={"p0": {"network": "red/a"}})
    return {"red": red, "blue": blue}


@dataclass
class Document:
    """All files of a fabric."""

    hosts: dict[str, Entry] = field(default_factory=lambda: {"hv1": {}, "hv2": {}})
    addresses: dict[str, int] = field(default_factory=lambda: {name: place for place, name in enumerate(HOSTS, 1)})
    wires: dict[str, list[str]] = field(default_factory=lambda: {"phys1": ["hv1", "hv2"]})
    tenants: dict[str, Tenant] = field(default_factory=_start)
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
        yield "tenants:" if self.tenants else "tenants: {}"
        for name in self.tenants:
            place = TENANTS.index(name)
            vlans = dict.fromkeys(self.wires, f"{110 + 10 * place}-{113 + 10 * place}")
            grants: Entry = {"segments": f"{1000 + 100 * place}-{1004 + 100 * place}", "vlans": vlans}
            if name in self.connections:
                grants["connections"] = self.connections[name]
            yield f"  {name}: {json.dumps(grants)}"


Edit = Callable[[Document, int, int, int], None]
EDITS: list[Edit] = []


def edit(function: Edit) -> Edit:
    EDITS.append(function)
    return function


def _tenant(document: Document, which: int) -> Tenant:
    names = list(document.tenants) or ["red"]
    return document.tenants.setdefault(names[which % len(names)], Tenant())


def _one(entries: Any, which: int) -> Any:
    """Return one of these, or of nothing None."""
    listed = list(entries)
    return listed[which % len(listed)] if listed else None


@edit
def put_port(document: Document, who: int, what: int, how: int) -> None:
    owner = ("", "", "red/")[how % 3] if who % 2 else ""
    entry: Entry = {"network": owner + _one(NETWORKS, how // 3)}
    if what % 4:
        entry["host"] = _one(HOSTS, what // 8)
    if how % 5:
        entry["security_groups"] = [name for place, name in enumerate(GROUPS) if how >> place & 1]
    _tenant(document, who).ports[_one(PORTS, what)] = entry


@edit
def remove_port(document: Document, who: int, what: int, _how: int) -> None:
    ports = _tenant(document, who).ports
    ports.pop(_one(ports, what), None)


@edit
def move_port(document: Document, who: int, what: int, how: int) -> None:
    entry = _one(_tenant(document, who).ports.values(), what)
    if entry is not None:
        entry.pop("host", None)
        if how % 4:
            entry["host"] = _one(document.hosts, how)


@edit
def open_port(document: Document, who: int, what: int, how: int) -> None:
    entry = _one(_tenant(document, who).ports.values(), what)
    if entry is not None:
        entry["port_security"] = bool(how % 2)
        if how % 2 == 0 and how % 4 == 0:
            entry.pop("security_groups", None)


@edit
def allow_addresses(document: Document, who: int, what: int, how: int) -> None:
    entry = _one(_tenant(document, who).ports.values(), what)
    if entry is not None:
        entry["allowed_addresses"] = [each for place, each in enumerate(FURTHER) if how >> place & 1]


@edit
def give_address(document: Document, who: int, what: int, how: int) -> None:
    entry = _one(_tenant(document, who).ports.values(), what)
    if entry is not None:
        entry.pop("ip", None)
        entry.pop("mac", None)
        if how % 3:
            entry["ip"] = f"10.0.1.{11 + how % 4}"
        if how % 4 == 0:
            entry["mac"] = MAC


@edit
def change_groups(document: Document, who: int, what: int, how: int) -> None:
    entry = _one(_tenant(document, who).ports.values(), what)
    if entry is not None:
        entry["security_groups"] = [name for place, name in enumerate(GROUPS) if how >> place & 1]


@edit
def change_rules(document: Document, who: int, what: int, how: int) -> None:
    rules = _tenant(document, who).groups.setdefault(_one(GROUPS, what), [])
    match how % 4:
        case 0 if rules:
            rules.pop(how // 4 % len(rules))
        case 1 if rules:
            rules[how // 4 % len(rules)] = _one(RULES, what // 4)
        case 2:
            rules.reverse()
        case _:
            rules.insert(how // 4 % (len(rules) + 1), _one(RULES, what // 4))


@edit
def remove_group(document: Document, who: int, what: int, _how: int) -> None:
    tenant = _tenant(document, who)
    name = _one(tenant.groups, what)
    tenant.groups.pop(name, None)
    for port in tenant.ports.values():
        port["security_groups"] = [each for each in port.get("security_groups", ()) if each != name]
    for group, rules in tenant.groups.items():
        tenant.groups[group] = [rule for rule in rules if f'"{name}"' not in json.dumps(rule)]


@edit
def put_network(document: Document, who: int, what: int, how: int) -> None:
    entry = dict(_one(KINDS, how))
    if how // 8 % 2:
        entry["share"] = ["blue"]
    if how // 16 % 4 == 0:
        entry["segment"] = 1000 + 100 * (who % 2) + how % 3
    _tenant(document, who).networks[_one(NETWORKS, what)] = entry


@edit
def share_network(document: Document, who: int, what: int, how: int) -> None:
    entry = _one(_tenant(document, who).networks.values(), what)
    if entry is not None:
        entry["share"] = [_one(TENANTS, who + 1)] if how % 2 else []


@edit
def remove_network(document: Document, who: int, what: int, how: int) -> None:
    tenant = _tenant(document, who)
    name = _one(tenant.networks, what)
    tenant.networks.pop(name, None)
    if how % 3:
        tenant.ports = {port: entry for port, entry in tenant.ports.items() if entry["network"] != name}


@edit
def change_wires(document: Document, _who: int, what: int, how: int) -> None:
    name = ("phys1", "phys2")[what % 2]
    document.wires.pop(name, None)
    if how % 4:
        document.wires[name] = [host for place, host in enumerate(document.hosts) if how // 4 >> place & 1]


@edit
def put_host(document: Document, _who: int, what: int, how: int) -> None:
    document.hosts[_one(HOSTS, what)] = dict(_one(OWN_HOST, how))


@edit
def remove_host(document: Document, _who: int, what: int, how: int) -> None:
    name = _one(document.hosts, what)
    document.hosts.pop(name, None)
    for wired in document.wires.values():
        wired[:] = [host for host in wired if host != name]
    if how % 4:
        for tenant in document.tenants.values():
            tenant.ports = {port: entry for port, entry in tenant.ports.items() if entry.get("host") != name}


@edit
def renumber_host(document: Document, _who: int, what: int, how: int) -> None:
    document.addresses[_one(HOSTS, what)] = 1 + how % 8


@edit
def remove_or_add_tenant(document: Document, who: int, what: int, how: int) -> None:
    name = TENANTS[who % 2]
    if document.tenants.pop(name, None) is None:
        document.tenants[name] = _start()[name]
        if what % 2 and how % 2:
            document.tenants[name].ports = {}


@edit
def limit_connections(document: Document, who: int, _what: int, how: int) -> None:
    name = TENANTS[who % 2]
    document.connections.pop(name, None)
    if how % 3:
        document.connections[name] = how % 3 * 1000


@edit
def insert_lines(document: Document, who: int, what: int, how: int) -> None:
    tenant = _tenant(document, who)
    name = _one([*tenant.networks, *tenant.ports, *tenant.groups], what)
    tenant.blank[name] = how % 3


@edit
def tear_or_mend(document: Document, _who: int, _what: int, _how: int) -> None:
    document.is_torn = not document.is_torn
