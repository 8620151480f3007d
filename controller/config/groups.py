"""A tenant's security groups: rules with numbers for words, and the group that every tenant has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.config.declared import Declared
from controller.config.fabric import Fabric
from controller.config.problem import quote
from controller.config.scalars import PROTOCOLS, protocol_name
from controller.config.schema import EgressRule, Ethertype, IngressRule, TenantFile
from controller.config.schema import SecurityGroup as DeclaredGroup
from controller.config.shared import ADDRESS_GROUPS, GROUPS, Loan, Standing, Thing, check_share, in_model
from controller.config.source import Reporter, Spot
from controller.model.entities import Direction, Place, Prefix, Range, Rule, SecurityGroup, Tenant

DEFAULT_GROUP = "default"

WITH_PORTS = frozenset(PROTOCOLS[name] for name in ("tcp", "udp", "sctp"))
_KINDS = {GROUPS: "group", ADDRESS_GROUPS: "address group"}
_ICMP_VERSION = {PROTOCOLS["icmp"]: 4, PROTOCOLS["icmpv6"]: 6}

# Rules are compared pairwise where that is quick: beyond these numbers only equal ones are found.
_MAX_TENANT_RULES = 2000
_MAX_GROUP_RULES = 64
_MAX_PARTS = 4


@dataclass(frozen=True, slots=True)
class GroupContext:
    """What the groups of a tenant are built from. `loan` tells of other tenants' groups."""

    fabric: Fabric
    tenant: Tenant
    declared: Declared[TenantFile]
    loan: Loan
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
        spot = context.declared.spot("security_groups", name)
        check_share(context.fabric, owner, spot / "share", each.share, context.reporter)
        groups[f"{owner}/{name}"] = SecurityGroup(
            name=f"{owner}/{name}",
            tenant=owner,
            ingress=ingress,
            egress=egress,
            place=context.declared.place("security_groups", name),
            enforce=each.enforce,
            stateless=each.stateless,
            log=each.log,
            share=in_model(each.share),
        )
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
    elif rule.ports == ():
        message = 'an empty "ports" allows nothing: leave the key out for all ports, or the rule out for none'
        report("N026", spot / "ports", message)
    for key in ("type", "code"):
        if getattr(rule, key) is not None and protocol not in _ICMP_VERSION:
            report("N026", (spot / key).key, f'"{key}" goes with the protocols icmp and icmpv6')
    if rule.code is not None and rule.type is None and protocol in _ICMP_VERSION:
        report("N026", (spot / "code").key, '"code" needs a "type"')
    far = _peers(context, direction, rule, spot)
    return Rule(
        direction=direction,
        ethertype=_ethertype(context.reporter, rule, far, spot, direction),
        protocol=protocol,
        ports=rule.ports or (),
        icmp_type=rule.type,
        icmp_code=rule.code,
        cidrs=far.cidrs,
        groups=far.groups,
        place=place,
        addresses=far.addresses,
        enforce=rule.enforce,
        log=rule.log,
    )


def _ethertype(
    reporter: Reporter, rule: IngressRule | EgressRule, far: FarSide, spot: Spot, direction: Direction
) -> int | None:
    """Return the IP version that the rule is about, None for both."""
    given = None if rule.ethertype is None else 4 if rule.ethertype is Ethertype.IPV4 else 6
    implied = _ICMP_VERSION.get(rule.protocol) if rule.protocol is not None else None
    if given and implied and given != implied:
        message = f"protocol {protocol_name(rule.protocol)} is IPv{implied}'s"
        reporter.report("N027", spot / "ethertype", message)
    version = given or implied
    versions = {cidr.version for cidr in far.cidrs}
    if version and versions - {version}:
        where = spot / ("from" if direction is Direction.INGRESS else "to")
        wrong = next(cidr for cidr in far.cidrs if cidr.version != version)
        reporter.report("N027", where, f"{wrong} is IPv{wrong.version}, and the rule is about IPv{version}")
    # A rule that names groups of any kind is about both versions: what is in them may have either.
    if version is None and len(versions) == 1 and not any(peer.cidr is None for peer in rule.peers or ()):
        version = versions.pop()
    return version


@dataclass(frozen=True, slots=True)
class FarSide:
    """Whom a rule speaks of; of nothing but anyone where all three are empty."""

    cidrs: tuple[Prefix, ...] = ()
    groups: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


def _peers(context: GroupContext, direction: Direction, rule: IngressRule | EgressRule, spot: Spot) -> FarSide:
    """Return the far side of a rule."""
    if rule.peers is None:
        return FarSide()
    key = "from" if direction is Direction.INGRESS else "to"
    report = context.reporter.report
    if not rule.peers:
        report(
            "N026",
            spot / key,
            f'an empty "{key}" allows nobody: leave the key out for anyone, or the rule out for nobody',
        )
    cidrs: dict[Prefix, None] = {}
    groups: dict[str, None] = {}
    addresses: dict[str, None] = {}
    for number, peer in enumerate(rule.peers):
        where = spot / key / number
        if [peer.cidr, peer.group, peer.address_group].count(None) != 2:
            report("N026", where, "the far side is one of {cidr: …}, {group: …} and {address_group: …}")
        elif peer.cidr is not None:
            cidrs[peer.cidr] = None
        elif peer.group is not None:
            groups |= dict.fromkeys(find(context, where / "group", GROUPS, peer.group))
        elif peer.address_group is not None:
            addresses |= dict.fromkeys(find(context, where / "address_group", ADDRESS_GROUPS, peer.address_group))
    return FarSide(tuple(cidrs), tuple(groups), tuple(addresses))


