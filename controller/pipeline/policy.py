"""What the two policy features share: the table of far classes, and the flows of a class's rules.

The rules of both directions are looked up alike: the address of the far side becomes its class (`PEER`) if a rule
here names a group of it, then the class of the near side and the packet decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.graph import queries
from controller.graph.queries import Identity
from controller.memo import Memo, query
from controller.model.entities import Direction, SecurityGroup
from controller.model.ids import key
from controller.pipeline.fields import (
    CT_ESTABLISHED,
    CT_NEW,
    CT_RELATED,
    CT_REPLY,
    CT_TRACKED,
    ETH_IPV4,
    ETH_IPV6,
    PROTO_SCTP,
)
from controller.pipeline.flow import Origin, Wanted, match
from controller.pipeline.program import Builder
from controller.pipeline.registers import PEER, SPACE, Register
from controller.pipeline.rules import is_unrestricted, named_groups, rule_matches, rules_of
from controller.pipeline.tables import Stage, Table
from controller.pipeline.view import Groups, class_key, class_name, classes_of_space

# Conjunctions stand below the flows that allow by themselves: flows of one priority must not overlap with different effects.
_DIRECT, _JOINT = 200, 100

# The tracker hands fragments on when it has seen all of a packet, and no new connection is let out or delivered without
# another visit there. So the first fragment, which alone names ports, decides: without it the others stay with the tracker.
_LATER = (3, 3)

# Multicast listener and neighbour discovery (RFC 2710, 3810, 4861): sent before there is any connection.
UNTRACKED_ICMPV6 = (130, 131, 132, 133, 134, 135, 136, 137, 143)


# What has been let in belongs to a connection that bears the receiver's class as its mark. An entry without it was
# made when a packet left, maybe for a MAC that is not the address's owner's: it lets the opener's side send and hear,
# and says nothing of what the other side allows.
_GOING = (CT_ESTABLISHED, CT_RELATED)


def going(*, reply: bool) -> list[tuple[int, int]]:
    """Return the states of what belongs to a connection, its ICMP errors included, in one direction."""
    direction = CT_REPLY if reply else 0
    return [(CT_TRACKED | direction | state, CT_TRACKED | CT_REPLY | state) for state in _GOING]


def is_open(members: Iterable[SecurityGroup], direction: Direction) -> bool:
    """Return whether a rule of these groups allows everything in a direction."""
    return any(is_unrestricted(rule) for _, rule in rules_of(members, direction))


# The packets that start a connection, one match per IP version: an action `ct` needs to know it.
NEW_CONNECTIONS = tuple(
    match(eth_type=ethertype, ct_state=(CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW)) for ethertype in (ETH_IPV4, ETH_IPV6)
)

# Packets of the opener of a connection that nobody here has let in so far, and that one has let in just now.
LEFT_ONLY = tuple(
    match(
        eth_type=ethertype,
        ct_state=(CT_TRACKED | CT_ESTABLISHED, CT_TRACKED | CT_ESTABLISHED | CT_REPLY),
        ct_mark=0,
    )
    for ethertype in (ETH_IPV4, ETH_IPV6)
)

# Open vSwitch's userspace tracker knows an SCTP association by its two addresses alone, whatever its ports: what has been
# allowed to one port would be a door to all. So packets of its opener meet the rules again (Linux's tracker needs no such help).
SCTP_OF_OPENER = tuple(
    match(
        eth_type=ethertype,
        ip_proto=PROTO_SCTP,
        ct_state=(CT_TRACKED | CT_ESTABLISHED, CT_TRACKED | CT_ESTABLISHED | CT_REPLY),
    )
    for ethertype in (ETH_IPV4, ETH_IPV6)
)


@dataclass(frozen=True, slots=True)
class Side:
    """One direction of the policy: its tables, the register of the near class, the far address, where to go on."""

    direction: Direction
    state: str
    peer: str
    rules: str
    own: Register
    far: str
    allowed: Stage


RULE_KINDS = {
    "SCTP of the opener": "ports are looked at in every packet, because not every tracker tells associations apart by them",
    "far side": "an address of a member of a group that a rule names",
    "unknown far side": "nobody whom a rule names",
    "rule": "a rule, or one mask of its port ranges",
    "later fragment": "it has no ports to look at; the tracker keeps it back unless the first fragment passes",
    "part of a rule": "one dimension of a rule's conjunction",
}


def rule_tables(side: Side, stage: Stage, slot: int) -> tuple[Table, Table]:
    """Return the declarations of a direction's two tables of rules, in two slots of its stage."""
    near, far = ("sender", "receiver") if side.direction is Direction.EGRESS else ("receiver", "sender")
    addresses = (f"ip_{side.far}", f"ipv6_{side.far}")
    peer = Table(
        name=side.peer,
        stage=stage,
        slot=slot,
        matches=(SPACE.field, "eth_type", *addresses),
        writes=(PEER.field,),
        next=(side.rules,),
        purpose=f"the {far}'s address -> its class, for rules that name groups",
        miss="cannot be reached: what nobody names has class 0",
    )
    rules = Table(
        name=side.rules,
        stage=stage,
        slot=slot + 1,
        matches=(
            *(side.own.field, PEER.field, "eth_type", "ip_frag", "ip_proto", *addresses, "conj_id"),
            *("tcp_dst", "udp_dst", "sctp_dst", "icmp_type", "icmp_code", "icmpv6_type", "icmpv6_code"),
        ),
        writes=(),
        next=(side.allowed,),
        purpose=f"the {near}'s class and the packet decide",
        miss=f"dropped: {side.direction} default deny",
    )
    return peer, rules


