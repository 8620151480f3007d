"""What the two policy features share: the tables that are asked from both policy stages, and the flows of a class of ports.

Every connection needs two yeses: the opener's egress policy and the answerer's ingress policy. Each is asked where its port is, for
packets in both directions:

    leaving a port    the opener's packet: egress policy of the sender       an answer: ingress policy of the sender
    coming to a port  the opener's packet: ingress policy of the receiver    an answer: egress policy of the receiver

`*_known` says whether the connection bears a good stamp (`controller.pipeline.stamps`); if not, `*_judge` asks the rules,
which look at the connection's first packet (ct_nw_src, ct_tp_dst, ...) and not at the present one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controller.graph import queries
from controller.graph.queries import Identity
from controller.memo import Memo, query
from controller.model.entities import Direction, Rule, SecurityGroup
from controller.model.ids import key
from controller.pipeline.fields import (
    CT_INVALID,
    CT_NEW,
    CT_REPLY,
    CT_TRACKED,
    ETH_IPV4,
    ETH_IPV6,
)
from controller.pipeline.flow import Action, Match, Metered, Origin, Resubmit, Wanted, match, move
from controller.pipeline.program import Builder
from controller.pipeline.registers import (
    ALLOWED,
    EGRESS_KEY,
    EGRESS_PEER,
    FRESH,
    INGRESS_KEY,
    INGRESS_PEER,
    JUDGED,
    KNOWN,
    LATER,
    PEER,
    REFUSED,
    SPACE,
    VERDICT,
    WOULD_REFUSE,
    Register,
)
from controller.pipeline.rules import (
    RuleMatch,
    far_names,
    is_unrestricted,
    named_groups,
    rank,
    rule_matches,
    rules_of,
)
from controller.pipeline.samples import is_logged, logs_drops, sample
from controller.pipeline.stamps import bears, bears_peer, stamp
from controller.pipeline.tables import Stage, Table
from controller.pipeline.view import Groups, PortView, class_key, class_name, classes_of_space

# Conjunctions stand below the flows that allow by themselves: flows of one priority must not overlap with different effects.
# What is not enforced comes last: only what it alone lets through is counted there. Of each kind, what is logged comes first.
# Flows that allow by themselves are looked up in the order of `controller.pipeline.rules.rank`, upwards of these.
_LATER_FRAGMENT = 60_000
_DIRECT, _JOINT = {True: 48_000, False: 36_000}, {True: 47_000, False: 35_000}
_DRY_DIRECT, _DRY_JOINT, _DRY_DEFAULT = {True: 24_000, False: 12_000}, {True: 23_000, False: 11_000}, 10

# The tracker hands fragments on when it has seen all of a packet, and those that rules have let by do not leave without
# another visit there. So the first fragment, which alone names ports, decides: without it the others stay with the tracker.
_LATER = (3, 3)

# Multicast listener and neighbour discovery (RFC 2710, 3810, 4861): sent before there is any connection.
UNTRACKED_ICMPV6 = (130, 131, 132, 133, 134, 135, 136, 137, 143)

# What the tracker can tell the first packet of: without this Open vSwitch takes no match on that packet.
TRACKED = (CT_TRACKED, CT_TRACKED | CT_INVALID)
OLD = (CT_TRACKED, CT_TRACKED | CT_NEW | CT_INVALID)


def opening(members: Iterable[SecurityGroup], direction: Direction) -> tuple[SecurityGroup, Rule] | None:
    """Return the rule of these groups, with its group, that makes all others superfluous in a direction; None if none does.

    A rule that allows everything does, unless others are logged and it is not.
    """
    rules = rules_of(members, direction)
    found = sorted((each for each in rules if is_unrestricted(each[1])), key=lambda each: not is_logged(*each))
    if not found or (any(is_logged(*each) for each in rules) and not is_logged(*found[0])):
        return None
    return found[0]


@dataclass(frozen=True, slots=True)
class Side:
    """One direction of policy: the names of its tables, its registers, and the field of the first packet's far address."""

    direction: Direction
    slot: int
    key: Register
    peer: Register
    far: str

    @property
    def known(self) -> str:
        """The table that looks at stamps."""
        return f"{self.direction}_known"

    @property
    def same(self) -> str:
        """The table that looks whether the far side is what it was."""
        return f"{self.direction}_same"

    @property
    def judge(self) -> str:
        """The table that a class's rules are asked from."""
        return f"{self.direction}_judge"

    @property
    def peers(self) -> str:
        """The table of far addresses."""
        return f"{self.direction}_peer"

    @property
    def rules(self) -> str:
        """The table of rules."""
        return f"{self.direction}_rules"

    def lookup(self, stateless: bool) -> tuple[str, tuple[str, str], dict[str, Wanted]]:
        """Return the table of far addresses, its fields by IP version and what else it asks for: of the packet or of its connection."""
        if stateless:
            return f"{self.direction}_packet_peer", (f"ip_{self.far}", f"ipv6_{self.far}"), {}
        return self.peers, (f"ct_nw_{self.far}", f"ct_ipv6_{self.far}"), {"ct_state": TRACKED}

    @property
    def verdict(self) -> str:
        """The table that counts what the rules said."""
        return f"{self.direction}_verdict"


