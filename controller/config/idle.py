"""Warnings of what stands in a tenant's file and has no effect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from controller.config.declared import Declared
from controller.config.groups import DEFAULT_GROUP
from controller.config.schema import Profile, TenantFile
from controller.config.shared import ADDRESS_GROUPS, GROUPS
from controller.config.source import Reporter, Spot
from controller.model.entities import Direction, Port, Rule, SecurityGroup

# The sections whose entries use groups.
_USERS = frozenset((GROUPS, "port_groups", "ports"))


def warn_of_idle(
    tenant: str,
    declared: Declared[TenantFile],
    groups: Mapping[str, SecurityGroup],
    ports: Mapping[str, Port],
    reporter: Reporter,
) -> None:
    """Report the tenant's groups that nobody uses, and keys without effect."""
    _warn_of_untold(declared, reporter)
    _warn_of_untracked(tenant, declared, groups, reporter)
    if not _USERS.isdisjoint(section for section, _ in declared.broken):
        return  # What uses a group may be among what was refused.
    _warn_of_unused(tenant, declared, groups, ports, reporter)
    _warn_of_dry(declared, groups, ports, reporter)
    for section in ("port_groups", "ports"):
        entries: Mapping[str, Profile] = getattr(declared.content, section)
        for name, profile in entries.items():
            if not _FILTERS.isdisjoint(profile.model_fields_set):
                _warn_of_unfiltered(declared, declared.spot(section, name), profile, reporter)


_TOLD = frozenset(("dns", "domain", "lease"))


def _warn_of_untold(declared: Declared[TenantFile], reporter: Reporter) -> None:
    """Warn of what ports would be told, where nobody tells them anything."""
    for name, network in declared.content.networks.items():
        given = _TOLD & network.model_fields_set
        is_told = bool(network.cidr) if network.dhcp is None else network.dhcp
        for key in sorted(given) if not is_told else ():
            spot = declared.spot("networks", name) / key
            reporter.report("W005", spot.key, f"without dhcp ports are told nothing, so {key} changes nothing")


# What may begin a connection of ICMP (RFC 792, RFC 950) and ICMPv6 (RFC 4443, RFC 4620) to one tracker or another.
_QUESTIONS = {1: frozenset((8, 13, 15, 17)), 58: frozenset((128, 139))}


def _warn_of_untracked(
    tenant: str, declared: Declared[TenantFile], groups: Mapping[str, SecurityGroup], reporter: Reporter
) -> None:
    """Warn of rules for ICMP messages that never begin a connection, in groups that let in what does."""
    for name in declared.content.security_groups:
        group = groups.get(f"{tenant}/{name}")
        if group is None or group.stateless:
            continue
        for rule in (*group.ingress, *group.egress):
            questions = _QUESTIONS.get(rule.protocol or 0)
            if questions is None or rule.icmp_type is None or rule.icmp_type in questions:
                continue
            listed = group.ingress if rule.direction is Direction.INGRESS else group.egress
            spot = declared.spot(GROUPS, name, str(rule.direction), listed.index(rule)) / "type"
            message = f"type {rule.icmp_type} begins no connection, so the rule changes nothing"
            hint = "errors and answers pass with the connection that they belong to"
            reporter.report("W005", spot.key, message, hint)


def _rules(groups: Mapping[str, SecurityGroup]) -> Iterator[Rule]:
    for group in groups.values():
        yield from group.ingress
        yield from group.egress


def _warn_of_unused(
    tenant: str,
    declared: Declared[TenantFile],
    groups: Mapping[str, SecurityGroup],
    ports: Mapping[str, Port],
    reporter: Reporter,
) -> None:
    content = declared.content
    used = {group for port in ports.values() for group in port.groups}
    listed: set[str] = set()
    for rule in _rules(groups):
        used.update(rule.groups)
        listed.update(rule.addresses)
    # What is shared is there for others, whose files nobody looks into for this.
    joined = {reference for profile in content.port_groups.values() for reference in profile.security_groups or ()}
    for name, group in content.security_groups.items():
        qualified = f"{tenant}/{name}"
        if name != DEFAULT_GROUP and not group.share and joined.isdisjoint((name, qualified)) and qualified not in used:
            reporter.report("W001", declared.spot(GROUPS, name).key, f"no port and no rule uses group {name}")
    for name, addresses in content.address_groups.items():
        if not addresses.share and f"{tenant}/{name}" not in listed:
            reporter.report("W001", declared.spot(ADDRESS_GROUPS, name).key, f"no rule uses address group {name}")


def _warn_of_dry(
    declared: Declared[TenantFile], groups: Mapping[str, SecurityGroup], ports: Mapping[str, Port], reporter: Reporter
) -> None:
    """Warn of groups that are not enforced, where all of their ports drop what no rule allows because of another group."""
    dry = {name for name, group in groups.items() if not group.enforce and not group.share}
    if not dry:
        return
    joined, effective = set(), set()
    for port in ports.values():
        mine = dry.intersection(port.groups)
        joined |= mine
        # Of another tenant's group nothing is known here.
        if all(group not in groups or not groups[group].enforce for group in port.groups):
            effective |= mine
    for name in sorted(joined - effective):
        spot = declared.spot(GROUPS, name.partition("/")[2]) / "enforce"
        reporter.report("W005", spot.key, "all ports of the group are in an enforced group too: it changes nothing")


_FILTERS = frozenset(("new_connections", "ethertypes"))


def _warn_of_unfiltered(declared: Declared[TenantFile], spot: Spot, profile: Profile, reporter: Reporter) -> None:
    """Warn of filters that have nothing to work on."""
    given = sorted(_FILTERS & profile.model_fields_set)
    if not profile.port_security:
        for key in given:
            message = f"without port_security nothing is filtered, so {key} changes nothing"
            reporter.report("W005", (spot / key).key, message)
        return
    groups = [declared.content.security_groups.get(reference) for reference in profile.security_groups or ()]
    if "new_connections" in given and groups and all(group is not None and group.stateless for group in groups):
        message = "stateless groups track no connections, so there are none to count"
        reporter.report("W005", (spot / "new_connections").key, message)
