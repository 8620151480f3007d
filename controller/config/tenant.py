"""One tenant's part of the topology, built at once where nobody shares networks with it.

A part that nothing changed for is taken from the last load as it is: a reload costs what was edited.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from controller.config.addresses import address_ports
from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.groups import DEFAULT_GROUP, GroupContext, build_groups
from controller.config.networks import NetworkContext, build_networks
from controller.config.ports import Draft, PortContext, draft_ports
from controller.config.problem import Problems
from controller.config.schema import FabricFile, TenantFile
from controller.config.source import Reporter, Spot
from controller.model import ids
from controller.model.entities import Network, NetworkType, Port, SecurityGroup, Tenant, Topology
from controller.model.names import interface_name

# The sections whose entries use security groups.
_USERS = frozenset(("security_groups", "port_groups", "ports"))

Keys = dict[tuple[str, int | str], str]  # (kind, number or interface) -> the name that has it


@dataclass(frozen=True, slots=True)
class Part:
    """What one tenant contributes, and what it was built from."""

    fabric: Declared[FabricFile]
    declared: Declared[TenantFile]
    networks: Mapping[str, Network]
    groups: Mapping[str, SecurityGroup]
    ports: Mapping[str, Port]
    keys: Keys
    problems: Problems

    def is_from(self, fabric: Declared[FabricFile], declared: Declared[TenantFile]) -> bool:
        """Whether the part was built from exactly these files."""
        return self.fabric is fabric and self.declared is declared


def is_alone(declared: Declared[TenantFile]) -> bool:
    """Whether the tenant neither shares networks nor uses another's: its part follows from its own file."""
    content = declared.content
    return not any(network.share for network in content.networks.values()) and not any(
        user.network and "/" in user.network for user in (*content.ports.values(), *content.port_groups.values())
    )


def build_parts(
    fabric: Fabric,
    tenants: Mapping[str, Declared[TenantFile]],
    previous: Topology | None,
    hides_network: Callable[[str, str], bool],
) -> dict[str, Part]:
    """Return the parts of these tenants, each with the problems found in it.

    The tenants must be closed under sharing: whoever shares a network with one of them is among them. `hides_network` says of a
    tenant's missing network that nothing is known of it.
    """
    problems = {name: Problems() for name in tenants}
    networks: dict[str, Network] = {}
    for name, declared in tenants.items():
        before = previous.networks if previous else {}
        reporter = Reporter(problems[name])
        networks |= build_networks(NetworkContext(fabric, fabric.tenants[name], declared, before, reporter))
    drafts: dict[str, list[Draft]] = {network: [] for network in networks}
    for name, declared in tenants.items():
        reporter = Reporter(problems[name])
        for draft in draft_ports(
            PortContext(fabric, fabric.tenants[name], declared, networks, hides_network, reporter)
        ):
            drafts[draft.network.name].append(draft)
    ports: dict[str, Port] = {}
    for network_name, members in drafts.items():
        network = networks[network_name]
        home = tenants[network.tenant].spot("networks", network_name.partition("/")[2])
        reporter = Reporter(problems[network.tenant])
        before_ports = previous.ports if previous else {}
        ports |= {port.name: port for port in address_ports(network, members, before_ports, home, reporter)}
    return {
        name: _part(fabric, fabric.tenants[name], declared, networks, ports, problems[name])
        for name, declared in tenants.items()
    }


def hider(fabric: Fabric, tenants: Mapping[str, Declared[TenantFile]], section: str) -> Callable[[str, str], bool]:
    """Return the question whether nothing can be said of a tenant's missing entry, because it, or its tenant, was refused."""

    def hides(owner: str, name: str) -> bool:
        declared = tenants.get(owner)
        return fabric.declared.hides("tenants", owner) if declared is None else declared.hides(section, name)

    return hides


