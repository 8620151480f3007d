"""Which MAC has which address of a network, as far as the files say: for answers in its owner's place, and for routers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from controller.graph import queries
from controller.graph.neighbours import neighbour
from controller.memo import Memo, query
from controller.model.address import link_local, router_mac
from controller.model.entities import Address, Port, Prefix


class Known(NamedTuple):
    """An address, its MAC, and the port, or the router, that has it.

    `is_answered`: ARP and neighbour discovery are answered in its owner's place. `is_routed`: a router passes packets on to it.
    """

    address: Address
    mac: int
    owner: str
    is_router: bool = False
    is_answered: bool = True
    is_routed: bool = False


Spot = tuple[str, int]  # An owner and the number of an address of its.


@query
def router_addresses(memo: Memo, network: str) -> tuple[Known, ...]:
    """Return the addresses that a network's router has on it, its link-local one last where there is IPv6; none without a router."""
    found, router = queries.network(memo, network), queries.router_of(memo, network)
    if found is None or router is None:
        return ()
    own = list(found.gateways)
    if any(address.version == 6 for address in own):
        own.append(link_local(router_mac(network)))
    return tuple(Known(address, router_mac(network), router, is_router=True) for address in own)


@query
def known_addresses(memo: Memo, network: str) -> Mapping[Spot, Known]:
    """Return the addresses of a network that are answered for, or that its router passes packets on to."""
    ports = [port for port, _ in queries.members(memo, network)]
    is_routed = queries.router_of(memo, network) is not None
    # An address that several ports may use moves between them, and a port without port security may hold
    # any: both answer for themselves, so their addresses are left to be asked for on the network.
    movable = {allowed.ip for port in ports for allowed in port.allowed}
    before: Mapping[Spot, Known] = memo.previous() or {}
    found = {(each.owner, int(each.address)): each for each in router_addresses(memo, network)}
    for port in ports:
        for address in port.ips if port.port_security or is_routed else ():
            if not movable or not _is_within(address, movable):
                spot = port.name, int(address)
                now = address, port.mac, port.name, False, port.port_security, is_routed
                known = before.get(spot)
                # Nearly all addresses are what they were: the same objects are quick to compare.
                found[spot] = known if known == now else Known(*now)
    if is_routed and movable:
        found.update(((each.owner, int(each.address)), each) for each in _of_one_mac(ports, movable))
    return found


def _is_within(address: Address, prefixes: Iterable[Prefix]) -> bool:
    return any(address.version == prefix.version and address in prefix for prefix in prefixes)


def _of_one_mac(ports: Iterable[Port], movable: Iterable[Prefix]) -> list[Known]:
    """Return the addresses that ports share, or may leave to each other, with one MAC: a virtual router's (RFC 9568)."""
    claims: dict[Address, dict[int, str]] = {}
    wide = [prefix for prefix in movable if prefix.prefixlen < prefix.max_prefixlen]
    for port in ports:
        for allowed in port.allowed:
            if allowed.ip.prefixlen == allowed.ip.max_prefixlen:
                mac = port.mac if allowed.mac is None else allowed.mac
                claims.setdefault(allowed.ip.network_address, {}).setdefault(mac, port.name)
        for address in port.ips:
            if _is_within(address, movable):
                claims.setdefault(address, {}).setdefault(port.mac, port.name)
    return [
        Known(address, *next(iter(macs.items())), is_answered=False, is_routed=True)
        for address, macs in claims.items()
        if len(macs) == 1 and not _is_within(address, wide)
    ]


@query
def has_strangers(memo: Memo, network: str) -> bool:
    """Return whether a network may have addresses of whose MACs the files do not tell: a router has to ask for them."""
    found = queries.network(memo, network)
    if found is None:
        return False
    return found.type.is_provider or any(
        port.allowed or not port.port_security for port, _ in queries.members(memo, network)
    )


@query
def next_hop(memo: Memo, network: str, address: Address) -> int | None:
    """Return the MAC that has an address of a network, None if nobody is known to have it."""
    known = known_addresses(memo, network).values()
    told = next((each.mac for each in known if each.address == address and not each.is_router), None)
    return neighbour(memo, network, address) if told is None else told


@query
def longest_prefix(memo: Memo, space: str, version: int) -> int:
    """Return the length of the longest prefix that any route in an address space has, by IP version; 0 without any."""
    networks = (queries.network(memo, name) for name in queries.networks_of_space(memo, space))
    found = [cidr for each in networks if each is not None for cidr in each.cidrs]
    name = queries.router_of_space(space)
    router = None if name is None else queries.router(memo, name)
    found += [route.to for route in router.routes] if router is not None else []
    outer = None if router is None or router.external is None else queries.external_network(memo, router.external)
    found += outer.cidrs if outer is not None else ()
    return max((prefix.prefixlen for prefix in found if prefix.version == version), default=0)
