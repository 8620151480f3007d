"""A tenant's ways between its networks and out of the fabric: routers, floating IPs, and the addresses that both claim outside.

What the files give is found here, tenant by tenant. The addresses of routers that the files leave open are given out in
`controller.config.outside`, once it is known what all tenants claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controller.config import scalars
from controller.config.routers import SECTION as ROUTERS
from controller.config.routers import RouterContext, build_routers, check_outside
from controller.config.schema import FloatingIp as DeclaredFloatingIp
from controller.config.source import Reporter, Spot
from controller.model.entities import Address, FloatingIp, Port, Router

FLOATING_IPS = "floating_ips"

Claim = tuple[str, Address]  # An external network and an address on it, which nobody else may have.


@dataclass(frozen=True, slots=True)
class Ways:
    """A tenant's routers, with the addresses that its file gives; its floating IPs; and where it claims which address."""

    routers: Mapping[str, Router]
    floating_ips: Mapping[str, FloatingIp]
    claims: Mapping[Claim, Spot]


NO_WAYS = Ways({}, {}, {})


def build_ways(context: RouterContext, ports: Mapping[str, Port], routers: Mapping[str, Router]) -> Ways:
    """Return a tenant's ways, and report what is wrong with its floating IPs.

    `routers` are the tenant's own, and `ports` its ports; a port in a shared network has the router of that network, which `routers`
    must hold as well.
    """
    content = context.declared.content
    if not content.routers and not content.floating_ips:
        return NO_WAYS
    claims: dict[Claim, Spot] = {}
    own = {name: each for name, each in routers.items() if each.tenant == context.tenant.name}
    for name, router in own.items():
        _claim_of_router(context, name, router, claims)
    joined = {network: router for router in routers.values() for network in router.networks}
    hides_routers = any(section == ROUTERS for section, _ in context.declared.broken)
    found: dict[str, FloatingIp] = {}
    fixed: dict[tuple[str, Address], Spot] = {}
    for text, each in content.floating_ips.items():
        made = _floating_ip(context, text, each, ports, joined, hides_routers)
        if made is None:
            continue
        spot = context.declared.spot(FLOATING_IPS, text)
        other = claims.setdefault((made.external, made.address), spot.key)
        if other.path != spot.path:
            message = f"{made.address} of {made.external} is given already"
            context.reporter.clash("N030", spot.key, message, other)
            continue
        other = fixed.setdefault((made.port, made.fixed), spot.key)
        if other.path != spot.path:
            message = f"{made.fixed} of {made.port} has a floating IP already"
            context.reporter.clash("N030", _target(spot, each), message, other)
        found[made.name] = made
    return Ways(own, found, claims)


def routers_of(context: RouterContext) -> dict[str, Router]:
    """Return a tenant's routers, and report what is wrong with them."""
    return build_routers(context) if context.declared.content.routers else {}


def _claim_of_router(context: RouterContext, name: str, router: Router, claims: dict[Claim, Spot]) -> None:
    if router.external is None:
        return
    own = name.partition("/")[2]
    given = context.declared.content.routers[own].address
    for address in router.addresses:
        spot = context.declared.spot(ROUTERS, own, "address", given.index(address))
        other = claims.setdefault((router.external, address), spot)
        if other is not spot:
            message = f"{address} of {router.external} is given already"
            context.reporter.clash("N030", spot, message, other)


def _target(spot: Spot, each: DeclaredFloatingIp) -> Spot:
    """Return where a floating IP says whose address it stands for."""
    return spot / ("port" if each.ip is None else "ip")


def _floating_ip(
    context: RouterContext,
    text: str,
    each: DeclaredFloatingIp,
    ports: Mapping[str, Port],
    joined: Mapping[str, Router],
    hides_routers: bool,
) -> FloatingIp | None:
    """Return a floating IP as far as it can be told, and report what is wrong with it."""
    tenant, reporter = context.tenant.name, context.reporter
    spot, address = context.declared.spot(FLOATING_IPS, text), scalars.address(text)
    port = _port(context, spot, each, ports)
    if port is None:
        return None
    router = joined.get(port.network)
    if router is None or router.external is None:
        if router is not None or not hides_routers:
            _report_no_way(reporter, spot / "port", port, router)
        return None
    external = context.fabric.external_networks.get(router.external)
    if external is None or check_outside(reporter, spot.key, external, address) is None:
        return None
    fixed = _fixed(context, spot, each, port, address)
    if fixed is None:
        return None
    return FloatingIp(
        name=f"{tenant}/{address}",
        tenant=tenant,
        address=address,
        external=external.name,
        router=router.name,
        port=port.name,
        fixed=fixed,
        place=context.declared.place(FLOATING_IPS, text),
    )


def _port(context: RouterContext, spot: Spot, each: DeclaredFloatingIp, ports: Mapping[str, Port]) -> Port | None:
    """Return the port, None if it is not there; that is reported unless it is known why."""
    declared = context.declared
    port = ports.get(f"{context.tenant.name}/{each.port}")
    if port is not None:
        return port
    name, _, vlan = each.port.partition(":")
    known = declared.content.ports.get(name)
    is_refused = known is not None and (not vlan or int(vlan) in known.trunk)
    if not is_refused and not declared.hides("ports", name):
        own = declared.content.ports
        subports = (f"{parent}:{number}" for parent, one in own.items() for number in one.trunk)
        home = None if vlan else declared.spot("ports")
        context.reporter.unknown("port", spot / "port", each.port, subports if vlan else own, home)
    return None


def _report_no_way(reporter: Reporter, spot: Spot, port: Port, router: Router | None) -> None:
    """Report that nothing leads from a port out of the fabric."""
    if router is not None:
        message = f"{router.name}, the router of {port.network}, has no external network"
        reporter.report("N038", spot, message, f"give it one with `external: NAME` ({router.place})")
    else:
        message = f"no router joins {port.network}, the network of {port.name}"
        reporter.report("N038", spot, message, "a router with an external network leads out")


def _fixed(
    context: RouterContext, spot: Spot, each: DeclaredFloatingIp, port: Port, address: Address
) -> Address | None:
    """Return the port's address that a floating IP stands for, None if there is no such, or more than one."""
    reporter, where = context.reporter, _target(spot, each)
    alike = [own for own in port.ips if own.version == address.version]
    if each.ip is not None:
        if each.ip.version != address.version:
            message = f"{address} is IPv{address.version} and {each.ip} is IPv{each.ip.version}"
            reporter.report("N027", where, message)
        elif each.ip not in alike:
            has = ", ".join(map(str, port.ips)) or "none"
            reporter.report("N039", where, f"{port.name} does not have the address {each.ip}", f"it has {has}")
        else:
            return each.ip
    elif len(alike) == 1:
        return alike[0]
    elif alike:
        has = ", ".join(map(str, alike))
        hint = f"write {{port: {each.port}, ip: {alike[0]}}}"
        reporter.report("N039", where, f"{port.name} has several IPv{address.version} addresses: {has}", hint)
    elif port.ips:
        has = ", ".join(map(str, port.ips))
        reporter.report("N039", where, f"{port.name} has no IPv{address.version} address", f"it has {has}")
    return None
