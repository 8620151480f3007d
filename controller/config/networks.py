"""A tenant's networks: types, segments, prefixes, gateways, sharing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.schema import Network as DeclaredNetwork
from controller.config.schema import TenantFile
from controller.config.shared import check_share
from controller.config.source import Reporter, Spot
from controller.config.subnets import EUI64_PREFIX, IPV6_MIN_MTU, first_host, is_reserved
from controller.config.terms import MAX_VLAN
from controller.model import ids
from controller.model.entities import (
    TUNNEL_OVERHEAD,
    Address,
    Network,
    NetworkType,
    Prefix,
    Range,
    Tenant,
)

_IPV6_HEADER_MORE = 20  # Bytes by which an outer IPv6 header is longer than IPv4's.

Pool = tuple[NetworkType, str | None]  # Where a segment's number must be unique: the type and the physical network.


@dataclass(frozen=True, slots=True)
class NetworkContext:
    """What the networks of a tenant are built from."""

    fabric: Fabric
    tenant: Tenant
    declared: Declared[TenantFile]
    previous: Mapping[str, Network]
    reporter: Reporter

    def spot(self, name: str) -> Spot:
        """Return where the tenant's network stands."""
        return self.declared.spot("networks", name)


def build_networks(context: NetworkContext) -> dict[str, Network]:
    """Return the tenant's networks by qualified name, and report what is wrong with them."""
    content = context.declared.content.networks
    types = {name: each.type or context.fabric.overlay for name, each in content.items()}
    usable = {name for name, each in content.items() if _check_attachment(context, name, each, types[name])}
    segments = _segments(context, {name: types[name] for name in content if name in usable})
    networks: dict[str, Network] = {}
    for name, each in content.items():
        gateways = _gateways(context, name, each)
        spot, tenant = context.spot(name) / "share", context.tenant.name
        check_share(context.fabric, tenant, spot, each.share, context.reporter, takes_any=False)
        qualified = f"{context.tenant.name}/{name}"
        mtu = _mtu(context.fabric, types[name])
        if mtu < IPV6_MIN_MTU and any(cidr.version == 6 for cidr in each.cidr):
            message = f"the network's MTU is {mtu}, and IPv6 needs {IPV6_MIN_MTU}: raise the fabric's"
            context.reporter.report("N054", context.spot(name) / "cidr", message)
        _check_told(context, name, each)
        networks[qualified] = Network(
            name=qualified,
            tenant=context.tenant.name,
            type=types[name],
            segment=segments.get(name),
            physical_network=each.physical_network,
            cidrs=each.cidr,
            gateways=gateways,
            mtu=mtu,
            share=each.share,
            place=context.declared.place("networks", name),
            dhcp=bool(each.cidr) if each.dhcp is None else each.dhcp,
            dns=each.dns,
            domain=each.domain,
            lease=each.lease,
            ipv6=each.ipv6,
        )
    return networks


def _mtu(fabric: Fabric, kind: NetworkType) -> int:
    overhead = TUNNEL_OVERHEAD.get(kind, 0)
    return fabric.mtu - overhead - (_IPV6_HEADER_MORE if overhead and fabric.has_ipv6_underlay else 0)


def _check_attachment(context: NetworkContext, name: str, each: DeclaredNetwork, kind: NetworkType) -> bool:
    """Check which keys go with the type; return whether a segment can be found for the network."""
    report, spot, tenant = context.reporter.report, context.spot(name), context.tenant
    physical_network = each.physical_network
    if each.segment is not None and kind in (NetworkType.LOCAL, NetworkType.FLAT):
        report("N026", (spot / "segment").key, f"a {kind} network has no segment")
    if not kind.is_provider:
        if physical_network is not None:
            message = f"a {kind} network uses no physical network"
            report("N026", (spot / "physical_network").key, message)
        return kind.is_tunnel
    if physical_network is None:
        report("N017", spot.key, f'"physical_network" is missing: {name} is a {kind} network')
        return False
    where = spot / "physical_network"
    fabric = context.fabric
    if not fabric.knows("physical_networks", physical_network):
        home = fabric.declared.spot("physical_networks")
        context.reporter.unknown("physical network", where, physical_network, fabric.physical_networks, home)
        return False
    if physical_network not in tenant.vlans:
        message = f"{tenant.name} is not granted {physical_network}"
        report(
            "N040", where, message, f"the operator grants it with `vlans: {{{physical_network}: …}}` ({tenant.place})"
        )
        return False
    if kind is NetworkType.FLAT:
        external = next(
            (
                out
                for out in fabric.external_networks.values()
                if (out.physical_network, out.vlan) == (physical_network, None)
            ),
            None,
        )
        if external is not None:
            message = (
                f"the frames of {physical_network} that have no tag are those of the external network {external.name}"
            )
            context.reporter.clash("N034", where, message, external.place)
    return kind is NetworkType.VLAN


def _check_told(context: NetworkContext, name: str, each: DeclaredNetwork) -> None:
    """Check what ports are told of the network."""
    report, spot = context.reporter.report, context.spot(name)
    if each.dhcp and not each.cidr:
        report("N026", (spot / "dhcp").key, "a network without a cidr has no addresses to tell of")
    if "ipv6" not in each.model_fields_set:
        return
    if all(cidr.version == 4 for cidr in each.cidr):
        report("N026", (spot / "ipv6").key, "the network has no IPv6 prefix")
    for number, cidr in enumerate(each.cidr if each.ipv6.is_from_mac else ()):
        if cidr.version == 6 and cidr.prefixlen != EUI64_PREFIX:
            message = f"{cidr} is not a /{EUI64_PREFIX}, which addresses that are made from the MAC need"
            report("N055", spot / "cidr" / number, message)


