"""Ports: what they attach to, where, with which groups and addresses.

Ports of several tenants may share a network, and an address is unique within its network. So ports are first read
tenant by tenant, and get their addresses network by network.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.groups import DEFAULT_GROUP, GroupContext, check_one_kind, find
from controller.config.problem import quote
from controller.config.schema import Port as DeclaredPort
from controller.config.schema import PortGroup, Profile, TenantFile
from controller.config.shared import GROUPS, Loan, Others
from controller.config.source import Reporter, Spot
from controller.model.address import derived_mac
from controller.model.entities import (
    Address,
    AllowedAddress,
    HostKind,
    Network,
    NetworkType,
    Place,
    Port,
    Tenant,
)
from controller.model.names import subport_name

GroupsOf = dict[tuple[str, ...], tuple[str, ...]]  # A list of groups as it stands -> their qualified names.


@dataclass(frozen=True, slots=True)
class Draft:
    """A port without the addresses that are still to be allocated. `given` is None where the file gives none."""

    name: str
    tenant: str
    network: Network
    mac: int
    given: tuple[Address, ...] | None
    host: str | None
    groups: tuple[str, ...]
    port_security: bool
    allowed: tuple[AllowedAddress, ...]
    new_connections: int | None
    ethertypes: tuple[int, ...]
    place: Place
    spot: Spot
    parent: str | None = None
    vlan: int | None = None

    def port(self, ips: tuple[Address, ...]) -> Port:
        """Return the port with its addresses."""
        return Port(
            name=self.name,
            tenant=self.tenant,
            network=self.network.name,
            mac=self.mac,
            ips=ips,
            host=self.host,
            groups=self.groups,
            port_security=self.port_security,
            allowed=self.allowed,
            place=self.place,
            new_connections=self.new_connections,
            ethertypes=self.ethertypes,
            parent=self.parent,
            vlan=self.vlan,
        )


@dataclass(frozen=True, slots=True)
class PortContext:
    """What the ports of a tenant are read from. `others` and `loan` tell of other tenants' things."""

    fabric: Fabric
    tenant: Tenant
    declared: Declared[TenantFile]
    networks: Mapping[str, Network]  # Those of all tenants.
    others: Others
    loan: Loan
    reporter: Reporter

    @property
    def group_context(self) -> GroupContext:
        """What finds a security group."""
        return GroupContext(self.fabric, self.tenant, self.declared, self.loan, self.reporter)


def draft_ports(context: PortContext) -> list[Draft]:
    """Return the tenant's ports as far as they can be read, and report what is wrong with them."""
    declared = context.declared
    for name, profile in declared.content.port_groups.items():
        _check_profile(context, declared.spot("port_groups", name), profile)
    drafts = []
    groups_of: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name, port in declared.content.ports.items():
        drafts += draft_port(context, name, port, groups_of)
    return drafts


def names_of(tenant: str, name: str, port: DeclaredPort) -> list[str]:
    """Return the qualified names of a port and its subports, in the model's order."""
    qualified = f"{tenant}/{name}"
    return [qualified, *(subport_name(qualified, vlan) for vlan in port.trunk)] if port.trunk else [qualified]


def _check_profile(context: PortContext, spot: Spot, profile: Profile) -> None:
    """Check the names in a port group, once for all ports that take them from it."""
    if profile.network is not None:
        find_network(context, spot / "network", profile.network)
    if profile.host is not None:
        _check_host_name(context, spot / "host", profile.host)
    _find_groups(context, spot, profile.security_groups or ())


def draft_port(context: PortContext, name: str, port: DeclaredPort, groups_of: GroupsOf) -> list[Draft]:
    """Return one port of a tenant with its subports, as far as they can be read, and report what is wrong with them.

    `groups_of` keeps what was found of lists of groups for the next port with the same list.
    """
    draft = _draft(context, name, port, groups_of)
    if not port.trunk:
        return [] if draft is None else [draft]
    if draft is None:
        for vlan, subport in port.trunk.items():
            find_network(context, _subport_spot(context, name, vlan) / "network", subport.network)
        return []
    return [draft, *_subports(context, name, port, draft, groups_of)]


