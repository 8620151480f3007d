"""What is asked of a topology with its ports placed on hosts, each answer kept until something that it was made from changes.

Inputs come first: the entities by name, what belongs to a tenant, and where ports without a host are. The queries go from a tenant's
part to what a network, an address space or a host must know, so that a tenant's edit costs that tenant.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Any

from controller.memo import Input, Memo, query
from controller.model.entities import (
    Address,
    AddressGroup,
    ExternalNetwork,
    FloatingIp,
    Host,
    HostKind,
    Network,
    NetworkType,
    PhysicalNetwork,
    Place,
    Port,
    Prefix,
    Route,
    Router,
    SecurityGroup,
    Topology,
)
from controller.model.ids import key
from controller.model.mapping import ByTenant

host: Input[Host | None] = Input("host")
hosts: Input[tuple[str, ...] | None] = Input("hosts")
physical_network: Input[PhysicalNetwork | None] = Input("physical network")
physical_networks: Input[tuple[str, ...] | None] = Input("physical networks")
tenants: Input[tuple[str, ...] | None] = Input("tenants")
network: Input[Network | None] = Input("network")
group: Input[SecurityGroup | None] = Input("group")
address_group: Input[AddressGroup | None] = Input("address group")
port: Input[Port | None] = Input("port")
router: Input[Router | None] = Input("router")
floating_ip: Input[FloatingIp | None] = Input("floating IP")
external_network: Input[ExternalNetwork | None] = Input("external network")
networks_in: Input[tuple[str, ...] | None] = Input("networks of a tenant")
ports_in: Input[tuple[Port, ...] | None] = Input("ports of a tenant")
groups_in: Input[tuple[str, ...] | None] = Input("groups of a tenant")
routers_in: Input[tuple[str, ...] | None] = Input("routers of a tenant")
floating_ips_in: Input[tuple[str, ...] | None] = Input("floating IPs of a tenant")
connections: Input[int | None] = Input("connections of a tenant in one address space on one host")
found_on: Input[str | None] = Input("the host of a port without host")
drained: Input[bool | None] = Input("whether a host leads out only if nobody else can")

_PROXIES = 2  # Hosts that pass on what others have for a network that they are not wired to: one, and one in reserve.

Placed = Mapping[str, tuple[tuple[Port, str], ...]]


def part(topology: Topology | None, section: str, tenant: str) -> Mapping[str, Any]:
    """Return a tenant's share of the networks, groups or ports of a topology."""
    whole: Mapping[str, Any] = {} if topology is None else getattr(topology, section)
    if isinstance(whole, ByTenant):
        return whole.part(tenant)
    prefix = f"{tenant}/"
    return {name: each for name, each in whole.items() if name.startswith(prefix)}


@query
def is_carried(memo: Memo, host_name: str, network_name: str) -> bool:
    """Whether frames of the network can reach the host at all."""
    wanted = network(memo, network_name)
    if wanted is None or host(memo, host_name) is None:
        return False
    if wanted.physical_network is None:
        return True
    carrier = physical_network(memo, wanted.physical_network)
    return carrier is not None and host_name in carrier.hosts


@query
def physical_networks_of(memo: Memo, host_name: str) -> tuple[str, ...]:
    """Return the physical networks that a host is wired to."""
    found = ((name, physical_network(memo, name)) for name in physical_networks(memo) or ())
    return tuple(name for name, physical in found if physical is not None and host_name in physical.hosts)


@query
def placed(memo: Memo, tenant: str) -> Placed:
    """Return network -> the tenant's ports that are on a host, each with its host. A port that is nowhere takes part in nothing."""
    found: dict[str, list[tuple[Port, str]]] = {}
    ways: dict[tuple[str, str], bool] = {}
    for each in ports_in(memo, tenant) or ():
        where = each.host or found_on(memo, each.parent or each.name)
        if where is None:
            continue
        way = where, each.network
        if way not in ways:
            ways[way] = is_carried(memo, *way)
        if ways[way]:
            found.setdefault(each.network, []).append((each, where))
    return {name: tuple(ports) for name, ports in found.items()}


