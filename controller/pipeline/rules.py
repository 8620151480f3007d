"""Security-group rules as flows of one class of ports.

A rule is a product of what it says of the protocol (port ranges become masks) and of the far side (prefixes and, for groups,
the classes that hold their members). Where one factor is single the product is written out; otherwise the two become the
dimensions of a conjunction, so that a rule costs the sum and never the product (ovs-actions(7), "conjunction").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controller.graph import queries
from controller.memo import Memo
from controller.model.entities import Direction, Range, Rule, SecurityGroup
from controller.model.ids import key
from controller.pipeline.fields import ETH_IPV4, ETH_IPV6, PROTO_ICMP, PROTO_ICMPV6, PROTO_SCTP, PROTO_TCP, PROTO_UDP
from controller.pipeline.flow import Conjunction, Match, Origin, Wanted, match
from controller.pipeline.registers import PEER, Register
from controller.pipeline.view import class_key, class_name

Conditions = dict[str, Wanted]

_PORT_FIELD = {PROTO_TCP: "tcp_dst", PROTO_UDP: "udp_dst", PROTO_SCTP: "sctp_dst"}
_ETHERTYPES = {4: ETH_IPV4, 6: ETH_IPV6}
_ICMP: dict[tuple[int, int | None], str] = {(PROTO_ICMP, 4): "icmp", (PROTO_ICMPV6, 6): "icmpv6"}
_PORT_BITS = 16


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """One flow of a rule: what it matches, and the conjunctions it takes part in; none means that it allows."""

    match: Match
    conjunctions: tuple[Conjunction, ...]
    origin: Origin


def masks(ports: Range) -> Iterator[tuple[int, int]]:
    """Yield the (value, mask) pairs that cover a range of ports and nothing else, the fewest prefixes that do.

    >>> [(hex(value), hex(mask)) for value, mask in masks(Range(80, 83))]
    [('0x50', '0xfffc')]
    """
    low, high = ports.first, ports.last
    while low <= high:
        size = low & -low if low else 1 << _PORT_BITS
        while low + size - 1 > high:
            size >>= 1
        yield low, (1 << _PORT_BITS) - size
        low += size


def is_unrestricted(rule: Rule) -> bool:
    """Return whether the rule allows everything in its direction."""
    return rule.is_from_anyone and rule.ethertype is None and rule.protocol is None


def rules_of(groups: Iterable[SecurityGroup], direction: Direction) -> list[tuple[SecurityGroup, Rule]]:
    """Return the rules of a class in one direction, each with its group."""
    if direction is Direction.INGRESS:
        return [(group, rule) for group in groups for rule in group.ingress]
    return [(group, rule) for group in groups for rule in group.egress]


def named_groups(groups: Iterable[SecurityGroup], direction: Direction) -> set[str]:
    """Return the groups that the rules of a class name as their far side."""
    return {name for _, rule in rules_of(groups, direction) for name in rule.groups}


def rule_matches(memo: Memo, groups: tuple[SecurityGroup, ...], direction: Direction, own: Register) -> list[RuleMatch]:
    """Return what the rules of a class match, each match once; `own` is the register that holds the class."""
    name = class_name(group.name for group in groups)
    base: Conditions = {own.field: own.is_(class_key(group.name for group in groups))}
    direct: dict[Match, Origin] = {}
    joint: dict[Match, tuple[list[Conjunction], Origin]] = {}
    for group, rule in rules_of(groups, direction):
        origin = Origin(f"{group.name} {direction} rule", rule.place, rule)
        for version in _versions(rule):
            start = base if version is None else base | {"eth_type": _ETHERTYPES[version]}
            protocols = list(_protocols(rule, version))
            peers = list(_peers(memo, rule, version, direction))
            if len(protocols) * len(peers) <= len(protocols) + len(peers) + 1:
                for protocol in protocols:
                    for peer in peers:
                        direct.setdefault(match(**start, **protocol, **peer), origin)
                continue
            number = key("conjunction", f"{direction} {name} {group.name} {version} {_text(rule)}")
            for clause, dimension in enumerate((protocols, peers), 1):
                for part in dimension:
                    found, _ = joint.setdefault(match(**start, **part), ([], origin))
                    if (conjunction := Conjunction(number, clause, 2)) not in found:
                        found.append(conjunction)
            direct.setdefault(match(**start, conj_id=number), origin)
    allowed = [RuleMatch(conditions, (), origin) for conditions, origin in direct.items()]
    # In the order of their numbers: rules that change places leave the flows as they are.
    return allowed + [
        RuleMatch(conditions, tuple(sorted(found, key=lambda part: (part.id, part.clause))), origin)
        for conditions, (found, origin) in joint.items()
    ]


def _versions(rule: Rule) -> list[int] | list[None]:
    """Return the IP versions that take a flow each; None stands for both at once, as only IP meets the rules."""
    if rule.ethertype is not None:
        return [rule.ethertype]
    return [4, 6] if rule.protocol is not None or rule.cidrs else [None]


def _protocols(rule: Rule, version: int | None) -> Iterator[Conditions]:
    """Yield what the rule says of the protocol, one per mask of its port ranges."""
    if rule.protocol is None:
        yield {}
        return
    start: Conditions = {"ip_proto": rule.protocol}
    if rule.ports:
        field = _PORT_FIELD[rule.protocol]
        for value, mask in sorted({pair for ports in rule.ports for pair in masks(ports)}):
            yield start | {field: (value, mask)}
        return
    prefix = _ICMP.get((rule.protocol, version))
    if prefix is not None and rule.icmp_type is not None:
        start |= {f"{prefix}_type": rule.icmp_type}
        if rule.icmp_code is not None:
            start |= {f"{prefix}_code": rule.icmp_code}
    yield start


def _peers(memo: Memo, rule: Rule, version: int | None, direction: Direction) -> Iterator[Conditions]:
    """Yield the far sides of a rule: prefixes, and the classes of addresses whose owners are in its groups."""
    if rule.is_from_anyone:
        yield {}
        return
    far = "src" if direction is Direction.INGRESS else "dst"
    field = f"ip_{far}" if version == 4 else f"ipv6_{far}"
    for cidr in rule.cidrs:
        if cidr.version == version:
            yield {field: cidr}
    named = {combination for name in rule.groups for combination in queries.combinations_with(memo, name)}
    for combination in sorted(map(sorted, named)):
        yield {PEER.field: PEER.is_(class_key(combination))}


def _text(rule: Rule) -> str:
    """Return what a rule says, without where it says it: a moved line keeps its numbers."""
    return repr((rule.protocol, rule.ports, rule.icmp_type, rule.icmp_code, rule.cidrs, rule.groups))
