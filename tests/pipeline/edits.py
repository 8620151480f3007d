"""Random edits of a fabric's files: each takes three numbers, which say of whom, what and how."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.pipeline.documents import (
    FLOATING,
    FURTHER,
    GROUPS,
    HOSTS,
    KINDS,
    MAC,
    NETWORKS,
    OUTSIDE,
    OWN_HOST,
    PORTS,
    ROUTERS,
    ROUTES,
    RULES,
    TENANTS,
    Document,
    Entry,
    Tenant,
    start,
)

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
def tell_addresses(document: Document, who: int, what: int, how: int) -> None:
    entry = _one(_tenant(document, who).networks.values(), what)
    if entry and entry.get("cidr"):
        entry["dhcp"] = bool(how % 2)


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
def put_router(document: Document, who: int, what: int, how: int) -> None:
    tenant = _tenant(document, who)
    entry: Entry = {"networks": [name for place, name in enumerate(tenant.networks) if how >> place & 1]}
    if how // 16 % 4:
        entry["external"] = _one(document.outside, what // 2) or "public"
        entry["snat"] = bool(how // 64 % 4)
    entry["routes"] = [route for place, route in enumerate(ROUTES) if what // 8 >> place & 1]
    tenant.routers[_one(ROUTERS, what)] = entry


@edit
def join_or_part(document: Document, who: int, what: int, how: int) -> None:
    tenant = _tenant(document, who)
    entry, name = _one(tenant.routers.values(), what), _one(tenant.networks, how)
    if entry is not None and name is not None:
        joined = entry["networks"]
        entry["networks"] = [each for each in joined if each != name] if name in joined else [*joined, name]


@edit
def change_routes(document: Document, who: int, what: int, how: int) -> None:
    entry = _one(_tenant(document, who).routers.values(), what)
    if entry is not None:
        entry["routes"] = [route for place, route in enumerate(ROUTES) if how >> place & 1]


@edit
def remove_router(document: Document, who: int, what: int, how: int) -> None:
    tenant = _tenant(document, who)
    tenant.routers.pop(_one(tenant.routers, what), None)
    if how % 4:
        tenant.floating = {}


@edit
def put_or_remove_floating(document: Document, who: int, what: int, how: int) -> None:
    tenant = _tenant(document, who)
    address = _one(FLOATING, how)
    if tenant.floating.pop(address, None) is None and tenant.ports:
        tenant.floating[address] = {"port": _one(tenant.ports, what)}


@edit
def change_outside(document: Document, _who: int, what: int, how: int) -> None:
    name = ("public", "other")[what % 4 == 0]
    if document.outside.pop(name, None) is None or how % 4:
        document.outside[name] = _one(OUTSIDE, how // 4)


@edit
def change_gateways(document: Document, _who: int, what: int, how: int) -> None:
    entry = document.hosts.get(_one(document.hosts, what) or "")
    if entry is not None and entry.get("kind") is None:
        entry["gateway"] = bool(how % 2)


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
        document.tenants[name] = start()[name]
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
    name = _one([*tenant.networks, *tenant.ports, *tenant.groups, *tenant.routers, *tenant.floating], what)
    tenant.blank[name] = how % 3


@edit
def tear_or_mend(document: Document, _who: int, _what: int, _how: int) -> None:
    document.is_torn = not document.is_torn