@query
def attachers(memo: Memo, network_name: str) -> tuple[str, ...]:
    """Return the tenants that may attach ports to a network, its owner first."""
    wanted = network(memo, network_name)
    return () if wanted is None else (wanted.tenant, *wanted.share)


@query
def members(memo: Memo, network_name: str) -> tuple[tuple[Port, str], ...]:
    """Return the placed ports of a network, each with its host."""
    return tuple(
        each for tenant in attachers(memo, network_name) for each in placed(memo, tenant).get(network_name, ())
    )


@query
def members_by_host(memo: Memo, network_name: str) -> Mapping[str, tuple[Port, ...]]:
    """Return host -> the ports of a network that are there."""
    found: dict[str, list[Port]] = {}
    for each, where in members(memo, network_name):
        found.setdefault(where, []).append(each)
    return {where: tuple(ports) for where, ports in found.items()}


@query
def hosts_of(memo: Memo, network_name: str) -> tuple[str, ...]:
    """Return the hosts with a port of a network, in name order."""
    return tuple(sorted(members_by_host(memo, network_name)))


@query
def peers(memo: Memo, host_name: str, network_name: str) -> tuple[str, ...]:
    """Return the other hosts that have the network: who gets a copy of what this host floods."""
    return tuple(other for other in hosts_of(memo, network_name) if other != host_name)


@query
def ports_on(memo: Memo, host_name: str, network_name: str) -> tuple[Port, ...]:
    """Return the ports of a network that are on a host."""
    return members_by_host(memo, network_name).get(host_name, ())


@query
def routers_by_network(memo: Memo, tenant: str) -> Mapping[str, str]:
    """Return network -> the router that it is on, for a tenant's networks that are on one."""
    found = (router(memo, name) for name in routers_in(memo, tenant) or ())
    return {name: each.name for each in found if each is not None for name in each.networks}


@query
def router_of(memo: Memo, network_name: str) -> str | None:
    """Return the name of the router that a network is on.

    A router of many networks is looked at by all of them: so each looks at no more of it than it needs.
    """
    wanted = network(memo, network_name)
    return None if wanted is None else routers_by_network(memo, wanted.tenant).get(network_name)


@query
def router_place(memo: Memo, router_name: str) -> Place | None:
    """Return where in the files a router stands."""
    found = router(memo, router_name)
    return None if found is None else found.place


@query
def external_of(memo: Memo, router_name: str) -> str | None:
    """Return the external network by which a router leads out."""
    found = router(memo, router_name)
    return None if found is None else found.external


@query
def routes_of(memo: Memo, router_name: str) -> Mapping[Prefix, tuple[Route, ...]]:
    """Return where a router's static routes lead -> those routes, which share the flows between them."""
    found, by_target = router(memo, router_name), dict[Prefix, list[Route]]()
    for each in () if found is None else found.routes:
        by_target.setdefault(each.to, []).append(each)
    return {to: tuple(routes) for to, routes in by_target.items()}


@query
def routes_via(memo: Memo, network_name: str) -> tuple[Route, ...]:
    """Return the static routes whose next hops are on a network."""
    wanted, name = network(memo, network_name), router_of(memo, network_name)
    if wanted is None or name is None:
        return ()
    known = (each for routes in routes_of(memo, name).values() for each in routes)
    return tuple(each for each in known if any(each.via in cidr for cidr in wanted.cidrs))


_ROUTED = "@"  # Begins the name of a space that a router makes; no name of the files does.


def space_name(router_name: str) -> str:
    """Return the name of the address space of a router's networks.

    It is the router's and none of the networks', so that it stays while networks come and go.

    >>> space_name("red/main")
    'red/@main'
    """
    tenant, _, name = router_name.partition("/")
    return f"{tenant}/{_ROUTED}{name}"


