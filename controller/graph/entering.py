"""How a topology becomes the inputs that everything is asked of (`controller.graph.queries`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from controller.graph.queries import (
    address_group,
    connections,
    external_network,
    floating_ip,
    floating_ips_in,
    group,
    groups_in,
    host,
    hosts,
    network,
    networks_in,
    part,
    physical_network,
    physical_networks,
    port,
    ports_in,
    router,
    routers_in,
    tenants,
)
from controller.memo import Input, Memo
from controller.model.entities import Topology


def enter(memo: Memo, topology: Topology, before: Topology | None, changed: Collection[str] | None = None) -> None:
    """Set the inputs to a topology where `before` was; only the `changed` tenants differ (None: anything may)."""
    if changed is None:
        _exchange(memo, host, before.hosts if before else {}, topology.hosts)
        old_physical = before.physical_networks if before else {}
        _exchange(memo, physical_network, old_physical, topology.physical_networks)
        old_external = before.external_networks if before else {}
        _exchange(memo, external_network, old_external, topology.external_networks)
        memo.set(hosts, (), tuple(topology.hosts))
        memo.set(physical_networks, (), tuple(topology.physical_networks))
        memo.set(tenants, (), tuple(topology.tenants))
    # Whatever differs is looked at by tenant: the whole is never walked for the change of a part.
    everyone = (
        changed if changed is not None else dict.fromkeys([*(before.tenants if before else ()), *topology.tenants])
    )
    for name in everyone:
        for kind, section in (
            *((network, "networks"), (group, "groups"), (port, "ports")),
            *((address_group, "address_groups"), (router, "routers"), (floating_ip, "floating_ips")),
        ):
            _exchange(memo, kind, part(before, section, name), part(topology, section, name))
        memo.set(networks_in, (name,), tuple(part(topology, "networks", name)) or None)
        memo.set(ports_in, (name,), tuple(part(topology, "ports", name).values()) or None)
        memo.set(routers_in, (name,), tuple(part(topology, "routers", name)) or None)
        memo.set(floating_ips_in, (name,), tuple(part(topology, "floating_ips", name)) or None)
        memo.set(groups_in, (name,), tuple(part(topology, "groups", name)) or None)
        granted = topology.tenants.get(name)
        memo.set(connections, (name,), None if granted is None else granted.connections)


def _exchange(memo: Memo, kind: Input[Any], old: Mapping[str, object], new: Mapping[str, object]) -> None:
    for name in old.keys() - new.keys():
        memo.set(kind, (name,), None)
    for name, each in new.items():
        if old.get(name) is not each:
            memo.set(kind, (name,), each)