def _part(
    fabric: Fabric,
    tenant: Tenant,
    declared: Declared[TenantFile],
    networks: Mapping[str, Network],
    ports: Mapping[str, Port],
    problems: Problems,
) -> Part:
    reporter = Reporter(problems)
    own_networks = {name: network for name, network in networks.items() if network.tenant == tenant.name}
    prefix = f"{tenant.name}/"
    named = (prefix + name for name in declared.content.ports)
    own_ports = {name: ports[name] for name in named if name in ports}
    groups = build_groups(GroupContext(fabric, tenant, declared, reporter))
    _check_quotas(tenant, declared, groups, reporter)
    _warn_of_unused(declared, prefix, groups, own_ports, reporter)
    part = Part(fabric.declared, declared, own_networks, groups, own_ports, {}, problems)
    _collect_keys(part, reporter)
    return part


def _check_quotas(
    tenant: Tenant, declared: Declared[TenantFile], groups: Mapping[str, SecurityGroup], reporter: Reporter
) -> None:
    content = declared.content
    if tenant.ports is not None and len(content.ports) > tenant.ports:
        first_over = list(content.ports)[tenant.ports]
        message = f"{tenant.name} has {len(content.ports)} ports, and its quota is {tenant.ports}"
        reporter.report("N044", declared.spot("ports", first_over).key, message, f"the quota is at {tenant.place}")
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


def _warn_of_unused(
    declared: Declared[TenantFile],
    prefix: str,
    groups: Mapping[str, SecurityGroup],
    ports: Mapping[str, Port],
    reporter: Reporter,
) -> None:
    if not _USERS.isdisjoint(section for section, _ in declared.broken):
        return  # What uses a group may be among what was refused.
    used = {group for port in ports.values() for group in port.groups}
    for group in groups.values():
        for rule in (*group.ingress, *group.egress):
            used.update(rule.groups)
    for profile in declared.content.port_groups.values():
        used.update(prefix + name.rpartition("/")[2] for name in profile.security_groups or ())
    for name in declared.content.security_groups:
        if prefix + name not in used and name != DEFAULT_GROUP:
            reporter.report(
                "W001", declared.spot("security_groups", name).key, f"no port and no rule uses group {name}"
            )


def _collect_keys(part: Part, reporter: Reporter) -> None:
    """Note the numbers and interface names that follow from the part's names."""
    keys = part.keys
    declared = part.declared

    def note(kind: str, number: int | str, section: str, name: str) -> None:
        other = keys.setdefault((kind, number), name)
        if other != name:
            clash(reporter, declared.spot(section, name.partition("/")[2]).key, kind, name, other)

    for name in part.networks:
        note("network", ids.key("network", name), "networks", name)
    for name in part.groups:
        note("group", ids.key("group", name), "security_groups", name)
    for name in part.ports:
        note("port", ids.key("port", name), "ports", name)
        note("interface", interface_name(name), "ports", name)


def clash(reporter: Reporter, spot: Spot, kind: str, name: str, other: str) -> None:
    """Report two names that lead to the same number or interface name."""
    what = "interface name" if kind == "interface" else f"{kind} id"
    reporter.report("N033", spot, f"{name} and {other} have the same {what}", "rename one of them")


def check_between(parts: Iterable[Part], problems: Problems) -> None:
    """Report what two tenants cannot both have: ids, interface names, a flat network of one physical network."""
    reporter = Reporter(problems)
    keys: Keys = {}
    flat: dict[str, Network] = {}
    for part in parts:
        for key, name in part.keys.items():
            other = keys.setdefault(key, name)
            if other != name:
                section = {"network": "networks", "group": "security_groups"}.get(key[0], "ports")
                spot = part.declared.spot(section, name.partition("/")[2]).key
                clash(reporter, spot, key[0], name, other)
        for name, network in part.networks.items():
            if network.type is NetworkType.FLAT and network.physical_network is not None:
                first = flat.setdefault(network.physical_network, network)
                if first is not network:
                    spot = part.declared.spot("networks", name.partition("/")[2])
                    message = f"{first.name} is the flat network of {network.physical_network} already: frames without a tag have one owner"
                    reporter.clash("N034", spot / "physical_network", message, first.place)
