"""What the two policy features share: the table of far classes, and the flows of a class's rules.

The rules of both directions are looked up alike: the address of the far side becomes its class (`PEER`) if a rule
here names a group of it, then the class of the near side and the packet decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

from controller.model.entities import Direction, SecurityGroup
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
from controller.pipeline.flow import Flow, Origin, match
from controller.pipeline.program import Builder
from controller.pipeline.registers import PEER, SPACE, Register
from controller.pipeline.rules import is_unrestricted, named_groups, rule_matches, rules_of
from controller.pipeline.tables import Stage, Table
from controller.pipeline.view import class_key, class_name

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


def write_rules(builder: Builder, side: Side) -> None:
    """Write the flows of the host's classes for one direction."""
    view = builder.view
    groups = view.fabric.topology.groups
    named: set[str] = set()
    for names in view.classes.values():
        members = tuple(groups[name] for name in names)
        if not members and side.direction is Direction.EGRESS:
            # A port without groups is closed to others, but may itself speak (nothing in, everything out).
            _write_open(builder, side, names, Origin("ports without security groups", None))
            continue
        if is_open(members, side.direction):
            _write_open_class(builder, side, members)
            continue
        named |= named_groups(members, side.direction)
        kind = f"{side.direction} rules"
        builder.extend(view.shared.flows(kind, class_name(names), partial(_rules, builder, side, members)))
    _write_peers(builder, side, named)
    ours = Origin("Weft: fragments", None)
    for ethertype in (ETH_IPV4, ETH_IPV6):
        where = match(eth_type=ethertype, ip_frag=_LATER)
        builder.flow(side.rules, 300, where, goto=side.allowed, kind="later fragment", origin=ours)
    ours = Origin("Weft: unknown far side", None)
    builder.flow(side.peer, 0, (), [PEER.load(0)], side.rules, kind="unknown far side", origin=ours)


def _write_open_class(builder: Builder, side: Side, members: tuple[SecurityGroup, ...]) -> None:
    """Write the shortcut of a class that a rule opens wholly."""
    rule = next(rule for _, rule in rules_of(members, side.direction) if is_unrestricted(rule))
    group = next(group for group, found in rules_of(members, side.direction) if found is rule)
    origin = Origin(f"{group.name} {side.direction} rule", rule.place)
    _write_open(builder, side, tuple(member.name for member in members), origin)


def _write_open(builder: Builder, side: Side, names: tuple[str, ...], origin: Origin) -> None:
    # Only what is tracked is open: a frame that is neither IP nor ARP stays closed for ports under policy.
    own = {side.own.field: side.own.is_(class_key(names))}
    near = match(**own, ct_state=(CT_TRACKED, CT_TRACKED))
    builder.flow(side.state, 250, near, goto=side.allowed, kind="everything allowed", origin=origin)


def _rules(builder: Builder, side: Side, members: tuple[SecurityGroup, ...]) -> list[Flow]:
    """Return a class's rule flows; they are alike on every host."""
    flows = []
    for found in rule_matches(builder.view.fabric, members, side.direction, side.own):
        if found.conjunctions:
            made = builder.make(
                side.rules, _JOINT, found.match, found.conjunctions, kind="part of a rule", origin=found.origin
            )
        else:
            made = builder.make(side.rules, _DIRECT, found.match, goto=side.allowed, kind="rule", origin=found.origin)
        flows.append(made)
    return flows


def _write_peers(builder: Builder, side: Side, named: set[str]) -> None:
    """Write whose address is whose, for the addresses of groups that a rule here names."""
    if not named:
        return
    view = builder.view
    wanted = ",".join(sorted(named))
    for space, key in sorted({(facts.space, facts.space_key) for facts in view.networks}):
        make = partial(_peers, builder, side, named, space, key)
        builder.extend(view.shared.flows(f"{side.direction} peers of {wanted}", space, make))


def _peers(builder: Builder, side: Side, named: set[str], space: str, key: int) -> list[Flow]:
    flows = []
    for identity in builder.view.fabric.identities.get(space, ()):
        if named.isdisjoint(identity.groups):
            continue
        version = identity.prefix.version
        field = f"ip_{side.far}" if version == 4 else f"ipv6_{side.far}"
        where = match(
            **{SPACE.field: SPACE.is_(key), field: identity.prefix},
            eth_type=ETH_IPV4 if version == 4 else ETH_IPV6,
        )
        origin = Origin(f"members of {class_name(identity.groups)}", None)
        load = [PEER.load(class_key(identity.groups))]
        priority = 100 + identity.prefix.prefixlen
        flows.append(builder.make(side.peer, priority, where, load, side.rules, kind="far side", origin=origin))
    return flows