def router_of_space(space: str) -> str | None:
    """Return the name of the router that makes an address space, None for a network without router.

    >>> router_of_space("red/@main"), router_of_space("red/main")
    ('red/main', None)
    """
    tenant, _, name = space.partition("/")
    return f"{tenant}/{name.removeprefix(_ROUTED)}" if name.startswith(_ROUTED) else None


@query
def space_of(memo: Memo, network_name: str) -> str:
    """Return the name of a network's address space, the scope of addresses and of connection tracking: its router's, or its own."""
    name = router_of(memo, network_name)
    return network_name if name is None else space_name(name)


@query
def networks_of_space(memo: Memo, space: str) -> tuple[str, ...]:
    """Return the networks of an address space, in name order."""
    name = router_of_space(space)
    if name is None:
        return (space,) if network(memo, space) is not None else ()
    found = router(memo, name)
    return () if found is None else tuple(sorted(each for each in found.networks if network(memo, each) is not None))


@query
def spaces_in(memo: Memo, tenant: str) -> tuple[str, ...]:
    """Return the address spaces of a tenant's networks, in name order."""
    return tuple(sorted({space_of(memo, name) for name in networks_in(memo, tenant) or ()}))


@query
def gateways(memo: Memo, router_name: str) -> tuple[str, ...]:
    """Return the hosts by which a router may lead out, the one that does first.

    They are in an order of the router's own (rendezvous hashing): routers are spread, and a host that goes moves its routers alone.
    Drained hosts come last.
    """
    found = router(memo, router_name)
    outer = None if found is None or found.external is None else external_network(memo, found.external)
    carrier = None if outer is None else physical_network(memo, outer.physical_network)
    wired = ((name, host(memo, name)) for name in (() if carrier is None else carrier.hosts))
    names = [name for name, each in wired if each is not None and each.gateway and each.kind is HostKind.OVS]
    return tuple(
        sorted(names, key=lambda name: (bool(drained(memo, name)), key("gateway", f"{router_name} {name}"), name))
    )


@query
def wires_of(memo: Memo, space: str) -> Mapping[str, tuple[str, ...]]:
    """Return physical network -> the networks of an address space that are on it, in name order."""
    found: dict[str, list[str]] = {}
    for name in networks_of_space(memo, space):
        each = network(memo, name)
        if each is not None and each.physical_network is not None:
            found.setdefault(each.physical_network, []).append(name)
    return {physical: tuple(names) for physical, names in found.items()}


@query
def wired(memo: Memo, network_name: str) -> tuple[str, ...]:
    """Return the hosts of Weft that are wired to a network's physical network."""
    wanted = network(memo, network_name)
    carrier = None if wanted is None else physical_network(memo, wanted.physical_network or "")
    return () if carrier is None else tuple(name for name in carrier.hosts if is_programmed(memo, name))


@query
def beyond(memo: Memo, network_name: str) -> tuple[str, ...]:
    """Return the networks of its router to which some host with a network's ports is not wired: that hands over what is for them."""
    wanted = network(memo, network_name)
    if wanted is None or wanted.type is NetworkType.LOCAL or router_of(memo, network_name) is None:
        return ()
    senders = {name for name in hosts_of(memo, network_name) if is_programmed(memo, name)}
    carried = wires_of(memo, space_of(memo, network_name)).values()
    others = {name for names in carried if not senders.issubset(wired(memo, names[0])) for name in names}
    return tuple(sorted(others - {network_name}))


@query
def handed_over(memo: Memo, space: str) -> Mapping[str, tuple[str, ...]]:
    """Return network -> the networks of an address space from which some host hands over what is for it, in name order."""
    found: dict[str, list[str]] = {}
    for source in networks_of_space(memo, space):
        for name in beyond(memo, source):
            found.setdefault(name, []).append(source)
    return {name: tuple(sources) for name, sources in found.items()}


@query
def handing(memo: Memo, network_name: str) -> tuple[str, ...]:
    """Return the networks from which some host hands over what is for a network."""
    return handed_over(memo, space_of(memo, network_name)).get(network_name, ())


