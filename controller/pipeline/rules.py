"""Security-group rules as flows of one class of ports.

A rule is a product of what it says of the protocol (port ranges become masks) and of the far side (prefixes and, for groups,
the classes that hold their members). Where one factor is single the product is written out; otherwise the two become the
dimensions of a conjunction, so that a rule costs the sum and never the product (ovs-actions(7), "conjunction").

Rules look at the packet that opened the connection, as the tracker remembers it, and not at the one that is there: so they say the same
of an answer. Only ports are the packet's own, because Open vSwitch tells those apart by as few bits as will do, and a scan of all ports
costs the datapath a handful of megaflows; an answer is given its opener's port while the rules look (`policy.write_answers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from controller.graph.identities import addresses_name, combinations_with
from controller.memo import Memo
from controller.model.entities import Direction, Range, Rule, SecurityGroup
from controller.model.ids import key
from controller.pipeline.fields import (
    BY_NAME,
    CT_INVALID,
    CT_TRACKED,
    ETH_IPV4,
    ETH_IPV6,
    FIELDS,
    PROTO_SCTP,
    PROTO_TCP,
    PROTO_UDP,
)
from controller.pipeline.flow import Conjunction, Match, Origin, Wanted, match
from controller.pipeline.registers import PEER
from controller.pipeline.samples import is_logged
from controller.pipeline.view import class_key

Conditions = dict[str, Wanted]

_ETHERTYPES = {4: ETH_IPV4, 6: ETH_IPV6}
_PORT_BITS = 16
_ADDRESSES = frozenset(BY_NAME[name].index for name in ("ct_nw_src", "ct_nw_dst", "ct_ipv6_src", "ct_ipv6_dst"))
PORT_FIELDS = {PROTO_TCP: "tcp_dst", PROTO_UDP: "udp_dst", PROTO_SCTP: "sctp_dst"}
_RANKED = _ADDRESSES | {BY_NAME[name].index for name in ("ct_tp_src", "ct_tp_dst", *PORT_FIELDS.values())}
_ANYBODY = 5_000  # Above all ranks of what asks for an address.

# What lets a flow ask for the packet that opened a connection (ovs-fields(7), "Conntrack Fields").
_TRACKED: Conditions = {"ct_state": (CT_TRACKED, CT_TRACKED | CT_INVALID)}


@dataclass(frozen=True, slots=True)
class RuleMatch:
    """One flow of a rule: what it matches, and the conjunctions it takes part in; none means that it allows."""

    match: Match
    conjunctions: tuple[Conjunction, ...]
    origin: Origin
    is_logged: bool


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


def rank(found: Match) -> int:
    """Return how early a flow that allows by itself is looked up; all have the same effect, so only the cost depends on it.

    A switch looks at the flows with one mask after those with another, and for what it has looked at so far a packet is told apart from
    others. So what asks for no address goes first: who is allowed whatever its address does not cost a megaflow for each. After it
    goes what asks for the longest prefix, and of ports for the longest range's: all shorter ones then tell no more apart.
    """
    ports = addresses = 0
    for index, _, mask in found:
        if index in _RANKED:
            bits = (FIELDS[index].ones if mask is None else mask).bit_count()
            if index in _ADDRESSES:
                addresses += bits
            else:
                ports += bits
    return addresses * 33 + ports if addresses else _ANYBODY + ports


def is_unrestricted(rule: Rule) -> bool:
    """Return whether the rule allows everything in its direction."""
    return rule.is_from_anyone and rule.ethertype is None and rule.protocol is None and rule.enforce


def rules_of(groups: Iterable[SecurityGroup], direction: Direction) -> list[tuple[SecurityGroup, Rule]]:
    """Return the rules of a class in one direction, each with its group."""
    if direction is Direction.INGRESS:
        return [(group, rule) for group in groups for rule in group.ingress]
    return [(group, rule) for group in groups for rule in group.egress]


def named_groups(groups: Iterable[SecurityGroup], direction: Direction) -> set[str]:
    """Return what the rules of a class name as their far side: groups, and address groups by `addresses_name`."""
    return {name for _, rule in rules_of(groups, direction) for name in _far(rule)}


def far_names(memo: Memo, names: Iterable[str]) -> set[frozenset[str]]:
    """Return all that an address may be that belongs to one of these groups or address groups."""
    return {combination for name in names for combination in combinations_with(memo, name)}


def rule_matches(
    memo: Memo,
    groups: tuple[SecurityGroup, ...],
    direction: Direction,
    base: Conditions,
    own: str,
    look: Look | None = None,
    *,
    apart: bool | None = None,
) -> list[RuleMatch]:
    """Return what the rules of a class match, each match once.

    `base` holds the condition that the class is judged, `own` is the class's name; `look` says where rules look, by default at the
    connection's first packet. With `apart` it is only the rules that stand for themselves, whoever is in the groups: what names no
    group and is no conjunction, whose parts others may share. If it is False it is only the others.
    """
    look = look or FIRST_PACKET
    direct: dict[Match, tuple[Origin, bool]] = {}
    # The parts of a conjunction stand at one priority, and rules that are not enforced have their own.
    joint: dict[tuple[Match, bool, bool], tuple[list[Conjunction], Origin]] = {}
    # What is not enforced is a drop that does not happen, and is logged where drops are.
    logs_drops = any(group.log for group in groups)
    # A match that two rules have is the enforced one's, and the one's that is logged.
    for group, rule in sorted(
        rules_of(groups, direction), key=lambda found: (not found[1].enforce, not is_logged(*found))
    ):
        origin = Origin(f"{group.name} {direction} rule", rule.place, rule)
        logged = is_logged(group, rule) or (logs_drops and not rule.enforce)
        for version in look.versions(rule):
            start = base if version is None else base | {"eth_type": _ETHERTYPES[version]}
            protocols = list(look.protocols(rule, version))
            peers = [] if apart and _far(rule) else list(_peers(memo, look, rule, version, direction))
            is_direct = len(protocols) * len(peers) <= len(protocols) + len(peers) + 1
            if apart is not None and apart is not (is_direct and not _far(rule)):
                continue
            if is_direct:
                for found in _products(match(**start), protocols, peers):
                    direct.setdefault(found, (origin, logged))
                continue
            number = key("conjunction", f"{direction} {own} {group.name} {version} {_text(rule)}")
            for clause, dimension in enumerate((protocols, peers), 1):
                for part in dimension:
                    parts, _ = joint.setdefault((match(**(start | part)), logged, rule.enforce), ([], origin))
                    if (conjunction := Conjunction(number, clause, 2)) not in parts:
                        parts.append(conjunction)
            direct.setdefault(match(**start, conj_id=number), (origin, logged))
    allowed = [RuleMatch(conditions, (), origin, logged) for conditions, (origin, logged) in direct.items()]
    # In the order of their numbers: rules that change places leave the flows as they are.
    return allowed + [
        RuleMatch(conditions, tuple(sorted(parts, key=lambda part: (part.id, part.clause))), origin, logged)
        for (conditions, logged, _), (parts, origin) in joint.items()
    ]


def _products(start: Match, protocols: Iterable[Conditions], peers: Iterable[Conditions]) -> Iterator[Match]:
    """Yield the matches of every protocol with every far side. A match is in the order of its fields, of which each has one condition."""
    far = [match(**peer) for peer in peers]
    for protocol in protocols:
        near = {*start, *match(**protocol)}
        for each in far:
            yield tuple(sorted(near.union(each)))


def _versions(rule: Rule) -> list[int] | list[None]:
    """Return the IP versions that take a flow each; None stands for both at once, as only IP meets the rules."""
    if rule.ethertype is not None:
        return [rule.ethertype]
    # An address is of one version, and so is a flow that looks at a port.
    return [4, 6] if rule.cidrs or rule.ports else [None]


def _protocols(rule: Rule, _version: int | None) -> Iterator[Conditions]:
    """Yield what the rule says of the protocol, one per mask of its port ranges."""
    if rule.protocol is None:
        yield {}
        return
    if rule.ports:
        for pair in port_masks(rule):
            yield {"ip_proto": rule.protocol, PORT_FIELDS[rule.protocol]: pair}
        return
    start: Conditions = _TRACKED | {"ct_nw_proto": rule.protocol}
    if rule.icmp_type is not None:
        start["ct_tp_src"] = rule.icmp_type
    if rule.icmp_code is not None:
        start["ct_tp_dst"] = rule.icmp_code
    yield start


def port_masks(rule: Rule) -> list[tuple[int, int]]:
    """Return the (value, mask) pairs of a rule's ports, each once."""
    return sorted({pair for ports in rule.ports for pair in masks(ports)})


