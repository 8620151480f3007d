"""A tenant's security groups: rules with numbers for words, and the group that every tenant has."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.problem import quote
from controller.config.scalars import PROTOCOLS, protocol_name
from controller.config.schema import EgressRule, Ethertype, IngressRule, TenantFile
from controller.config.schema import SecurityGroup as DeclaredGroup
from controller.config.source import Reporter, Spot
from controller.model.entities import Direction, Place, Prefix, Range, Rule, SecurityGroup, Tenant

DEFAULT_GROUP = "default"

WITH_PORTS = frozenset(PROTOCOLS[name] for name in ("tcp", "udp", "sctp"))
_ICMP_VERSION = {PROTOCOLS["icmp"]: 4, PROTOCOLS["icmpv6"]: 6}

# Rules are compared pairwise where that is quick: beyond these numbers only equal ones are found.
_MAX_TENANT_RULES = 2000
_MAX_GROUP_RULES = 64
_MAX_PARTS = 4


@dataclass(frozen=True, slots=True)
class GroupContext:
    """What the groups of a tenant are built from."""

    fabric: Fabric
    tenant: Tenant
    declared: Declared[TenantFile]
    reporter: Reporter


def build_groups(context: GroupContext) -> dict[str, SecurityGroup]:
    """Return the tenant's groups by qualified name, with `default`, and report what is wrong with them."""
    owner = context.tenant.name
    groups: dict[str, SecurityGroup] = {}
    declared_groups = context.declared.content.security_groups
    count = sum(len(each.ingress) + len(each.egress) for each in declared_groups.values())
    compared = _MAX_GROUP_RULES if count <= _MAX_TENANT_RULES else 0
    for name, each in declared_groups.items():
        ingress = _rules(context, name, Direction.INGRESS, each)
        egress = _rules(context, name, Direction.EGRESS, each)
        # In a group of which something was refused, a rule may look wider than it is.
        for rules in () if context.declared.hides("security_groups", name) else (ingress, egress):
            _warn_of_covered(context, name, rules, compared)
        place = context.declared.place("security_groups", name)
        groups[f"{owner}/{name}"] = SecurityGroup(f"{owner}/{name}", owner, ingress, egress, place)
    if not context.declared.hides("security_groups", DEFAULT_GROUP):
        groups.setdefault(f"{owner}/{DEFAULT_GROUP}", _default_group(context.tenant))
    return groups


def _default_group(tenant: Tenant) -> SecurityGroup:
    """Return the group of a port that names none: in from the same group, everything out."""
    name = f"{tenant.name}/{DEFAULT_GROUP}"
    ingress = Rule(Direction.INGRESS, None, None, (), None, None, (), (name,), tenant.place)
    egress = Rule(Direction.EGRESS, None, None, (), None, None, (), (), tenant.place)
    return SecurityGroup(name, tenant.name, (ingress,), (egress,), tenant.place)


def _rules(context: GroupContext, group: str, direction: Direction, each: DeclaredGroup) -> tuple[Rule, ...]:
    declared = context.declared
    spot = declared.spot("security_groups", group, str(direction))
    listed: Iterable[IngressRule | EgressRule] = each.ingress if direction is Direction.INGRESS else each.egress
    # Without the key there is the default, which stands where the group does.
    has_key = str(direction) in each.model_fields_set
    rules: list[Rule] = []
    for number, rule in enumerate(listed):
        place = declared.place(*spot.path, number) if has_key else declared.place("security_groups", group)
        rules.append(_rule(context, direction, rule, spot / number, place))
    return tuple(rules)


def _rule(
    context: GroupContext, direction: Direction, rule: IngressRule | EgressRule, spot: Spot, place: Place
) -> Rule:
    report = context.reporter.report
    protocol = rule.protocol
    if rule.ports is not None and protocol not in WITH_PORTS:
        hint = "ports go with tcp, udp and sctp"
        report("N026", (spot / "ports").key, f"protocol {protocol_name(protocol)} has no ports", hint)
    for key in ("type", "code"):
        if getattr(rule, key) is not None and protocol not in _ICMP_VERSION:
            report("N026", (spot / key).key, f'"{key}" goes with the protocols icmp and icmpv6')
    if rule.code is not None and rule.type is None and protocol in _ICMP_VERSION:
        report("N026", (spot / "code").key, '"code" needs a "type"')
    cidrs, groups = _peers(context, direction, rule, spot)
    return Rule(
        direction=direction,
        ethertype=_ethertype(context.reporter, rule, cidrs, spot, direction),
        protocol=protocol,
        ports=rule.ports or (),
        icmp_type=rule.type,
        icmp_code=rule.code,
        cidrs=cidrs,
        groups=groups,
        place=place,
    )