@query
def proxies(memo: Memo, network_name: str, source: str) -> tuple[str, ...]:
    """Return the hosts that pass on what hosts without a wire have for others than ports of a network, the one that does first.

    They are wired to it, and packets of the network `source` get there. Those of whose signs of life everybody knows come first.
    """
    found = [name for name in wired(memo, network_name) if is_carried(memo, name, source)]

    def place(name: str) -> tuple[bool, bool, int, str]:
        each = host(memo, name)
        is_watched = each is not None and each.gateway
        return bool(drained(memo, name)), not is_watched, key("proxy", f"{network_name} {name}"), name

    return tuple(sorted(found, key=place)[:_PROXIES])


@query
def proxies_of(memo: Memo, space: str) -> tuple[str, ...]:
    """Return the hosts that pass on what hosts without a wire have for networks of an address space."""
    ways = ((name, source) for name, sources in handed_over(memo, space).items() for source in sources)
    return tuple(sorted({where for name, source in ways for where in proxies(memo, name, source)}))


@query
def spaces_by_host(memo: Memo, tenant: str) -> Mapping[str, tuple[str, ...]]:
    """Return host -> the address spaces that it must know because of one tenant's ports, or as they lead out of them or pass on."""
    found: dict[str, set[str]] = {}
    for name, ports in placed(memo, tenant).items():
        for where in {where for _, where in ports}:
            found.setdefault(where, set()).add(space_of(memo, name))
    for name in routers_in(memo, tenant) or ():
        for where in (*gateways(memo, name), *proxies_of(memo, space_name(name))):
            found.setdefault(where, set()).add(space_name(name))
    return {where: tuple(sorted(names)) for where, names in found.items()}


@query
def spaces_here(memo: Memo, host_name: str, tenant: str) -> tuple[str, ...]:
    """Return the address spaces that a host must know because of one tenant's ports."""
    return spaces_by_host(memo, tenant).get(host_name, ())


@query
def spaces_on(memo: Memo, host_name: str) -> tuple[str, ...]:
    """Return the address spaces that a host must know, in name order."""
    return tuple(sorted({space for tenant in tenants(memo) or () for space in spaces_here(memo, host_name, tenant)}))


@query
def hosts_of_space(memo: Memo, space: str) -> tuple[str, ...]:
    """Return the hosts that have a port in an address space, lead out of it or pass on what is for it, in name order."""
    found = {where for name in networks_of_space(memo, space) for where in hosts_of(memo, name)}
    router_name = router_of_space(space)
    if router_name is not None:
        found.update(gateways(memo, router_name), proxies_of(memo, space))
    return tuple(sorted(found))


@query
def networks_on(memo: Memo, host_name: str) -> tuple[str, ...]:
    """Return the networks that a host must know, in name order: all that its ports' routers lead to, as far as it can be reached."""
    found = {name for space in spaces_on(memo, host_name) for name in networks_of_space(memo, space)}
    return tuple(sorted(name for name in found if is_carried(memo, host_name, name)))


@query
def unreached_by(memo: Memo, host_name: str) -> tuple[str, ...]:
    """Return the networks that a host's routers have and that it cannot reach, in name order."""
    found = {name for space in spaces_on(memo, host_name) for name in networks_of_space(memo, space)}
    return tuple(sorted(name for name in found if not is_carried(memo, host_name, name)))


@query
def partners(memo: Memo, host_name: str, network_name: str) -> tuple[str, ...]:
    """Return the other hosts that may send this one a network's packets: those that have a port of it, or route into it."""
    members_on = hosts_of(memo, network_name)
    found = hosts_of_space(memo, space_of(memo, network_name))
    return tuple(other for other in found if other != host_name and (other in members_on or is_programmed(memo, other)))


def is_programmed(memo: Memo, host_name: str) -> bool:
    """Return whether Weft writes this host's flows."""
    found = host(memo, host_name)
    return found is not None and found.kind is HostKind.OVS


def host_prefix(address: Address) -> Prefix:
    """Return the prefix of one address."""
    if isinstance(address, IPv4Address):
        return IPv4Network((int(address), 32))
    return IPv6Network((int(address), 128))