def _subport_spot(context: PortContext, name: str, vlan: int) -> Spot:
    return context.declared.spot("ports", name) / "trunk" / str(vlan)


def _subports(
    context: PortContext, name: str, port: DeclaredPort, parent: Draft, groups_of: GroupsOf
) -> Iterator[Draft]:
    """Yield the subports of a port; what they do not say themselves is as the port's."""
    taken: dict[str, Spot] = {parent.network.name: parent.spot / "network"}
    for vlan, subport in port.trunk.items():
        spot = _subport_spot(context, name, vlan)
        network = find_network(context, spot / "network", subport.network)
        groups = parent.groups
        if subport.security_groups is not None:
            groups = _own_groups(context, spot, subport.security_groups, groups_of)
        if network is None:
            continue
        if network.name in taken:
            message = f"{network.name} is a network of {parent.name} already"
            context.reporter.clash("N035", spot / "network", message, taken[network.name])
            continue
        taken[network.name] = spot / "network"
        if parent.host is not None and parent.host in context.fabric.hosts:
            _check_host(context, spot / "network", network, parent.host)
        yield replace(
            parent,
            name=subport_name(parent.name, vlan),
            network=network,
            mac=parent.mac if subport.mac is None else subport.mac,
            given=subport.ip,
            groups=groups,
            allowed=tuple(AllowedAddress(each.ip, each.mac) for each in subport.allowed_addresses),
            spot=spot,
            parent=parent.name,
            vlan=vlan,
        )


def _draft(context: PortContext, name: str, port: DeclaredPort, groups_of: GroupsOf) -> Draft | None:
    """Return the port itself as far as it can be read."""
    declared = context.declared
    spot = declared.spot("ports", name)
    profile = _profile(context, spot, port)
    if profile is None:
        return None
    reference = port.network or profile.network
    if reference is None:
        hint = None if port.port_group is None else f"the port group {quote(port.port_group)} names none either"
        context.reporter.report("N017", spot.key, '"network" is missing', hint)
        return None
    network = _own_or_inherited(context, spot, port, reference)
    host = port.host or profile.host
    if port.host is not None:
        _check_host_name(context, spot / "host", port.host)
    if network is None:
        return None
    if host is not None and host in context.fabric.hosts:
        _check_host(context, spot / "host" if port.host else spot.key, network, host)
    own = port.model_fields_set
    has_security = (port if "port_security" in own else profile).port_security
    allowed = (port if "allowed_addresses" in own else profile).allowed_addresses
    qualified = f"{context.tenant.name}/{name}"
    return Draft(
        name=qualified,
        tenant=context.tenant.name,
        network=network,
        mac=derived_mac(qualified) if port.mac is None else port.mac,
        given=port.ip,
        host=host,
        groups=_groups(context, spot, port, profile, has_security, groups_of),
        port_security=has_security,
        allowed=tuple(AllowedAddress(each.ip, each.mac) for each in allowed),
        new_connections=(port if "new_connections" in own else profile).new_connections,
        ethertypes=tuple(sorted(set((port if "ethertypes" in own else profile).ethertypes))),
        place=declared.place("ports", name),
        spot=spot,
    )


_NO_PROFILE = PortGroup()


def _profile(context: PortContext, spot: Spot, port: DeclaredPort) -> Profile | None:
    """Return the port's profile, an empty one without, None if it cannot be known."""
    if port.port_group is None:
        return _NO_PROFILE
    known = context.declared.content.port_groups
    profile = known.get(port.port_group)
    if profile is None and not context.declared.hides("port_groups", port.port_group):
        home = context.declared.spot("port_groups")
        context.reporter.unknown("port group", spot / "port_group", port.port_group, known, home)
    return profile


def _own_or_inherited(context: PortContext, spot: Spot, port: DeclaredPort, reference: str) -> Network | None:
    """Return the port's network. What a port group names wrongly is reported there, once."""
    if port.network is not None:
        return find_network(context, spot / "network", reference)
    return _visible(context, reference)