def _ethertype(
    reporter: Reporter, rule: IngressRule | EgressRule, cidrs: tuple[Prefix, ...], spot: Spot, direction: Direction
) -> int | None:
    """Return the IP version that the rule is about, None for both."""
    given = None if rule.ethertype is None else 4 if rule.ethertype is Ethertype.IPV4 else 6
    implied = _ICMP_VERSION.get(rule.protocol) if rule.protocol is not None else None
    if given and implied and given != implied:
        message = f"protocol {protocol_name(rule.protocol)} is IPv{implied}'s"
        reporter.report("N027", spot / "ethertype", message)
    version = given or implied
    versions = {cidr.version for cidr in cidrs}
    if version and versions - {version}:
        far = spot / ("from" if direction is Direction.INGRESS else "to")
        wrong = next(cidr for cidr in cidrs if cidr.version != version)
        reporter.report("N027", far, f"{wrong} is IPv{wrong.version}, and the rule is about IPv{version}")
    # A rule that names groups is about both versions: the members may have either.
    if version is None and len(versions) == 1 and not any(peer.group for peer in rule.peers or ()):
        version = versions.pop()
    return version


def _peers(
    context: GroupContext, direction: Direction, rule: IngressRule | EgressRule, spot: Spot
) -> tuple[tuple[Prefix, ...], tuple[str, ...]]:
    """Return the prefixes and the groups of a rule's far side."""
    if rule.peers is None:
        return (), ()
    key = "from" if direction is Direction.INGRESS else "to"
    report = context.reporter.report
    if not rule.peers:
        report(
            "N026",
            spot / key,
            f'an empty "{key}" allows nobody: leave the key out for anyone, or the rule out for nobody',
        )
    cidrs: list[Prefix] = []
    groups: list[str] = []
    for number, peer in enumerate(rule.peers):
        where = spot / key / number
        if (peer.cidr is None) == (peer.group is None):
            report("N026", where, "the far side is either {cidr: …} or {group: …}")
        elif peer.cidr is not None:
            cidrs.append(peer.cidr)
        elif peer.group is not None:
            name = find_group(context, where / "group", peer.group)
            if name:
                groups.append(name)
    return tuple(dict.fromkeys(cidrs)), tuple(dict.fromkeys(groups))


def find_group(context: GroupContext, spot: Spot, reference: str) -> str | None:
    """Return the qualified name of one of the tenant's own groups, or report that there is none such."""
    owner, _, name = reference.rpartition("/")
    if owner and owner != context.tenant.name:
        message = f"group {quote(reference)} belongs to another tenant and is not shared"
        context.reporter.report("N042", spot, message, "groups of the own tenant can be named, or addresses")
        return None
    known = context.declared.content.security_groups
    if name in known or name == DEFAULT_GROUP:
        return f"{context.tenant.name}/{name}"
    if not context.declared.hides("security_groups", name):
        home = context.declared.spot("security_groups")
        context.reporter.unknown("group", spot, name, known, home)
    return None


def _warn_of_covered(context: GroupContext, group: str, rules: tuple[Rule, ...], compared: int) -> None:
    """Warn of rules that allow nothing which an earlier rule does not allow already; the first `compared` are compared."""
    seen: dict[tuple[object, ...], Rule] = {}
    for number, rule in enumerate(rules):
        same = (rule.ethertype, rule.protocol, rule.ports, rule.icmp_type, rule.icmp_code, rule.cidrs, rule.groups)
        cover = seen.setdefault(same, rule)
        if cover is rule and number < compared:
            cover = next((earlier for earlier in rules[:number] if _covers(earlier, rule)), rule)
        if cover is not rule:
            spot = context.declared.spot("security_groups", group, str(rule.direction), number)
            context.reporter.report("W002", spot, f"the rule at {cover.place} allows all of this already")


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether all that `narrow` allows is allowed by `wide` as well; False for long lists, which would take too long."""
    if wide.protocol is not None and wide.protocol != narrow.protocol:
        return False
    if wide.ethertype is not None and wide.ethertype != narrow.ethertype:
        return False
    if max(map(len, (wide.ports, wide.cidrs, narrow.ports, narrow.cidrs))) > _MAX_PARTS:
        return False
    if wide.ports and not (narrow.ports and all(_holds(wide.ports, each) for each in narrow.ports)):
        return False
    if wide.icmp_type is not None and wide.icmp_type != narrow.icmp_type:
        return False
    if wide.icmp_code is not None and wide.icmp_code != narrow.icmp_code:
        return False
    if wide.is_from_anyone:
        return True
    if narrow.is_from_anyone or not set(narrow.groups) <= set(wide.groups):
        return False
    return all(any(_contains(big, small) for big in wide.cidrs) for small in narrow.cidrs)


def _holds(ranges: tuple[Range, ...], wanted: Range) -> bool:
    return any(each.first <= wanted.first and wanted.last <= each.last for each in ranges)


def _contains(big: Prefix, small: Prefix) -> bool:
    return big.version == small.version and big.prefixlen <= small.prefixlen and small.network_address in big