def find(context: GroupContext, spot: Spot, section: str, reference: str) -> tuple[str, ...]:
    """Return the qualified name of a group or address group that the tenant may use; report if there is none, and return nothing."""
    tenant = context.tenant.name
    owner, _, name = reference.rpartition("/")
    if owner and owner != tenant:
        return _find_foreign(context, spot, Thing(section, owner, name))
    known = getattr(context.declared.content, section)
    if name in known or (section == GROUPS and name == DEFAULT_GROUP):
        return (f"{tenant}/{name}",)
    if not context.declared.hides(section, name):
        context.reporter.unknown(_KINDS[section], spot, name, known, context.declared.spot(section))
    return ()


def _find_foreign(context: GroupContext, spot: Spot, thing: Thing) -> tuple[str, ...]:
    standing = context.loan.standing(thing)
    if standing is Standing.SHARED:
        return (str(thing),)
    if standing is Standing.STRANGER:
        fabric = context.fabric
        context.reporter.unknown("tenant", spot, thing.owner, fabric.tenants, fabric.declared.spot("tenants"))
    elif standing is Standing.WITHHELD:
        tenant = context.tenant.name
        message = f"{_KINDS[thing.section]} {quote(str(thing))} is not shared with {tenant}"
        context.reporter.report("N042", spot, message, f"{thing.owner} shares it with `share: {tenant}`")
    return ()


def check_one_kind(context: GroupContext, spots: Sequence[Spot], names: Sequence[str]) -> bool:
    """Report the first group of a port's that is stateless among others that are not, or the reverse; return whether all are alike."""
    kinds = [_is_stateless(context, name) for name in names]
    for spot, name, kind in zip(spots, names, kinds, strict=True):
        if kind != kinds[0]:
            message = f"{names[0]} is {_word(kinds[0])} and {name} {_word(kind)}: a port has groups of one kind"
            places = " and ".join(f"{each} at {_place(context, each)}" for each in (names[0], name))
            context.reporter.report("N029", spot, message, places)
            return False
    return True


def _is_stateless(context: GroupContext, qualified: str) -> bool:
    owner, _, name = qualified.partition("/")
    if owner != context.tenant.name:
        return context.loan.is_stateless(Thing(GROUPS, owner, name))
    own = context.declared.content.security_groups.get(name)
    return own is not None and own.stateless


def _place(context: GroupContext, qualified: str) -> Place:
    owner, _, name = qualified.partition("/")
    if owner != context.tenant.name:
        return context.loan.place(Thing(GROUPS, owner, name))
    is_declared = name in context.declared.content.security_groups
    return context.declared.place(GROUPS, name) if is_declared else context.tenant.place


def _word(is_stateless: bool) -> str:
    return "stateless" if is_stateless else "stateful"


def _warn_of_covered(context: GroupContext, group: str, rules: tuple[Rule, ...], compared: int) -> None:
    """Warn of rules that allow nothing which an earlier rule does not allow already; the first `compared` are compared."""
    seen: dict[tuple[object, ...], Rule] = {}
    for number, rule in enumerate(rules):
        cover = seen.setdefault(_content(rule), rule)
        if cover is rule and number < compared:
            cover = next((earlier for earlier in rules[:number] if _covers(earlier, rule)), rule)
        if cover is not rule:
            spot = context.declared.spot("security_groups", group, str(rule.direction), number)
            context.reporter.report("W002", spot, f"the rule at {cover.place} allows all of this already")


def _content(rule: Rule) -> tuple[object, ...]:
    """Return what makes a rule, to find equal ones."""
    packets = (rule.ethertype, rule.protocol, rule.ports, rule.icmp_type, rule.icmp_code)
    return (*packets, rule.cidrs, rule.groups, rule.addresses, rule.enforce, rule.log)


def _covers(wide: Rule, narrow: Rule) -> bool:
    """Whether `narrow` changes nothing beside `wide`, which allows as much; False for long lists, which would take too long."""
    if (narrow.enforce and not wide.enforce) or (narrow.log and not wide.log):
        return False
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
    if not set(narrow.addresses) <= set(wide.addresses):
        return False
    return all(any(_contains(big, small) for big in wide.cidrs) for small in narrow.cidrs)


def _holds(ranges: tuple[Range, ...], wanted: Range) -> bool:
    return any(each.first <= wanted.first and wanted.last <= each.last for each in ranges)


def _contains(big: Prefix, small: Prefix) -> bool:
    return big.version == small.version and big.prefixlen <= small.prefixlen and small.network_address in big
