"""A tenant's routers: what they join, where they lead out, their addresses there as far as the file gives them, and their routes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from controller.config.declared import Declared
from controller.config.external import span_of, text_of
from controller.config.fabric import Fabric
from controller.config.problem import quote
from controller.config.schema import Route as DeclaredRoute
from controller.config.schema import Router as DeclaredRouter
from controller.config.schema import TenantFile
from controller.config.source import Reporter, Spot
from controller.config.subnets import is_reserved
from controller.config.suggest import listed
from controller.model.entities import Address, ExternalNetwork, Network, Prefix, Route, Router, Tenant

SECTION = "routers"
_MAX_LISTED_SPANS = 4


@dataclass(frozen=True, slots=True)
class RouterContext:
    """What the routers and floating IPs of a tenant are built from. `networks` are its own, by qualified name."""

    fabric: Fabric
    tenant: Tenant
    declared: Declared[TenantFile]
    networks: Mapping[str, Network]
    reporter: Reporter


@dataclass(frozen=True, slots=True)
class _Connected:
    """A prefix that a router reaches by itself, and who has it; `order` tells whose word came first."""

    cidr: Prefix
    owner: Network | ExternalNetwork
    gateways: tuple[Address, ...]
    order: int
    spot: Spot


class _Reach:
    """The prefixes that a router reaches by itself, found by a prefix or an address inside them."""

    def __init__(self, connected: Iterable[_Connected]) -> None:
        self.all = list(connected)
        self._known = {
            (each.cidr.version, each.cidr.prefixlen, int(each.cidr.network_address)): each for each in self.all
        }
        self._lengths = sorted({(version, length) for version, length, _ in self._known})

    def home(self, wanted: Prefix | Address) -> _Connected | None:
        """Return the prefix that another one, or an address, lies in."""
        if isinstance(wanted, IPv4Network | IPv6Network):
            start, longest = int(wanted.network_address), wanted.prefixlen
        else:
            start, longest = int(wanted), wanted.max_prefixlen
        for version, length in self._lengths:
            if version == wanted.version and length <= longest:
                shift = wanted.max_prefixlen - length
                found = self._known.get((version, length, start >> shift << shift))
                if found is not None:
                    return found
        return None


def build_routers(context: RouterContext) -> dict[str, Router]:
    """Return the tenant's routers by qualified name, with the addresses that the file gives, and report what is wrong with them."""
    joined: dict[str, Spot] = {}
    return {
        f"{context.tenant.name}/{name}": _router(context, name, each, joined)
        for name, each in context.declared.content.routers.items()
    }


def _router(context: RouterContext, name: str, each: DeclaredRouter, joined: dict[str, Spot]) -> Router:
    spot = context.declared.spot(SECTION, name)
    networks = list(_networks(context, spot, each, joined))
    external = _external(context, spot, each)
    if each.external is None:
        for key in sorted({"snat", "address"} & each.model_fields_set):
            context.reporter.report("N026", (spot / key).key, f"without an external network there is no {key}")
    reach = _Reach(_connected(spot, networks, external))
    _check_disjoint(context.reporter, reach.all)
    addresses = _addresses(context, spot, each, external)
    is_known = len(networks) == len(each.networks) and (external is None) == (each.external is None)
    return Router(
        name=f"{context.tenant.name}/{name}",
        tenant=context.tenant.name,
        networks=tuple(dict.fromkeys(network.name for _, network in networks)),
        external=each.external,
        snat=each.external is not None if each.snat is None else each.snat,
        routes=tuple(_routes(context, name, each.routes, reach if is_known else None, addresses)),
        addresses=addresses,
        place=context.declared.place(SECTION, name),
    )


def _networks(
    context: RouterContext, spot: Spot, each: DeclaredRouter, joined: dict[str, Spot]
) -> Iterator[tuple[int, Network]]:
    """Yield the networks that a router joins, each with its number in the list."""
    declared, reporter = context.declared, context.reporter
    for number, name in enumerate(each.networks):
        where = spot / "networks" / number
        network = context.networks.get(f"{context.tenant.name}/{name}")
        if network is None:
            if not declared.hides("networks", name):
                reporter.unknown("network", where, name, declared.content.networks, declared.spot("networks"))
            continue
        other = joined.setdefault(name, where)
        if other is not where:
            reporter.clash("N036", where, f"network {name} is on a router already", other)
        elif not network.cidrs:
            message = f"network {name} has no cidr, and a router needs an address there"
            reporter.report("N056", where, message, f"give it one ({network.place})")
        yield number, network


def _external(context: RouterContext, spot: Spot, each: DeclaredRouter) -> ExternalNetwork | None:
    """Return the external network that a router leads out by, and say if no host can carry what leaves."""
    fabric, reporter = context.fabric, context.reporter
    if each.external is None:
        return None
    external = fabric.external_networks.get(each.external)
    if external is None:
        if not fabric.knows("external_networks", each.external):
            home = fabric.declared.spot("external_networks")
            reporter.unknown("external network", spot / "external", each.external, fabric.external_networks, home)
        return None
    physical = fabric.physical_networks.get(external.physical_network)
    if physical is not None and external.name not in fabric.led_out:
        message = (
            f"no host with `gateway: true` carries {physical.name}, so only floating IPs lead out by {external.name}"
        )
        hint = f"hosts of {physical.name}: {listed(physical.hosts) or 'none'} ({physical.place})"
        reporter.report("W007", spot / "external", message, hint)
    return external