EGRESS = Side(Direction.EGRESS, 0, EGRESS_KEY, EGRESS_PEER, "dst")
INGRESS = Side(Direction.INGRESS, 1, INGRESS_KEY, INGRESS_PEER, "src")

# The direction of a packet within its connection.
OPENER, ANSWER = ((CT_TRACKED | way, CT_TRACKED | CT_REPLY) for way in (0, CT_REPLY))
INVALID = match(ct_state=(CT_TRACKED | CT_INVALID, CT_TRACKED | CT_INVALID))
OURS = Origin("Weft: connections", None)

RULE_KINDS = {
    "known": "the connection bears the stamp of the class's present policy",
    "judged": "the connection is new, or was let through by another policy: the rules are asked",
    "same far side": "the far address is still in the groups that it was in",
    "far side": "an address of a member of a group that a rule names, or of an address group",
    "unknown far side": "nobody whom a rule names",
    "rule": "a rule, or one mask of its port ranges",
    "part of a rule": "one dimension of a rule's conjunction",
    "dry rule": "a rule that is not enforced: what it alone lets through is counted and passes",
    "part of a dry rule": "one dimension of the conjunction of a rule that is not enforced",
    "not enforced": "a class none of whose groups is enforced: what no rule allows is counted and passes",
    "later fragment": "it has no ports to look at; the tracker keeps it back unless the first fragment passes",
    "limited": "new connections of a port, so many a second",
    "everything allowed": "a rule allows the class everything in this direction",
}
ALLOWING = frozenset({"rule", "part of a rule", "dry rule", "part of a dry rule", "not enforced", "everything allowed"})
RECALLING = frozenset({"known", "judged", "same far side"})


def policy_tables(side: Side) -> tuple[Table, ...]:
    """Return the declarations of the tables that are asked about one direction."""
    near, far = ("opener", "answerer") if side.direction is Direction.EGRESS else ("answerer", "opener")
    addresses = (f"ct_nw_{side.far}", f"ct_ipv6_{side.far}")
    stamps = ("ct_state", "ct_mark", "ct_label")
    packet = (
        *(JUDGED.field, PEER.field, "eth_type", "ct_state", "ct_nw_proto", *addresses, "ct_tp_src", "ct_tp_dst"),
        *("ip_proto", "ip_frag", "sctp_src", "sctp_dst", "conj_id"),
    )

    def table(
        name: str,
        slot: int,
        matches: tuple[str, ...],
        writes: tuple[str, ...],
        onward: tuple[str, ...],
        purpose: str,
        miss: str,
        stage: Stage = Stage.STAMPS,
    ) -> Table:
        return Table(name, stage, 2 * slot + side.slot, matches, writes, onward, purpose, miss)

    return (
        table(
            *(side.known, 0, (JUDGED.field, *stamps), (side.key.field, VERDICT.field), (side.peers, side.same)),
            purpose=f"the {near}'s class and the connection's stamp -> let through before, by the policy of today",
            miss="nothing: the rules will be asked",
        ),
        table(
            *(side.judge, 1, (JUDGED.field,)),
            (side.key.field, side.peer.field, FRESH.field, VERDICT.field),
            (side.peers, side.rules),
            purpose=f"the {near}'s class -> its stamp, and the far side where a rule names groups",
            miss=f"nothing: {side.direction} default deny",
        ),
        table(
            *(side.peers, 2, (SPACE.field, "eth_type", "ct_state", *addresses), (PEER.field,), ()),
            purpose=f"the {far}'s address -> what it is, for rules that name groups",
            miss="cannot be reached: what nobody names is 0",
        ),
        table(
            *(side.same, 3, (JUDGED.field, PEER.field, "ct_label"), (side.peer.field, VERDICT.field), ()),
            purpose=f"the {far}'s address is what it was when the connection was let through",
            miss="nothing: the rules will be asked",
        ),
        table(
            *(side.rules, 0, packet, (VERDICT.field, FRESH.field, LATER.field), ()),
            purpose=f"the {near}'s class and the connection's first packet decide",
            miss=f"nothing: {side.direction} default deny",
            stage=Stage.RULES,
        ),
    )