@dataclass(frozen=True, slots=True)
class Look:
    """Where rules look: the IP versions that a rule needs flows for, what it says of the protocol, and the far address.

    `addresses` are the beginnings of its fields' names by IP version, `with_address` is what these fields need.
    """

    versions: Callable[[Rule], list[int] | list[None]]
    protocols: Callable[[Rule, int | None], Iterable[Conditions]]
    addresses: tuple[str, str]
    with_address: Mapping[str, Wanted]

    def field(self, version: int | None, direction: Direction) -> str:
        """Return the field of the far address."""
        return self.addresses[version == 6] + ("src" if direction is Direction.INGRESS else "dst")


FIRST_PACKET = Look(_versions, _protocols, ("ct_nw_", "ct_ipv6_"), _TRACKED)


def _peers(memo: Memo, look: Look, rule: Rule, version: int | None, direction: Direction) -> Iterator[Conditions]:
    """Yield the far sides of a rule: prefixes, and what addresses are that belong to its groups and address groups."""
    if rule.is_from_anyone:
        yield {}
        return
    for cidr in rule.cidrs:
        if cidr.version == version:
            # A prefix of no length is anybody of that version.
            yield {**look.with_address, look.field(version, direction): cidr} if cidr.prefixlen else {}
    for combination in sorted(map(sorted, far_names(memo, _far(rule)))):
        yield {PEER.field: PEER.is_(class_key(combination))}


def _far(rule: Rule) -> list[str]:
    return [*rule.groups, *map(addresses_name, rule.addresses)]


def _text(rule: Rule) -> str:
    """Return what a rule says, without where it says it: a moved line keeps its numbers."""
    said = rule.protocol, rule.ports, rule.icmp_type, rule.icmp_code, rule.cidrs, rule.groups
    more = tuple(each for each in (rule.addresses, rule.enforce) if each not in ((), True))
    return repr(said + more)