def write_fragments(builder: Builder, side: Side) -> None:
    """Write what holds for every class."""
    ours = Origin("Weft: fragments", None)
    for ethertype in (ETH_IPV4, ETH_IPV6):
        where = match(eth_type=ethertype, ip_frag=_LATER)
        builder.flow(side.rules, 300, where, goto=side.allowed, kind="later fragment", origin=ours)
    ours = Origin("Weft: unknown far side", None)
    builder.flow(side.peer, 0, (), [PEER.load(0)], side.rules, kind="unknown far side", origin=ours)


def members_of(memo: Memo, names: Iterable[str]) -> tuple[SecurityGroup, ...]:
    """Return groups by name."""
    found = (queries.group(memo, name) for name in names)
    return tuple(each for each in found if each is not None)


def write_rules(builder: Builder, side: Side, names: Groups) -> None:
    """Write the flows of a class of ports for one direction."""
    members = members_of(builder.memo, names)
    if not members and side.direction is Direction.EGRESS:
        # A port without groups is closed to others, but may itself speak (nothing in, everything out).
        _write_open(builder, side, names, Origin("ports without security groups", None))
        return
    if is_open(members, side.direction):
        _write_open_class(builder, side, members)
        return
    for found in rule_matches(builder.memo, members, side.direction, side.own):
        if found.conjunctions:
            where, parts, why = found.match, found.conjunctions, found.origin
            builder.flow(side.rules, _JOINT, where, parts, kind="part of a rule", origin=why)
        else:
            builder.flow(side.rules, _DIRECT, found.match, goto=side.allowed, kind="rule", origin=found.origin)


def _write_open_class(builder: Builder, side: Side, members: tuple[SecurityGroup, ...]) -> None:
    """Write the shortcut of a class that a rule opens wholly."""
    rule = next(rule for _, rule in rules_of(members, side.direction) if is_unrestricted(rule))
    group = next(group for group, found in rules_of(members, side.direction) if found is rule)
    origin = Origin(f"{group.name} {side.direction} rule", rule.place, rule)
    _write_open(builder, side, tuple(member.name for member in members), origin)


def _write_open(builder: Builder, side: Side, names: tuple[str, ...], origin: Origin) -> None:
    # Only what is tracked is open: a frame that is neither IP nor ARP stays closed for ports under policy.
    own = {side.own.field: side.own.is_(class_key(names))}
    near = match(**own, ct_state=(CT_TRACKED, CT_TRACKED))
    builder.flow(side.state, 250, near, goto=side.allowed, kind="everything allowed", origin=origin)


@query
def _named(memo: Memo, names: Groups, direction: Direction) -> frozenset[str]:
    """Return the groups that must be known by their members' addresses where a class is judged."""
    members = members_of(memo, names)
    return frozenset() if is_open(members, direction) else frozenset(named_groups(members, direction))


@query
def named_on(memo: Memo, host: str, space: str, direction: Direction) -> frozenset[str]:
    """Return the groups that some rule of a host's ports in an address space names as its far side."""
    classes = classes_of_space(memo, host, space)
    return frozenset().union(*(_named(memo, names, direction) for names in classes))


def write_identity(builder: Builder, side: Side, space: str, identity: Identity, direction: Direction) -> None:
    """Write whose an address is in an address space, for the rules of one direction."""
    if direction is not side.direction:
        return
    version = identity.prefix.version
    field = f"ip_{side.far}" if version == 4 else f"ipv6_{side.far}"
    here: dict[str, Wanted] = {SPACE.field: SPACE.is_(key("space", space)), field: identity.prefix}
    where = match(**here, eth_type=ETH_IPV4 if version == 4 else ETH_IPV6)
    load, origin = PEER.load(class_key(identity.groups)), Origin(f"members of {class_name(identity.groups)}", None)
    priority = 100 + identity.prefix.prefixlen
    builder.flow(side.peer, priority, where, [load], side.rules, kind="far side", origin=origin)