def _segments(context: NetworkContext, kinds: Mapping[str, NetworkType]) -> dict[str, int]:
    """Return the segment of each network that has one: given, kept or allocated."""
    content = context.declared.content.networks
    pools: dict[Pool, list[str]] = {}
    for name, kind in kinds.items():
        physical_network = content[name].physical_network if kind is NetworkType.VLAN else None
        pools.setdefault((kind, physical_network), []).append(name)
    segments: dict[str, int] = {}
    for pool, names in pools.items():
        granted = context.tenant.vlans.get(pool[1], ()) if pool[1] is not None else context.tenant.segments
        given = _given_segments(context, pool, names, granted)
        segments |= given
        open_names = [name for name in names if content[name].segment is None]
        segments |= _allocated_segments(context, pool, open_names, granted, set(given.values()))
    return segments


def _given_segments(
    context: NetworkContext, pool: Pool, names: Iterable[str], granted: tuple[Range, ...]
) -> dict[str, int]:
    kind, physical_network = pool
    given: dict[str, int] = {}
    owner: dict[int, str] = {}
    for name in names:
        segment = context.declared.content.networks[name].segment
        if segment is None:
            continue
        spot = context.spot(name) / "segment"
        if kind is NetworkType.VLAN and segment > MAX_VLAN:
            context.reporter.report("N022", spot, f"{segment} is not a VLAN: it lies outside 1-{MAX_VLAN}")
        elif not any(segment in each for each in granted):
            what = f"VLAN {segment} of {physical_network}" if physical_network else f"segment {segment}"
            ranges = ", ".join(map(str, granted)) or "none"
            tenant = context.tenant
            message = f"{what} is not granted to {tenant.name}"
            context.reporter.report("N040", spot, message, f"granted: {ranges} ({tenant.place})")
        elif (other := owner.setdefault(segment, name)) != name:
            message = f"{kind} segment {segment} is that of {other} too"
            context.reporter.clash("N032", spot, message, context.spot(other) / "segment")
        given[name] = segment
    return given


def _allocated_segments(
    context: NetworkContext, pool: Pool, names: list[str], granted: tuple[Range, ...], used: set[int]
) -> dict[str, int]:
    """Give each network a free number of the grant, and the one it had before if that is still its own."""
    kind, physical_network = pool
    tenant = context.tenant
    kept: dict[str, int] = {}
    seen = {index for segment in used if (index := _index(granted, segment)) is not None}
    for name in names:
        before = context.previous.get(f"{tenant.name}/{name}")
        if before is None or before.segment is None or (before.type, before.physical_network) != pool:
            continue
        index = _index(granted, before.segment)
        if index is not None and index not in seen:
            kept[name] = index
            seen.add(index)
    size = sum(map(len, granted))
    try:
        found = ids.allocate(
            names, size, kind=f"segment {tenant.name} {kind}", kept=kept, is_free=lambda index: index not in seen
        )
    except ids.Exhausted:
        what = f"VLANs of {physical_network}" if physical_network else "segments"
        wanted = len(names) + len(used)
        message = f"{tenant.name} has {wanted} {kind} networks and is granted {size} {what}"
        # The last one in the file is the one too many.
        context.reporter.report("N043", context.spot(names[-1]).key, message, f"the grant is at {tenant.place}")
        return {}
    return {name: _number(granted, index) for name, index in found.items()}


def _index(ranges: Iterable[Range], number: int) -> int | None:
    """Return the place of a number among all numbers of the ranges."""
    start = 0
    for each in ranges:
        if number in each:
            return start + number - each.first
        start += len(each)
    return None


def _number(ranges: Iterable[Range], index: int) -> int:
    """Return the number at a place: the inverse of `_index`."""
    for each in ranges:
        if index < len(each):
            return each.first + index
        index -= len(each)
    raise IndexError(index)


def _gateways(context: NetworkContext, name: str, each: DeclaredNetwork) -> tuple[Address, ...]:
    """Return one gateway per prefix, and report prefixes and gateways that cannot be."""
    report, spot = context.reporter.report, context.spot(name)
    for number, cidr in enumerate(each.cidr):
        for earlier in range(number):
            if cidr.overlaps(each.cidr[earlier]):
                message = f"{cidr} overlaps {each.cidr[earlier]}"
                context.reporter.clash("N053", spot / "cidr" / number, message, spot / "cidr" / earlier)
    given: dict[Prefix, Address] = {}
    for number, gateway in enumerate(each.gateway):
        where = spot / "gateway" / number
        home = next((cidr for cidr in each.cidr if gateway in cidr), None)
        if not each.cidr:
            report("N026", (spot / "gateway").key, "a network without a cidr has no gateway")
        elif home is None:
            cidrs = ", ".join(map(str, each.cidr))
            report("N050", where, f"the gateway {gateway} lies outside of {cidrs}")
        elif is_reserved(home, gateway):
            report("N051", where, f"{gateway} stands for the subnet {home} itself")
        elif home in given:
            report("N026", where, f"{home} has the gateway {given[home]} already")
        else:
            given[home] = gateway
    return tuple(given.get(cidr) or first_host(cidr) for cidr in each.cidr)
