"""One tenant's part of the topology, built at once where nobody shares networks with it.

A part that nothing changed for is taken from the last load as it is: a reload costs what was edited.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from controller.config.address_groups import build_address_groups
from controller.config.addresses import address_ports
from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.groups import GroupContext, build_groups
from controller.config.idle import warn_of_idle
from controller.config.networks import NetworkContext, build_networks
from controller.config.ports import Draft, PortContext, draft_ports, names_of
from controller.config.problem import Problems
from controller.config.routers import RouterContext
from controller.config.schema import TenantFile
from controller.config.schema_fabric import FabricFile
from controller.config.shared import Loan, Others, Told, lenders, still_holds
from controller.config.source import Reporter, Spot
from controller.config.ways import Ways, build_ways, routers_of
from controller.model import ids
from controller.model.entities import AddressGroup, Network, Port, SecurityGroup, Tenant, Topology
from controller.model.mapping import ByTenant
from controller.model.names import interface_name, parent_of

Key = tuple[str, int | str]  # A kind, and a number or an interface name.
Keys = dict[Key, str]  # Key -> the name that has it.
Entities = tuple[Mapping[str, Network], Mapping[str, Port]]

_NOTHING: Entities = ({}, {})


@dataclass(frozen=True, slots=True)
class Filters:
    """A tenant's groups and address groups, and what is wrong with them."""

    groups: Mapping[str, SecurityGroup]
    address_groups: Mapping[str, AddressGroup]
    problems: Problems


@dataclass(frozen=True, slots=True)
class Part:
    """What one tenant contributes, and what it was built from: files, and its entities in the topology `before`.

    `sharers` are the tenants that it shares networks with, or wants to; `told` is what it was told of others' groups.
    """

    tenant: str
    fabric: Declared[FabricFile]
    declared: Declared[TenantFile]
    networks: Mapping[str, Network]
    filters: Filters
    ports: Mapping[str, Port]
    ways: Ways
    before: Entities
    sharers: frozenset[str]
    told: Told
    lenders: frozenset[str]
    keys: Keys
    problems: Problems

    def is_from(self, fabric: Declared[FabricFile], declared: Declared[TenantFile], previous: Topology | None) -> bool:
        """Whether the part is what would be built from these files after this topology, if nobody shares or lends.

        It is if it was built after a topology that held the same of the tenant; and if the topology holds the part itself, because
        what is allocated once is kept.
        """
        if self.fabric is not fabric or self.declared is not declared:
            return False
        networks, ports = entities_of(previous, self.tenant)
        return (networks is self.before[0] and ports is self.before[1]) or (
            networks is self.networks and ports is self.ports
        )


def entities_of(topology: Topology | None, tenant: str) -> Entities:
    """Return the tenant's networks and ports in a topology, as the objects by which it holds them."""
    if topology is None:
        return _NOTHING
    networks, ports = topology.networks, topology.ports
    return (
        networks.part(tenant) if isinstance(networks, ByTenant) else networks,
        ports.part(tenant) if isinstance(ports, ByTenant) else ports,
    )


def sharers(tenant: str, declared: Declared[TenantFile]) -> frozenset[str]:
    """Return the other tenants that this one shares networks with, or whose networks it wants to use."""
    content = declared.content
    used = {user.network for user in content.ports.values()} | {user.network for user in content.port_groups.values()}
    used.update(subport.network for port in content.ports.values() if port.trunk for subport in port.trunk.values())
    owners = {reference.partition("/")[0] for reference in used if reference and "/" in reference}
    owners.update(other for network in content.networks.values() for other in network.share)
    return frozenset(owners - {tenant})


def with_sharers(stale: set[str], tenants: Mapping[str, Declared[TenantFile]], parts: Mapping[str, Part]) -> set[str]:
    """Return these tenants and all that share networks with them, or with those: before, according to `parts`, or now."""
    neighbours: dict[str, set[str]] = {}
    known = [(name, part.sharers) for name, part in parts.items() if part.sharers]
    fresh = [(name, sharers(name, tenants[name])) for name in stale]
    for name, others in (*known, *fresh):
        for other in others:
            neighbours.setdefault(name, set()).add(other)
            neighbours.setdefault(other, set()).add(name)
    found, waiting = set(stale), list(stale)
    while waiting:
        new = neighbours.get(waiting.pop(), set()) - found
        found |= new
        waiting.extend(new)
    return found & tenants.keys()


def with_borrowers(stale: set[str], others: Others, parts: Mapping[str, Part]) -> set[str]:
    """Return these tenants, and those who would now be told otherwise of groups of theirs."""
    changed = {
        name
        for name, part in parts.items()
        if name not in stale and not part.lenders.isdisjoint(stale) and not still_holds(part.told, name, others)
    }
    return stale | changed


def build_parts(
    fabric: Fabric, tenants: Mapping[str, Declared[TenantFile]], previous: Topology | None, others: Others
) -> dict[str, Part]:
    """Return the parts of these tenants, each with the problems found in it.

    The tenants must be closed under sharing of networks: whoever shares one with them is among them. `others` knows all tenants.
    """
    problems = {name: Problems() for name in tenants}
    loans = {name: Loan(name, others) for name in tenants}
    networks: dict[str, Network] = {}
    for name, declared in tenants.items():
        before = previous.networks if previous else {}
        reporter = Reporter(problems[name])
        networks |= build_networks(NetworkContext(fabric, fabric.tenants[name], declared, before, reporter))
    drafts: dict[str, list[Draft]] = {network: [] for network in networks}
    for name, declared in tenants.items():
        reporter = Reporter(problems[name])
        context = PortContext(fabric, fabric.tenants[name], declared, networks, others, loans[name], reporter)
        for draft in draft_ports(context):
            drafts[draft.network.name].append(draft)
    ports: dict[str, Port] = {}
    for network_name, members in drafts.items():
        network = networks[network_name]
        home = tenants[network.tenant].spot("networks", network_name.partition("/")[2])
        reporter = Reporter(problems[network.tenant])
        before_ports = previous.ports if previous else {}
        ports |= {port.name: port for port in address_ports(network, members, before_ports, home, reporter)}
    ways = _build_ways(fabric, tenants, networks, ports, problems)
    return {
        name: make_part(
            GroupContext(fabric, fabric.tenants[name], declared, loans[name], Reporter(problems[name])),
            entities_of(previous, name),
            {each.name: each for each in networks.values() if each.tenant == name},
            {
                qualified: ports[qualified]
                for own, port in declared.content.ports.items()
                for qualified in names_of(name, own, port)
                if qualified in ports
            },
            ways[name],
        )
        for name, declared in tenants.items()
    }