def ask(builder: Builder, near: Register, table: str | None = None) -> list[Action]:
    """Return the actions that ask a table of a policy about the class in a register; without a table nothing is known yet."""
    question = [] if table is None else [Resubmit(builder.table(table))]
    return [move(near.field, JUDGED.field), VERDICT.load(REFUSED), *question]


def write_counts(builder: Builder, side: Side, port: PortView, here: Mapping[str, Wanted], onward: Stage) -> None:
    """Write what counts what a port's policy refuses, and what it would refuse; `here` says that the packet is the port's."""
    if port.plug.is_open:
        return
    table, direction = side.verdict, side.direction
    limit: list[Action] = []
    if port.port.new_connections is not None:
        # A meter has the number of its port, and both directions share it.
        number, rate = port.plug.number, port.port.new_connections
        builder.meter(number, rate, rate, origin=port.origin)
        limit = [Metered(number)]
        new = match(**_with_verdict(here, ALLOWED), ct_state=(CT_TRACKED | CT_NEW, CT_TRACKED | CT_NEW))
        builder.flow(table, 220, new, limit, onward, kind="limited", origin=port.origin)
    refused = match(**_with_verdict(here, REFUSED))
    told = sample(wanted=logs_drops(builder.memo, port.port.groups))
    builder.flow(table, 100, refused, told, kind=f"{direction} refused", origin=port.origin)
    if is_dry(builder.memo, port.port.groups, direction):
        where = match(**_with_verdict(here, WOULD_REFUSE))
        builder.flow(table, 210, where, limit, onward, kind=f"{direction} would be refused", origin=port.origin)


def _with_verdict(here: Mapping[str, Wanted], verdict: int) -> dict[str, Wanted]:
    return {**here, VERDICT.field: VERDICT.is_(verdict)}


def write_policy(builder: Builder, side: Side) -> None:
    """Write what holds for every class."""
    for ethertype in (ETH_IPV4, ETH_IPV6):
        where = match(eth_type=ethertype, ip_frag=_LATER)
        load = [VERDICT.load(ALLOWED), FRESH.load(0), LATER.load(1)]
        builder.flow(side.rules, _LATER_FRAGMENT, where, load, kind="later fragment", origin=OURS)
    builder.flow(side.peers, 0, (), [PEER.load(0)], kind="unknown far side", origin=OURS)


def members_of(memo: Memo, names: Iterable[str]) -> tuple[SecurityGroup, ...]:
    """Return groups by name."""
    found = (queries.group(memo, name) for name in names)
    return tuple(each for each in found if each is not None)


def origin_of(names: Groups) -> Origin:
    """Return the origin of what a class of ports needs."""
    return Origin(f"ports of {class_name(names)}" if names else "ports without security groups", None)


def write_class(builder: Builder, side: Side, names: Groups) -> None:
    """Write the flows of a class of ports for one direction: its stamp, and its rules."""
    if is_stateless(builder.memo, names):
        return
    members, direction = members_of(builder.memo, names), side.direction
    mine: dict[str, Wanted] = {JUDGED.field: JUDGED.is_(class_key(names))}
    origin = origin_of(names)
    good = stamp(direction, class_name(names), members, (rule for _, rule in rules_of(members, direction)))
    # A port without groups is closed to others, but may itself speak (nothing in, everything out).
    opened = _opened(members, direction) if members else (origin, False) if direction is Direction.EGRESS else None
    asks = opened is None and bool(named_groups(members, direction))
    look = [Resubmit(builder.table(side.peers))] if asks else []
    keep: list[Action] = [move(PEER.field, side.peer.field)] if asks else [side.peer.load(0)]
    judge = [side.key.load(good), FRESH.load(1), *look, *keep]
    builder.flow(side.judge, 100, match(**mine), judge, side.rules, kind="judged", origin=origin)
    if opened is not None:
        # Below the tracker's word all IP is open; new connections pass by a flow of their own, which goes first when a rule closes.
        where, old = match(**mine), match(**mine, ct_state=OLD)
        opener, is_told = opened
        load: list[Action] = [VERDICT.load(ALLOWED), *sample(wanted=is_told)]
        builder.flow(side.judge, 200, where, load, kind="everything allowed", origin=opener)
        builder.flow(side.known, 200, old, [VERDICT.load(KNOWN)], kind="known", origin=opener)
        return
    where = match(**mine, ct_state=OLD, **bears(direction, good))
    if asks:
        load = [side.key.load(good), *look]
        builder.flow(side.known, 100, where, load, side.same, kind="known", origin=origin)
        _write_same(builder, side, members, mine, origin)
    else:
        load = [side.key.load(good), VERDICT.load(KNOWN)]
        builder.flow(side.known, 100, where, load, kind="known", origin=origin)
    found = rule_matches(builder.memo, members, direction, mine, class_name(names))
    write_rules(builder, side.rules, members, found, mine, origin)


