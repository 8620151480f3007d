"""Ways out of the fabric: which host leads which router and which floating IP to their external network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from controller.graph.queries import (
    attachers,
    external_network,
    floating_ip,
    floating_ips_in,
    found_on,
    gateways,
    is_programmed,
    members,
    network,
    physical_network,
    port,
    router,
    router_of,
    router_of_space,
    routers_in,
    routes_via,
    spaces_on,
    tenants,
)
from controller.memo import Memo, query
from controller.model.entities import Address, Prefix


class Outer(NamedTuple):
    """An address of ours on an external network, and the router or floating IP whose MAC (`outer_mac`) has it."""

    address: Address
    owner: str


@query
def own_host(memo: Memo, floating_name: str) -> str | None:
    """Return the host of a floating IP's port, if it is wired to the external network: it translates there; else None."""
    found = floating_ip(memo, floating_name)
    entity = None if found is None else port(memo, found.port)
    outer = None if found is None else external_network(memo, found.external)
    if entity is None or outer is None:
        return None
    where = entity.host or found_on(memo, entity.name)
    carrier = physical_network(memo, outer.physical_network)
    is_wired = where is not None and carrier is not None and where in carrier.hosts
    return where if where is not None and is_wired and is_programmed(memo, where) else None


@query
def floating_of(memo: Memo, tenant: str) -> Mapping[str, tuple[str, ...]]:
    """Return router -> the floating IPs of a tenant that it leads to."""
    found: dict[str, list[str]] = {}
    for name in floating_ips_in(memo, tenant) or ():
        each = floating_ip(memo, name)
        if each is not None:
            found.setdefault(each.router, []).append(name)
    return {name: tuple(names) for name, names in found.items()}


@query
def floating_of_router(memo: Memo, router_name: str) -> tuple[str, ...]:
    """Return the floating IPs that a router leads to: its tenant's, and those of tenants with ports in its shared networks."""
    found = router(memo, router_name)
    if found is None:
        return ()
    owners = dict.fromkeys([found.tenant, *(each for name in found.networks for each in attachers(memo, name))])
    return tuple(name for tenant in owners for name in floating_of(memo, tenant).get(router_name, ()))


@query
def translated_on(memo: Memo, host_name: str, router_name: str) -> tuple[str, ...]:
    """Return the floating IPs of a router that a host translates: those of its own ports, and as gateway those of hosts without wire."""
    is_gateway = host_name in gateways(memo, router_name)
    owners = ((name, own_host(memo, name)) for name in floating_of_router(memo, router_name))
    return tuple(name for name, where in owners if where == host_name or (where is None and is_gateway))


@query
def routers_on(memo: Memo, host_name: str) -> tuple[str, ...]:
    """Return the routers that a host knows and that lead out, in name order."""
    found = (router_of_space(space) for space in spaces_on(memo, host_name))
    known = (router(memo, name) for name in found if name is not None)
    return tuple(sorted(each.name for each in known if each is not None and each.external is not None))


@query
def is_outside(memo: Memo, host_name: str, router_name: str) -> bool:
    """Return whether a host itself has a part of a router on the external network."""
    return host_name in gateways(memo, router_name) or bool(translated_on(memo, host_name, router_name))


@query
def externals_on(memo: Memo, host_name: str) -> tuple[str, ...]:
    """Return the external networks that a host must know, in name order."""
    names = (name for name in routers_on(memo, host_name) if is_outside(memo, host_name, name))
    found = (router(memo, name) for name in names)
    return tuple(sorted({each.external for each in found if each is not None and each.external is not None}))


@query
def outer_in(memo: Memo, tenant: str) -> Mapping[str, tuple[Outer, ...]]:
    """Return external network -> what a tenant has there."""
    found: dict[str, list[Outer]] = {}
    for name in routers_in(memo, tenant) or ():
        each = router(memo, name)
        if each is not None and each.external is not None:
            found.setdefault(each.external, []).extend(Outer(address, name) for address in each.addresses)
    for name in floating_ips_in(memo, tenant) or ():
        floating = floating_ip(memo, name)
        if floating is not None:
            found.setdefault(floating.external, []).append(Outer(floating.address, name))
    return {name: tuple(addresses) for name, addresses in found.items()}


@query
def outer_of(memo: Memo, external: str) -> tuple[Outer, ...]:
    """Return everybody's addresses on an external network."""
    return tuple(each for tenant in tenants(memo) or () for each in outer_in(memo, tenant).get(external, ()))


@query
def inner_prefixes(memo: Memo, network_name: str) -> tuple[Prefix, ...]:
    """Return what a router has by one of its networks: the network's own prefixes, and what static routes lead to by next hops there."""
    found = network(memo, network_name)
    cidrs = () if found is None else found.cidrs
    return tuple(dict.fromkeys([*cidrs, *(route.to for route in routes_via(memo, network_name))]))


@query
def allowed_prefixes(memo: Memo, network_name: str) -> tuple[Prefix, ...]:
    """Return what ports of a network may use besides the network's own prefixes. Who may use every address names nobody."""
    found = network(memo, network_name)
    allowed = dict.fromkeys(each.ip for entity, _ in members(memo, network_name) for each in entity.allowed)
    own = () if found is None else found.cidrs
    return tuple(each for each in allowed if each.prefixlen and not any(is_within(each, prefix) for prefix in own))


@query
def outer_prefixes(memo: Memo, router_name: str) -> tuple[Prefix, ...]:
    """Return what a router leads to by its external network, besides everything: the prefixes there, and those of routes by it."""
    found = router(memo, router_name)
    outer = None if found is None or found.external is None else external_network(memo, found.external)
    if found is None or outer is None:
        return ()
    routes = (each.to for each in found.routes if any(each.via in cidr for cidr in outer.cidrs))
    return tuple(dict.fromkeys([*outer.cidrs, *routes]))


@query
def tunnel_mtu(memo: Memo, network_name: str) -> int | None:
    """Return the longest packet that fits a network's tunnels, None where it has none."""
    found = network(memo, network_name)
    return found.mtu if found is not None and found.type.is_tunnel else None


@query
def tunnels_mtu(memo: Memo, router_name: str) -> int | None:
    """Return the longest packet that fits the tunnels of all networks of a router, None where they have none."""
    found = router(memo, router_name)
    longest = (tunnel_mtu(memo, name) for name in (() if found is None else found.networks))
    return min((each for each in longest if each is not None), default=None)


@query
def _largest_mtu(memo: Memo, router_name: str) -> int:
    found = router(memo, router_name)
    networks = (network(memo, name) for name in (() if found is None else found.networks))
    return max((each.mtu for each in networks if each is not None), default=0)


@query
def entry_mtu(memo: Memo, network_name: str) -> int | None:
    """Return the longest packet that a router may pass into a network; None where no network of the router has longer ones."""
    found, router_name = network(memo, network_name), router_of(memo, network_name)
    if found is None or router_name is None or found.mtu >= _largest_mtu(memo, router_name):
        return None
    return found.mtu


def is_within(prefix: Prefix, other: Prefix) -> bool:
    """Return whether all addresses of a prefix are in another one."""
    return prefix.version == other.version and prefix.prefixlen >= other.prefixlen and prefix.network_address in other