def _connected(
    spot: Spot, networks: Iterable[tuple[int, Network]], external: ExternalNetwork | None
) -> Iterator[_Connected]:
    if external is not None:
        for cidr in external.cidrs:
            yield _Connected(cidr, external, external.gateways, -1, spot / "external")
    for number, network in networks:
        for cidr in network.cidrs:
            yield _Connected(cidr, network, network.gateways, number, spot / "networks" / number)


def _check_disjoint(reporter: Reporter, connected: list[_Connected]) -> None:
    """Report prefixes of two networks that overlap: of two prefixes that do, one holds the other."""
    widest: _Connected | None = None
    for each in sorted(
        connected, key=lambda one: (one.cidr.version, int(one.cidr.network_address), one.cidr.prefixlen, one.order)
    ):
        if widest is None or widest.cidr.version != each.cidr.version or not each.cidr.overlaps(widest.cidr):
            widest = each
        elif each.owner is not widest.owner:
            old, new = sorted((widest, each), key=lambda one: one.order)
            message = f"{new.cidr} of {new.owner.name} overlaps {old.cidr} of {old.owner.name}"
            reporter.clash("N053", new.spot, message, old.owner.place)


def _addresses(
    context: RouterContext, spot: Spot, each: DeclaredRouter, external: ExternalNetwork | None
) -> tuple[Address, ...]:
    """Return the addresses on the external network that the file gives, in the order of the prefixes."""
    given: dict[Prefix, Address] = {}
    for number, address in enumerate(each.address if external else ()):
        where = spot / "address" / number
        cidr = check_outside(context.reporter, where, external, address) if external else None
        if cidr is None:
            continue
        if cidr in given:
            context.reporter.report("N026", where, f"the router has the address {given[cidr]} in {cidr} already")
        else:
            given[cidr] = address
    return tuple(given[cidr] for cidr in external.cidrs if cidr in given) if external else ()


def check_outside(reporter: Reporter, spot: Spot, external: ExternalNetwork, address: Address) -> Prefix | None:
    """Return the prefix of an address on an external network, None if it may not be used there, which is reported."""
    if address in external.gateways:
        reporter.clash("N051", spot, f"{address} is the gateway of {external.name}", external.place)
    elif span_of(external, address) is None:
        spans = [text_of(span) for span in external.pool[:_MAX_LISTED_SPANS]]
        more = ", …" if len(external.pool) > _MAX_LISTED_SPANS else ""
        hint = f"{', '.join(spans) or 'it is empty'}{more} ({external.place})"
        reporter.report("N047", spot, f"{address} lies outside of the pool of {external.name}", hint)
    else:
        return next((cidr for cidr in external.cidrs if address in cidr), None)
    return None


def _routes(
    context: RouterContext,
    name: str,
    routes: tuple[DeclaredRoute, ...],
    reach: _Reach | None,
    addresses: tuple[Address, ...],
) -> Iterator[Route]:
    """Yield a router's routes. Without `reach` it is not known what lies on its networks."""
    seen: set[tuple[Prefix, Address]] = set()
    for number, each in enumerate(routes):
        spot = context.declared.spot(SECTION, name, "routes", number)
        if (each.to, each.via) in seen:
            context.reporter.report("N011", spot, f"the route to {each.to} via {each.via} is given twice")
        seen.add((each.to, each.via))
        if each.via.version != each.to.version:
            message = f"{each.to} is IPv{each.to.version} and {each.via} is IPv{each.via.version}"
            context.reporter.report("N027", spot / "via", message)
        elif reach is not None:
            _check_way(context.reporter, spot, each, reach, addresses)
        yield Route(each.to, each.via, context.declared.place(SECTION, name, "routes", number))


def _check_way(
    reporter: Reporter, spot: Spot, each: DeclaredRoute, reach: _Reach, addresses: tuple[Address, ...]
) -> None:
    """Check where a route leads, and by which next hop."""
    inside = reach.home(each.to)
    if inside is not None:
        message = f"{each.to} lies in {inside.cidr} of {inside.owner.name}, which the router reaches by itself"
        reporter.clash("N037", spot / "to", message, inside.owner.place)
    home = reach.home(each.via)
    if home is None:
        names = dict.fromkeys(quote(one.owner.name) for one in reach.all)
        message = f"{each.via} lies on no network of the router"
        reporter.report("N050", spot / "via", message, f"it joins {', '.join(names)}" if names else None)
    elif is_reserved(home.cidr, each.via):
        reporter.report("N051", spot / "via", f"{each.via} stands for the subnet {home.cidr} itself")
    elif each.via in addresses or (isinstance(home.owner, Network) and each.via in home.gateways):
        reporter.report("N051", spot / "via", f"{each.via} is the router's own address")