def _visible(context: PortContext, reference: str) -> Network | None:
    """Return the network of the reference if the tenant may use it."""
    tenant = context.tenant.name
    network = context.networks.get(reference if "/" in reference else f"{tenant}/{reference}")
    return network if network and (network.tenant == tenant or tenant in network.share) else None


def find_network(context: PortContext, spot: Spot, reference: str) -> Network | None:
    """Return a network that the tenant may use, or report that there is none such."""
    network = _visible(context, reference)
    if network is not None:
        return network
    tenant = context.tenant.name
    owner, _, name = reference.rpartition("/")
    if owner and owner != tenant:
        fabric = context.fabric
        if not fabric.knows("tenants", owner):
            context.reporter.unknown("tenant", spot, owner, fabric.tenants, fabric.declared.spot("tenants"))
        elif not context.others.hides("networks", owner, name):
            # Whether it exists is the other tenant's business.
            message = f"network {quote(reference)} is not shared with {tenant}"
            context.reporter.report("N042", spot, message, f"{owner} shares it with `share: {tenant}`")
    elif not context.declared.hides("networks", name):
        home = context.declared.spot("networks")
        context.reporter.unknown("network", spot, name, context.declared.content.networks, home)
    return None


def _check_host_name(context: PortContext, spot: Spot, host: str) -> None:
    fabric = context.fabric
    if not fabric.knows("hosts", host):
        context.reporter.unknown("host", spot, host, fabric.hosts, fabric.declared.spot("hosts"))


def _check_host(context: PortContext, spot: Spot, network: Network, name: str) -> None:
    """Check that the host can serve the network."""
    host = context.fabric.hosts[name]
    if host.kind is HostKind.VTEP:
        if network.type is not NetworkType.VXLAN:
            message = f"{name} is a VTEP and joins vxlan networks only; {network.name} is {network.type}"
            context.reporter.clash("N046", spot, message, network.place)
    elif network.physical_network is not None:
        physical = context.fabric.physical_networks.get(network.physical_network)
        if physical is not None and name not in physical.hosts:
            message = f"{name} does not carry {physical.name}, which {network.name} needs"
            context.reporter.report(
                "N045", spot, message, f"hosts of {physical.name}: {', '.join(physical.hosts)} ({physical.place})"
            )


def _groups(
    context: PortContext,
    spot: Spot,
    port: DeclaredPort,
    profile: Profile,
    has_security: bool,
    groups_of: GroupsOf,
) -> tuple[str, ...]:
    """Return the qualified names of the port's groups."""
    given = profile.security_groups if port.security_groups is None else port.security_groups
    if given is None:
        # A port that is not filtered is no member of `default` either, unless the file says so.
        given = (DEFAULT_GROUP,) if has_security else ()
    if port.security_groups is None and given not in groups_of:
        # What a port group names wrongly is reported there, once.
        tenant = context.tenant.name
        found = tuple(reference if "/" in reference else f"{tenant}/{reference}" for reference in given)
        return tuple(dict.fromkeys(found))
    return _own_groups(context, spot, given, groups_of)


def _own_groups(context: PortContext, spot: Spot, given: tuple[str, ...], groups_of: GroupsOf) -> tuple[str, ...]:
    """Return the qualified names of the groups that an entry lists itself."""
    known = groups_of.get(given)
    if known is not None:
        return known
    names, is_good = _find_groups(context, spot, given)
    result = tuple(dict.fromkeys(names))
    if is_good:
        groups_of[given] = result
    return result


def _find_groups(context: PortContext, spot: Spot, references: Sequence[str]) -> tuple[list[str], bool]:
    """Return the qualified names of a port's groups, and whether there is nothing to report of them at the next port."""
    groups, spots, names = context.group_context, [], []
    for number, reference in enumerate(references):
        for name in find(groups, spot / GROUPS / number, GROUPS, reference):
            names.append(name)
            spots.append(spot / GROUPS / number)
    is_of_one_kind = check_one_kind(groups, spots, names)
    return names, is_of_one_kind and len(names) == len(references)