def _opened(members: tuple[SecurityGroup, ...], direction: Direction) -> tuple[Origin, bool] | None:
    """Return the origin of the rule that opens a class wholly and whether it is logged, None if none does."""
    found = opening(members, direction)
    if found is None:
        return None
    group, rule = found
    return Origin(f"{group.name} {direction} rule", rule.place, rule), is_logged(group, rule)


def _write_same(
    builder: Builder, side: Side, members: tuple[SecurityGroup, ...], mine: dict[str, Wanted], origin: Origin
) -> None:
    """Write which far sides are what they were: a member that leaves a group takes its connections along, and no others."""
    load: list[Action] = [move(PEER.field, side.peer.field), VERDICT.load(KNOWN)]
    named = far_names(builder.memo, named_groups(members, side.direction))
    for combination in sorted(map(sorted, named)):
        peer = class_key(combination)
        where = match(**mine, **{PEER.field: PEER.is_(peer)}, **bears_peer(side.direction, peer))
        builder.flow(side.same, 100, where, load, kind="same far side", origin=origin)
    # Whoever was let through as anybody may be somebody by now.
    where = match(**mine, **bears_peer(side.direction, 0))
    builder.flow(side.same, 100, where, load, kind="same far side", origin=origin)


def write_rules(
    builder: Builder,
    table: str,
    members: tuple[SecurityGroup, ...],
    found: Iterable[RuleMatch],
    mine: dict[str, Wanted],
    origin: Origin,
) -> None:
    """Write the rules of a class, and what lets pass where none of its groups is enforced."""
    for each in found:
        rule = each.origin.rule
        dry = rule is not None and not rule.enforce
        if each.conjunctions:
            levels, kind = (_DRY_JOINT, "part of a dry rule") if dry else (_JOINT, "part of a rule")
            priority = levels[each.is_logged]
            builder.flow(table, priority, each.match, each.conjunctions, kind=kind, origin=each.origin)
        else:
            levels, kind = (_DRY_DIRECT, "dry rule") if dry else (_DIRECT, "rule")
            load: list[Action] = [VERDICT.load(WOULD_REFUSE if dry else ALLOWED), *sample(wanted=each.is_logged)]
            priority = levels[each.is_logged] + rank(each.match)
            builder.flow(table, priority, each.match, load, kind=kind, origin=each.origin)
    if members and not any(group.enforce for group in members):
        load = [VERDICT.load(WOULD_REFUSE), *sample(wanted=any(group.log for group in members))]
        builder.flow(table, _DRY_DEFAULT, match(**mine), load, kind="not enforced", origin=origin)


@query
def is_dry(memo: Memo, names: Groups, direction: Direction) -> bool:
    """Return whether policy lets a packet of a class pass that it would refuse if all of it was enforced."""
    members = members_of(memo, names)
    no_default = bool(members) and not any(group.enforce for group in members)
    return no_default or any(not rule.enforce for _, rule in rules_of(members, direction))


@query
def _named(memo: Memo, names: Groups, direction: Direction) -> frozenset[str]:
    """Return what must be known of far addresses where a class is judged: groups and address groups."""
    members = members_of(memo, names)
    return frozenset() if opening(members, direction) else frozenset(named_groups(members, direction))


@query
def is_stateless(memo: Memo, names: Groups) -> bool:
    """Return whether a class's packets are judged one by one: its groups, of which there are some, are all of this kind."""
    members = members_of(memo, names)
    return bool(members) and all(group.stateless for group in members)


@query
def named_on(memo: Memo, host: str, space: str, direction: Direction, stateless: bool) -> frozenset[str]:
    """Return the groups that some rule of a host's ports in an address space names as its far side, of one manner of judging."""
    classes = [names for names in classes_of_space(memo, host, space) if is_stateless(memo, names) is stateless]
    return frozenset().union(*(_named(memo, names, direction) for names in classes))


def write_identity(
    builder: Builder, side: Side, space: str, identity: Identity, direction: Direction, stateless: bool
) -> None:
    """Write what an address of an address space is, for the rules of one direction and manner."""
    if direction is not side.direction:
        return
    table, (v4, v6), more = side.lookup(stateless)
    field = v4 if identity.prefix.version == 4 else v6
    here: dict[str, Wanted] = {SPACE.field: SPACE.is_(key("space", space)), field: identity.prefix}
    where: Match = match(**here, eth_type=ETH_IPV4 if identity.prefix.version == 4 else ETH_IPV6, **more)
    load, origin = PEER.load(class_key(identity.groups)), Origin(f"members of {class_name(identity.groups)}", None)
    priority = 100 + identity.prefix.prefixlen
    builder.flow(table, priority, where, [load], kind="far side", origin=origin)