def _build_ways(
    fabric: Fabric,
    tenants: Mapping[str, Declared[TenantFile]],
    networks: Mapping[str, Network],
    ports: Mapping[str, Port],
    problems: Mapping[str, Problems],
) -> dict[str, Ways]:
    """Return the ways of these tenants. A port in a network of another one has that one's router."""
    contexts = {
        name: RouterContext(fabric, fabric.tenants[name], declared, networks, Reporter(problems[name]))
        for name, declared in tenants.items()
    }
    routers = {name: router for context in contexts.values() for name, router in routers_of(context).items()}
    return {name: build_ways(context, ports, routers) for name, context in contexts.items()}


def make_part(
    context: GroupContext,
    before: Entities,
    networks: Mapping[str, Network],
    ports: Mapping[str, Port],
    ways: Ways,
    *,
    filters: Filters | None = None,
    keys: Keys | None = None,
) -> Part:
    """Return a tenant's part, with these networks and ports.

    `filters` and `keys` are given where they are known to be what would be made of the file.
    """
    tenant, declared, reporter = context.tenant, context.declared, context.reporter
    filters = filters or build_filters(context)
    reporter.problems.include(filters.problems)
    _check_quotas(tenant, declared, filters.groups, reporter)
    warn_of_idle(tenant.name, declared, filters.groups, ports, reporter)
    part = Part(
        tenant=tenant.name,
        fabric=context.fabric.declared,
        declared=declared,
        networks=networks,
        filters=filters,
        ports=ports,
        ways=ways,
        before=before,
        sharers=sharers(tenant.name, declared),
        told=context.loan.told,
        lenders=lenders(context.loan.told),
        keys={} if keys is None else keys,
        problems=reporter.problems,
    )
    if keys is None:
        _collect_keys(part, reporter)
    return part


def build_filters(context: GroupContext) -> Filters:
    """Return the groups and address groups of a tenant, and report what is wrong with them to themselves."""
    problems = Problems()
    own = GroupContext(context.fabric, context.tenant, context.declared, context.loan, Reporter(problems))
    return Filters(build_groups(own), build_address_groups(own), problems)


def _check_quotas(
    tenant: Tenant, declared: Declared[TenantFile], groups: Mapping[str, SecurityGroup], reporter: Reporter
) -> None:
    content = declared.content
    if tenant.ports is not None:
        counts = list(accumulate(1 + len(port.trunk) for port in content.ports.values()))
        first_over = bisect(counts, tenant.ports)
        if first_over < len(counts):
            what = "ports and subports" if counts[-1] > len(counts) else "ports"
            message = f"{tenant.name} has {counts[-1]} {what}, and its quota is {tenant.ports}"
            spot = declared.spot("ports", list(content.ports)[first_over]).key
            reporter.report("N044", spot, message, f"the quota is at {tenant.place}")
    if tenant.rules is None:
        return
    count = 0
    for name, group in groups.items():
        if name.partition("/")[2] not in content.security_groups:
            continue  # The implicit `default`.
        declared_group = content.security_groups[name.partition("/")[2]]
        count += len(group.ingress)
        count += len(group.egress) if "egress" in declared_group.model_fields_set else 0
        if count > tenant.rules:
            message = f"{tenant.name} has more rules than its quota of {tenant.rules}"
            spot = declared.spot("security_groups", name.partition("/")[2]).key
            reporter.report("N044", spot, message, f"the quota is at {tenant.place}")
            return


def _collect_keys(part: Part, reporter: Reporter) -> None:
    """Note the numbers and interface names that follow from the part's names."""
    keys = part.keys
    declared = part.declared

    def note(kind: str, number: int | str, section: str, name: str) -> None:
        other = keys.setdefault((kind, number), name)
        if other != name:
            clash(reporter, declared.spot(section, parent_of(name.partition("/")[2])).key, kind, name, other)

    for name in part.networks:
        note("network", ids.key("network", name), "networks", name)
    for name in part.filters.groups:
        note(*key_of_group(name), "security_groups", name)
    for name in part.ports:
        for key in keys_of_port(name):
            note(*key, "ports", name)


def key_of_group(name: str) -> Key:
    """Return the number that a group's name leads to."""
    return "group", ids.key("group", name)


def keys_of_port(name: str) -> tuple[Key, ...]:
    """Return the number and the interface name that a port's name leads to; a subport has no interface of its own."""
    number: Key = ("port", ids.key("port", name))
    return (number, ("interface", interface_name(name))) if name == parent_of(name) else (number,)


def clash(reporter: Reporter, spot: Spot, kind: str, name: str, other: str) -> None:
    """Report two names that lead to the same number or interface name."""
    what = "interface name" if kind == "interface" else f"{kind} id"
    reporter.report("N033", spot, f"{name} and {other} have the same {what}", "rename one of them")
