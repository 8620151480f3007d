"""The ways out of the fabric: external networks, their gateways and the addresses that may be used there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.config.declared import Declared
from controller.config.schema_fabric import ExternalNetwork as DeclaredNetwork
from controller.config.schema_fabric import FabricFile
from controller.config.source import Reporter, Spot
from controller.config.subnets import IPV6_MIN_MTU, first_host, is_reserved
from controller.model.entities import Address, ExternalNetwork, PhysicalNetwork, Prefix

Span = tuple[Address, Address]  # The first and the last address of a range.

SECTION = "external_networks"


def build_external_networks(
    declared: Declared[FabricFile], physical_networks: Mapping[str, PhysicalNetwork], reporter: Reporter
) -> dict[str, ExternalNetwork]:
    """Return the external networks by name, and report what is wrong with them."""
    found: dict[str, ExternalNetwork] = {}
    wires: dict[tuple[str, int | None], str] = {}
    for name, each in declared.content.external_networks.items():
        spot = declared.spot(SECTION, name)
        _check_wire(declared, spot, name, each, physical_networks, wires, reporter)
        gateways = _gateways(spot, each, reporter)
        mtu = declared.content.mtu if each.mtu is None else each.mtu
        if mtu < IPV6_MIN_MTU and any(cidr.version == 6 for cidr in each.cidr):
            message = f"the external network's MTU is {mtu}, and IPv6 needs {IPV6_MIN_MTU}"
            reporter.report("N054", spot / ("cidr" if each.mtu is None else "mtu"), message)
        found[name] = ExternalNetwork(
            name=name,
            physical_network=each.physical_network,
            vlan=each.vlan,
            cidrs=each.cidr,
            gateways=gateways,
            pool=_pool(spot, each, gateways, reporter),
            mtu=mtu,
            place=declared.place(SECTION, name),
        )
    return found


def span_of(network: ExternalNetwork, address: Address) -> Span | None:
    """Return the range of the pool that an address lies in."""
    return next((span for span in network.pool if _holds(span, address)), None)


def _holds(span: Span, address: Address) -> bool:
    return span[0].version == address.version and int(span[0]) <= int(address) <= int(span[1])


def _check_wire(
    declared: Declared[FabricFile],
    spot: Spot,
    name: str,
    each: DeclaredNetwork,
    physical_networks: Mapping[str, PhysicalNetwork],
    wires: dict[tuple[str, int | None], str],
    reporter: Reporter,
) -> None:
    """Check that the frames of an external network are nobody else's."""
    physical_network = each.physical_network
    if physical_network not in physical_networks and not declared.hides("physical_networks", physical_network):
        home = declared.spot("physical_networks")
        reporter.unknown("physical network", spot / "physical_network", physical_network, physical_networks, home)
        return
    other = wires.setdefault((physical_network, each.vlan), name)
    if each.vlan is None:
        if other != name:
            message = f"{other} has the frames of {physical_network} that have no tag already"
            reporter.clash("N034", spot / "physical_network", message, declared.place(SECTION, other))
        return
    if other != name:
        message = f"VLAN {each.vlan} of {physical_network} is that of {other} too"
        reporter.clash("N032", spot / "vlan", message, declared.spot(SECTION, other, "vlan"))
    for tenant, grants in declared.content.tenants.items():
        for number, vlans in enumerate(grants.vlans.get(physical_network, ())):
            if each.vlan in vlans:
                message = f"VLAN {each.vlan} of {physical_network} is granted to {tenant}"
                granted = declared.spot("tenants", tenant, "vlans", physical_network, number)
                reporter.clash("N041", spot / "vlan", message, granted)


def _gateways(spot: Spot, each: DeclaredNetwork, reporter: Reporter) -> tuple[Address, ...]:
    """Return the gateways, and report prefixes that overlap and gateways that cannot be."""
    for number, cidr in enumerate(each.cidr):
        for earlier in range(number):
            if cidr.overlaps(each.cidr[earlier]):
                message = f"{cidr} overlaps {each.cidr[earlier]}"
                reporter.clash("N053", spot / "cidr" / number, message, spot / "cidr" / earlier)
    given: dict[int, Address] = {}
    for number, gateway in enumerate(each.gateway):
        where = spot / "gateway" / number
        home = next((cidr for cidr in each.cidr if gateway in cidr), None)
        if home is None:
            reporter.report("N050", where, f"the gateway {gateway} lies outside of {', '.join(map(str, each.cidr))}")
        elif is_reserved(home, gateway):
            reporter.report("N051", where, f"{gateway} stands for the subnet {home} itself")
        elif gateway.version in given:
            message = f"IPv{gateway.version} has the gateway {given[gateway.version]} already"
            reporter.report("N026", where, message)
        else:
            given[gateway.version] = gateway
    return tuple(given.values())


def _pool(spot: Spot, each: DeclaredNetwork, gateways: tuple[Address, ...], reporter: Reporter) -> tuple[Span, ...]:
    """Return the ranges that may be used; a prefix in which none is given is used whole."""
    given: list[tuple[int, Span]] = []
    used: set[Prefix] = set()
    for number, span in enumerate(each.pool):
        where = spot / "pool" / number
        home = next((cidr for cidr in each.cidr if span[0] in cidr), None)
        if home is None or span[1] not in home:
            cidrs = ", ".join(map(str, each.cidr))
            reporter.report("N050", where, f"the pool does not lie inside one prefix of {cidrs}")
            continue
        reserved = next((address for address in span if is_reserved(home, address)), None)
        if reserved is not None:
            reporter.report("N051", where, f"{reserved} stands for the subnet {home} itself")
        gateway = next((address for address in gateways if _holds(span, address)), None)
        if gateway is not None:
            message = f"the pool holds {gateway}, the gateway"
            reporter.report("N051", where, message, "write the ranges before and after it")
        for earlier, other in given:
            if _holds(span, other[0]) or _holds(other, span[0]):
                message = f"{text_of(span)} and {text_of(other)} overlap"
                reporter.clash("N053", where, message, spot / "pool" / earlier)
        given.append((number, span))
        used.add(home)
    rest = (span for cidr in each.cidr if cidr not in used for span in _whole(cidr, gateways))
    return (*(span for _, span in given), *rest)


def _whole(cidr: Prefix, gateways: tuple[Address, ...]) -> Iterator[Span]:
    """Return all host addresses of a prefix but the gateway."""
    first, last = first_host(cidr), cidr.broadcast_address
    if is_reserved(cidr, last):
        last -= 1
    gateway = next((address for address in gateways if address in cidr), None)
    if gateway is None:
        yield first, last
        return
    if int(gateway) > int(first):
        yield first, gateway - 1
    if int(gateway) < int(last):
        yield gateway + 1, last


def text_of(span: Span) -> str:
    """Return a range as the files write it."""
    return str(span[0]) if span[0] == span[1] else f"{span[0]}-{span[1]}"
